//! One trunk's task, from its control connection to its end.
//!
//! ```text
//!  control streams -> hello -> claim of the pair -> hello back -> heartbeats ---------------.
//!                                    |                                                      |
//!                                    '-> data connection -> `up` sent, `up` heard, clock good -> link up -> link down
//! ```
//! Reading, writing and the data connection run beside each other, so that no stalled write hides a sign of life. Never
//! looks into a message or a packet.

mod conduct;
mod greet;
mod write;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use proto_spec::trunk::TrunkRefusal;
use proto_spec::{NodeNumber, Wire};
use sealcast_mesh::Input;
use tokio::sync::mpsc;

use super::behaviour::Met;
use super::config::{HELLO_TIME, LAST_WORDS};
use super::handler::Streams;
use super::hub::{Hub, Neighbor};
use super::protocol::{FrameReader, FrameWriter, ReadError};
use super::refusals::Source;
use super::swarm::Order;
use conduct::{Conduct, Linked};
use greet::Greeted;
use write::Say;

/// Things to say at once; each is said a few times in a trunk's life.
const SAY_MAX: usize = 16;

/// Why a trunk ended.
#[derive(Debug)]
pub(super) enum End {
    /// This end wants it so.
    Ours(TrunkRefusal),
    /// The other end said why.
    Theirs(TrunkRefusal),
    /// A connection was reset or ended.
    Broken(String),
}

impl End {
    /// The counter's label.
    const fn label(&self) -> &'static str {
        match self {
            Self::Ours(reason) | Self::Theirs(reason) => reason.label(),
            Self::Broken(_) => "broken",
        }
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> End {
        match error {
            ReadError::Broken(error) => End::Broken(error.to_string()),
            ReadError::Malformed(error) => {
                tracing::debug!(%error, "malformed control frame");
                End::Ours(TrunkRefusal::Malformed)
            }
        }
    }
}

/// Runs a trunk to its end, then has its control connection closed.
pub(super) async fn serve(hub: Arc<Hub>, met: Met) {
    let (connection, node) = (met.connection, met.peer.number);
    match open(&hub, met).await {
        Err(End::Ours(reason)) => hub.refusals.refused(Source::Node(node), reason),
        Err(End::Theirs(reason)) => hub.refusals.refused_by(Source::Node(node), Some(reason)),
        Err(End::Broken(error)) => tracing::debug!(%node, %error, "a control connection ended at its start"),
        Ok((neighbor, end, was_up)) => report(&hub, &neighbor, &end, was_up),
    }
    // The owner ends with the node; nothing is left to close then.
    let _ = hub.orders.send(Order::Ended(connection)).await;
}

fn report(hub: &Hub, neighbor: &Neighbor, end: &End, was_up: bool) {
    let (node, source) = (neighbor.number(), Source::Node(neighbor.number()));
    if was_up {
        hub.metrics.trunk_ended(end.label());
        tracing::info!(%node, reason = end.label(), "trunk down");
        return;
    }
    match end {
        End::Ours(reason) => hub.refusals.refused(source, *reason),
        End::Theirs(reason) => hub.refusals.refused_by(source, Some(*reason)),
        End::Broken(error) => tracing::debug!(%node, %error, "a trunk ended before it was up"),
    }
}

/// Until the claim is made errors are the connection's; from then on they are the trunk's.
async fn open(hub: &Arc<Hub>, met: Met) -> Result<(Arc<Neighbor>, End, bool), End> {
    let Met { peer, address, dialled, streams, .. } = met;
    let deadline = tokio::time::Instant::now() + HELLO_TIME;
    let Streams { incoming, outgoing } = match tokio::time::timeout_at(deadline, streams).await {
        Ok(Ok(streams)) => streams,
        Ok(Err(_)) => return Err(End::Broken("no streams".into())),
        Err(_) => return Err(End::Ours(TrunkRefusal::TooSlow)),
    };
    let (mut reader, mut writer) = (FrameReader::new(incoming), FrameWriter::new(outgoing));
    let greeting = greet::greet(hub, peer, address, dialled, &mut reader, &mut writer);
    let greeted = match tokio::time::timeout_at(deadline, greeting).await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(end)) => {
            if let End::Ours(reason) = end {
                last_word(&mut writer, reason).await;
            }
            return Err(end);
        }
        Err(_) => return Err(End::Ours(TrunkRefusal::TooSlow)),
    };
    let Greeted { neighbor, ends, hello, met_at, turn } = greeted;

    let (say, said) = mpsc::channel(SAY_MAX);
    let echo = write::Echo::default();
    let mut linked = Linked::new(hub, &neighbor, turn);
    let end = {
        let writing = write::run(hub, &neighbor, writer, &echo, said, ends.messages);
        let mut writing = std::pin::pin!(writing);
        let conduct = Conduct { hub, neighbor: &neighbor, echo: &echo, say: say.clone(), hello, met_at };
        let end = tokio::select! {
            end = conduct.run(&mut reader, ends.arrival, &mut linked) => end,
            error = &mut writing => {
                linked.end().await;
                hub.forget(&neighbor);
                let error = error.err().map_or_else(String::new, |error| error.to_string());
                return Ok((neighbor, End::Broken(error), linked.was_up()));
            }
        };
        // First what others go by, then the last word.
        linked.end().await;
        if let End::Ours(reason) = end {
            let _ = say.try_send(Say::Close(reason));
            let _ = tokio::time::timeout(LAST_WORDS, writing).await;
        }
        end
    };
    hub.forget(&neighbor);
    Ok((neighbor, end, linked.was_up()))
}

async fn last_word<S: futures::AsyncWrite + Unpin>(writer: &mut FrameWriter<S>, reason: TrunkRefusal) {
    writer.push(&proto_spec::trunk::TrunkFrame::Close(reason));
    let said = async {
        writer.flush().await?;
        writer.close().await
    };
    // Who does not listen is not told.
    let _ = tokio::time::timeout(LAST_WORDS, said).await;
}
