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

use std::future::Future;
use std::io;
use std::sync::Arc;

use futures::AsyncRead;
use libp2p::swarm::Stream;
use proto_spec::NodeNumber;
use proto_spec::trunk::{TrunkFrame, TrunkRefusal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::behaviour::Met;
use super::config::{HELLO_TIME, LAST_WORDS};
use super::handler::Streams;
use super::hub::Hub;
use super::protocol::{FrameReader, FrameWriter, ReadError};
use super::refusals::Source;
use super::swarm::Order;
use conduct::{Carrying, Conduct, Linked};
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
    let (end, was_up) = match open(&hub, met).await {
        Ok(opened) => run(&hub, opened).await,
        Err(end) => (end, false),
    };
    report(&hub, node, &end, was_up);
    // The owner ends with the node; nothing is left to close then.
    let _ = hub.orders.send(Order::Ended(connection)).await;
}

fn report(hub: &Hub, node: NodeNumber, end: &End, was_up: bool) {
    if was_up {
        hub.metrics.trunk_ended(end.label());
        tracing::info!(%node, reason = end.label(), "trunk down");
        return;
    }
    match end {
        End::Ours(reason) => hub.refusals.refused(Source::Node(node), *reason),
        End::Theirs(reason) => hub.refusals.refused_by(Source::Node(node), Some(*reason)),
        End::Broken(error) => tracing::debug!(%node, %error, "a trunk ended before it was up"),
    }
}

/// A trunk after the hellos, with its streams.
struct Opened {
    greeted: Greeted,
    reader: FrameReader<Stream>,
    writer: FrameWriter<Stream>,
}

/// Up to the hellos.
async fn open(hub: &Arc<Hub>, met: Met) -> Result<Opened, End> {
    let Met { peer, address, dialled, streams, .. } = met;
    let deadline = Instant::now() + HELLO_TIME;
    let Streams { incoming, outgoing } = match tokio::time::timeout_at(deadline, streams).await {
        Ok(Ok(streams)) => streams,
        Ok(Err(_)) => return Err(End::Broken("no streams".into())),
        Err(_) => return Err(End::Ours(TrunkRefusal::TooSlow)),
    };
    let (mut reader, mut writer) = (FrameReader::new(incoming), FrameWriter::new(outgoing));
    let greeting = greet::greet(hub, peer, address, dialled, &mut reader, &mut writer);
    let greeted = tokio::time::timeout_at(deadline, greeting).await;
    match greeted.unwrap_or(Err(End::Ours(TrunkRefusal::TooSlow))) {
        Ok(greeted) => Ok(Opened { greeted, reader, writer }),
        Err(end) => {
            if let End::Ours(reason) = end {
                writer.push(&TrunkFrame::Close(reason));
                let said = async { writer.flush().await.and(writer.close().await) };
                last_word(said, &mut reader).await;
            }
            Err(end)
        }
    }
}

/// From the hellos to the end; says why it ended, and whether its link was up.
async fn run(hub: &Arc<Hub>, opened: Opened) -> (End, bool) {
    let Opened { greeted: Greeted { neighbor, ends, hello, met_at, turn }, mut reader, writer } = opened;
    let (say, said) = mpsc::channel(SAY_MAX);
    let echo = write::Echo::default();
    let mut linked = Linked::new(hub, &neighbor, turn);
    let mut carrying = Carrying::default();
    let mut writing = std::pin::pin!(write::run(hub, &neighbor, writer, &echo, said, ends.messages));
    let conduct = Conduct { hub, neighbor: &neighbor, echo: &echo, say: say.clone(), hello, met_at };
    let end = tokio::select! {
        end = conduct.run(&mut reader, ends.arrival, &mut linked, &mut carrying) => end,
        error = &mut writing => End::Broken(error.err().map_or_else(String::new, |error| error.to_string())),
    };
    // First what others go by, then the last word. Who broke off is told nothing.
    linked.end().await;
    hub.forget(&neighbor);
    if let End::Ours(reason) = end {
        let _ = say.try_send(Say::Close(reason));
        last_word(writing, &mut reader).await;
    }
    (end, linked.was_up())
}

/// Lets the last word leave, and waits for the other end to hang up: closed any sooner, the connection may take the word
/// with it.
async fn last_word<R: AsyncRead + Unpin>(
    said: impl Future<Output = io::Result<()>>,
    reader: &mut FrameReader<R>,
) {
    let heard = async {
        said.await?;
        while reader.next(|| ()).await.is_ok() {}
        Ok::<(), io::Error>(())
    };
    // Who does not listen is not told.
    let _ = tokio::time::timeout(LAST_WORDS, heard).await;
}
