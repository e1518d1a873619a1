//! What one end says on control: heartbeats by the clock, the rest as it comes \[TRK-9\].

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use futures::AsyncWrite;
use proto_spec::trunk::{Heartbeat, TrunkFrame, TrunkRefusal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::trunk::config::{CONTROL_BATCH_BYTES, HEARTBEAT};
use crate::trunk::hub::{Hub, Neighbor};
use crate::trunk::protocol::FrameWriter;

/// What is said at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Say {
    /// One heartbeat more.
    Beat,
    /// This end has both connections.
    Up,
    /// The last word.
    Close(TrunkRefusal),
}

/// The newest heartbeat heard, for the next one to echo: what it said, and when it came, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Echo(Mutex<(u64, u64)>);

impl Echo {
    pub(super) fn hear(&self, sent_us: u64, now_us: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (sent_us, now_us);
    }

    fn heartbeat(&self, now_us: u64) -> Heartbeat {
        let (echo_us, heard_us) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held_us = u32::try_from(now_us.saturating_sub(heard_us)).unwrap_or(u32::MAX);
        // 0 stands for none, so a clock never says it.
        Heartbeat { sent_us: now_us.max(1), echo_us, held_us: if echo_us == 0 { 0 } else { held_us } }
    }
}

/// Writes until the last word is said or the stream breaks.
pub(super) async fn run<S: AsyncWrite + Unpin>(
    hub: &Hub,
    neighbor: &Neighbor,
    mut writer: FrameWriter<S>,
    echo: &Echo,
    mut said: mpsc::Receiver<Say>,
    mut messages: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut beats = tokio::time::interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut last = false;
        tokio::select! {
            biased;
            Some(say) = said.recv() => match say {
                Say::Beat => writer.push(&TrunkFrame::Heartbeat(echo.heartbeat(hub.now_us()))),
                Say::Up => writer.push(&TrunkFrame::Up),
                Say::Close(reason) => {
                    // What was given before goes before: a revoked node is sent the list, then shut out [LSA-10].
                    while let Ok(message) = messages.try_recv() {
                        add(neighbor, &mut writer, message);
                    }
                    writer.push(&TrunkFrame::Close(reason));
                    last = true;
                }
            },
            _ = beats.tick() => writer.push(&TrunkFrame::Heartbeat(echo.heartbeat(hub.now_us()))),
            Some(message) = messages.recv() => {
                add(neighbor, &mut writer, message);
                while writer.length() < CONTROL_BATCH_BYTES
                    && let Ok(message) = messages.try_recv()
                {
                    add(neighbor, &mut writer, message);
                }
            }
        }
        writer.flush().await?;
        if last {
            return writer.close().await;
        }
    }
}

fn add<S: AsyncWrite + Unpin>(neighbor: &Neighbor, writer: &mut FrameWriter<S>, message: Vec<u8>) {
    neighbor.message_bytes.fetch_sub(message.len(), Relaxed);
    writer.push(&TrunkFrame::Message(message));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[TRK-9\]: nothing to echo is said as 0; what was heard is echoed with the time that it was held.
    #[test]
    fn heartbeats_echo_what_was_heard() {
        let echo = Echo::default();
        assert_eq!(echo.heartbeat(0), Heartbeat { sent_us: 1, echo_us: 0, held_us: 0 });
        echo.hear(70, 1_000);
        assert_eq!(echo.heartbeat(1_400), Heartbeat { sent_us: 1_400, echo_us: 70, held_us: 400 });
    }
}
