//! Units of a data connection \[TRK-15\]: `length32 | header | run of data frames`. The hot path between nodes: reading
//! one allocates nothing for egress sets and lists of usual length.

use crate::coding::{DecodeError, Reader, Wire};
use crate::egress::{TRUNK_HEADER_LENGTH_MAX, TrunkHeader};
use crate::frame::{DataHeader, FRAME_LENGTH_MAX, FrameHeader, FrameType, HEADER_LENGTH};

/// Bytes that say how long a unit is.
pub const UNIT_PREFIX_LENGTH: usize = 4;
/// The frames of one unit together: the longest frame fits.
pub const RUN_LENGTH_MAX: usize = FRAME_LENGTH_MAX;
/// A whole unit, its length included.
pub const UNIT_LENGTH_MAX: usize = UNIT_PREFIX_LENGTH + TRUNK_HEADER_LENGTH_MAX + RUN_LENGTH_MAX;

/// Length of the whole unit at the start of `bytes`, its prefix included; `None` until the prefix is there.
///
/// # Errors
/// A unit above its limit: the trunk ends, nothing has been allocated.
pub fn unit_length(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(prefix) = bytes.first_chunk::<UNIT_PREFIX_LENGTH>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    let limit = UNIT_LENGTH_MAX - UNIT_PREFIX_LENGTH;
    if length > limit {
        return Err(DecodeError::TooLong { what: "unit", length, limit });
    }
    Ok(Some(UNIT_PREFIX_LENGTH + length))
}

/// A unit as read: where its run lies and what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Where the run goes.
    pub header: TrunkHeader,
    /// What its frames have in common; `last` of the update as in the run's last frame.
    pub data: DataHeader,
    /// Frames in the run, at least one.
    pub frames: u32,
    /// Length of the run; it ends where the unit ends.
    pub run_length: usize,
}

impl Unit {
    /// Reads a whole unit, its prefix included.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that \[TRK-15\] does not allow: the trunk ends.
    pub fn parse(bytes: &[u8]) -> Result<Unit, DecodeError> {
        match unit_length(bytes)? {
            Some(length) if length < bytes.len() => return Err(DecodeError::Trailing(bytes.len() - length)),
            Some(length) if length == bytes.len() => {}
            _ => return Err(DecodeError::Truncated),
        }
        let mut reader = Reader::new(&bytes[UNIT_PREFIX_LENGTH..]);
        let header = TrunkHeader::decode(&mut reader)?;
        let run_length = reader.remaining();
        if run_length > RUN_LENGTH_MAX {
            return Err(DecodeError::TooLong { what: "run", length: run_length, limit: RUN_LENGTH_MAX });
        }
        let mut data = frame(&mut reader)?;
        let mut frames = 1;
        while reader.remaining() > 0 {
            let next = frame(&mut reader)?;
            if !continues(&data, &next) {
                return Err(DecodeError::Malformed("run"));
            }
            data.replace = next.replace;
            frames += 1;
        }
        Ok(Unit { header, data, frames, run_length })
    }

    /// Appends what stands before a run of `run_length` bytes.
    ///
    /// # Panics
    /// If the run is longer than [`RUN_LENGTH_MAX`]: our own bug.
    pub fn put_head(out: &mut Vec<u8>, header: &TrunkHeader, run_length: usize) {
        assert!(run_length <= RUN_LENGTH_MAX, "a run of {run_length} bytes");
        let start = out.len();
        out.extend_from_slice(&[0; UNIT_PREFIX_LENGTH]);
        header.encode(out);
        let length = (out.len() - start - UNIT_PREFIX_LENGTH + run_length) as u32;
        out[start..start + UNIT_PREFIX_LENGTH].copy_from_slice(&length.to_be_bytes());
    }
}

fn frame(reader: &mut Reader<'_>) -> Result<DataHeader, DecodeError> {
    let head: [u8; HEADER_LENGTH] = reader.array()?;
    let header = FrameHeader::peek(&head)?.ok_or(DecodeError::Truncated)?;
    if header.frame_type != FrameType::Data {
        return Err(DecodeError::Malformed("frame in a run"));
    }
    Ok(DataHeader::parse(reader.bytes(header.body_length)?)?.0)
}

