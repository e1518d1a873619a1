//! Bytes to frames to runs: the hot path of ingress. Allocates nothing per frame.

use bytes::{Bytes, BytesMut};
use proto_spec::frame::{DataHeader, Destination, FrameHeader, FrameType, HEADER_LENGTH};
use proto_spec::{Now, Refusal};
use smallvec::SmallVec;

use super::{Attachment, Output, State, allowed};
use crate::config::RUN_LENGTH_MAX;
use crate::run::{Forward, Run};

/// Consecutive frames that can travel as one: positions in the buffer.
#[derive(Debug)]
struct Open {
    header: DataHeader,
    start: usize,
    end: usize,
    frames: u32,
}

type Opens = SmallVec<[Open; 4]>;

impl Open {
    /// Whether a frame with this header continues the run: same class and receivers, and for screen the same update,
    /// not yet ended.
    fn takes(&self, header: &DataHeader, length: usize) -> bool {
        let same_update = match (self.header.replace, header.replace) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => {
                ours.key == theirs.key && ours.update == theirs.update && !ours.last
            }
            _ => false,
        };
        same_update
            && self.header.class == header.class
            && self.header.destination == header.destination
            && self.end - self.start + length <= RUN_LENGTH_MAX
    }
}

impl Attachment {
    /// Takes whole frames from the front of `buffer` until one needs an answer first.
    pub(super) fn parse(&mut self, now: Now, buffer: &mut BytesMut) -> Result<(), Refusal> {
        if self.state == State::Leaving {
            // Nothing counts behind a goodbye.
            buffer.clear();
        }
        if self.close.is_some() || self.is_waiting() || buffer.is_empty() {
            return Ok(());
        }
        let mut runs = Opens::new();
        let mut offset = 0;
        let outcome = self.scan(now, buffer, &mut offset, &mut runs);
        // What came before a refused frame was in order and goes on.
        let chunk = buffer.split_to(offset).freeze();
        self.forward(&chunk, runs);
        outcome
    }

    fn scan(&mut self, now: Now, buffer: &[u8], offset: &mut usize, runs: &mut Opens) -> Result<(), Refusal> {
        while let Some(header) = FrameHeader::peek(&buffer[*offset..])? {
            // Before the body is there: a frame out of order is refused by its first bytes.
            if !allowed(&self.state, header.frame_type) {
                return Err(Refusal::OutOfOrder);
            }
            let (start, end) = (*offset, *offset + header.frame_length());
            let Some(body) = buffer.get(start + HEADER_LENGTH..end) else { return Ok(()) };
            if header.frame_type == FrameType::Data {
                self.handle_data(body, start, end, runs)?;
                *offset = end;
            } else {
                *offset = end;
                self.paused = self.handle_frame(now, header, body)?;
                if self.paused {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn handle_data(
        &mut self,
        body: &[u8],
        start: usize,
        end: usize,
        runs: &mut Opens,
    ) -> Result<(), Refusal> {
        let (header, _) = DataHeader::parse(body)?;
        let length = end - start;
        let Some(admitted) = &self.admitted else { return Err(Refusal::OutOfOrder) };
        // \[FWD-4\]
        if header.sender != admitted.claims.number {
            return Err(Refusal::WrongSender);
        }
        if admitted.standby {
            return Err(Refusal::OutOfOrder);
        }
        if self.is_guest() {
            let leader = admitted.claims.leader;
            if !matches!(&header.destination, Destination::Members(list) if list[..] == [leader]) {
                return Err(Refusal::LobbyLimited);
            }
            self.count_lobby(length as u64)?;
        }
        let Some(grants) = &mut self.grants else { return Err(Refusal::OutOfOrder) };
        grants.received(header.class, length as u64)?;
        match runs.last_mut() {
            Some(run) if run.end == start && run.takes(&header, length) => {
                run.end = end;
                run.frames += 1;
                run.header.replace = header.replace;
            }
            _ => runs.push(Open { header, start, end, frames: 1 }),
        }
        Ok(())
    }

    fn forward(&mut self, chunk: &Bytes, runs: Opens) {
        for Open { header, start, end, frames } in runs {
            let run = Run::new(&self.ledger, &header, chunk.slice(start..end), frames, chunk.len());
            self.outputs.push_back(Output::Forward(Forward { run, destination: header.destination }));
        }
    }
}