/// Whether a frame may follow another one in a run.
fn continues(run: &DataHeader, next: &DataHeader) -> bool {
    let same_update = match (run.replace, next.replace) {
        (None, None) => true,
        (Some(ours), Some(theirs)) => ours.key == theirs.key && ours.update == theirs.update && !ours.last,
        _ => false,
    };
    same_update && run.class == next.class && run.sender == next.sender && run.destination == next.destination
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{EGRESS_NODES_MAX, EgressSet, HOP_LIMIT};
    use crate::frame::{Destination, Replace};
    use crate::id::{NodeNumber, SenderNumber, SessionId, TrafficClass};

    fn header(nodes: u16) -> TrunkHeader {
        TrunkHeader {
            hop_limit: HOP_LIMIT,
            ingress: NodeNumber::new(1).unwrap(),
            egress: EgressSet::new((1..=nodes).map(|number| NodeNumber::new(number).unwrap())).unwrap(),
            session: SessionId([3; 16]),
        }
    }

    fn data(class: TrafficClass, replace: Option<Replace>) -> DataHeader {
        DataHeader { class, sender: SenderNumber::new(5).unwrap(), destination: Destination::All, replace }
    }

    fn unit(nodes: u16, frames: &[DataHeader], packet_length: usize) -> Vec<u8> {
        let mut run = Vec::new();
        for frame in frames {
            frame.put(&mut run, |out| out.resize(out.len() + packet_length, 7));
        }
        let mut out = Vec::new();
        Unit::put_head(&mut out, &header(nodes), run.len());
        out.extend_from_slice(&run);
        out
    }

    /// \[TRK-15\], \[EGR-1\]: reads back at its limits; no cut of one is one.
    #[test]
    fn units_read_back() {
        let bulk = data(TrafficClass::Bulk, None);
        let bytes = unit(2, &[bulk.clone(), bulk.clone(), bulk.clone()], 40);
        let read = Unit::parse(&bytes).unwrap();
        assert_eq!((read.frames, read.run_length, &read.data), (3, 3 * 47, &bulk));
        assert_eq!(read.header, header(2));
        for cut in 0..bytes.len() {
            assert!(Unit::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(Unit::parse(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
        let full = unit(EGRESS_NODES_MAX as u16, &[bulk], FRAME_LENGTH_MAX - HEADER_LENGTH - 3);
        assert_eq!(full.len(), UNIT_LENGTH_MAX);
        assert_eq!(Unit::parse(&full).unwrap().run_length, RUN_LENGTH_MAX);
    }

    /// \[TRK-15\]: at the limit and one past it, by the prefix alone.
    #[test]
    fn a_unit_too_long_is_refused_by_its_prefix() {
        let prefix = |length: usize| unit_length(&(length as u32).to_be_bytes());
        assert_eq!(prefix(UNIT_LENGTH_MAX - UNIT_PREFIX_LENGTH), Ok(Some(UNIT_LENGTH_MAX)));
        assert!(matches!(prefix(UNIT_LENGTH_MAX - UNIT_PREFIX_LENGTH + 1), Err(DecodeError::TooLong { .. })));
        assert!(matches!(prefix(u32::MAX as usize), Err(DecodeError::TooLong { .. })));
        assert_eq!(unit_length(&[0, 0, 0]), Ok(None));
        // Within the unit's limit by a short egress set, and yet too long a run.
        let bulk = data(TrafficClass::Bulk, None);
        let long = unit(1, &[bulk.clone(), bulk], RUN_LENGTH_MAX / 2 - 7);
        assert!(Unit::parse(&long).is_ok());
        let mut longer = long[..long.len()].to_vec();
        longer.push(0);
        let length = (longer.len() - UNIT_PREFIX_LENGTH) as u32;
        longer[..UNIT_PREFIX_LENGTH].copy_from_slice(&length.to_be_bytes());
        assert!(matches!(Unit::parse(&longer), Err(DecodeError::TooLong { .. })));
    }

    /// \[TRK-15\]: one class, one sender, one list, one update, data frames alone.
    #[test]
    fn runs_hold_frames_of_one_kind() {
        let bulk = data(TrafficClass::Bulk, None);
        let screen = |update, last| data(TrafficClass::Screen, Some(Replace { key: 1, update, last }));
        let mut other_sender = bulk.clone();
        other_sender.sender = SenderNumber::new(6).unwrap();
        let mut listed = bulk.clone();
        listed.destination = Destination::one(SenderNumber::new(2).unwrap());
        for (what, frames) in [
            ("two classes", [bulk.clone(), data(TrafficClass::Control, None)]),
            ("two senders", [bulk.clone(), other_sender]),
            ("two lists", [bulk, listed]),
            ("two updates", [screen(1, false), screen(2, false)]),
            ("an update that went on after its end", [screen(1, true), screen(1, false)]),
        ] {
            assert_eq!(Unit::parse(&unit(1, &frames, 9)), Err(DecodeError::Malformed("run")), "{what}");
        }
        let ended = Unit::parse(&unit(1, &[screen(1, false), screen(1, true)], 9)).unwrap();
        assert_eq!(ended.data.replace, Some(Replace { key: 1, update: 1, last: true }));
        let mut ping = Vec::new();
        Unit::put_head(&mut ping, &header(1), 12);
        ping.extend_from_slice(&[0x12, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(Unit::parse(&ping).is_err(), "a ping");
        let mut empty = Vec::new();
        Unit::put_head(&mut empty, &header(1), 0);
        assert!(Unit::parse(&empty).is_err(), "no frame");
    }
}
