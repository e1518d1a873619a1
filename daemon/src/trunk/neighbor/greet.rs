//! Hellos, and what is refused by them \[TRK-8\], \[TRK-12\].

use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use proto_spec::trunk::{TrunkFrame, TrunkHello, TrunkRefusal};
use proto_spec::{NodeNumber, Now};

use super::End;
use crate::tls::mesh::Peer;
use crate::trunk::hub::{Ends, Hub, Neighbor, Turn};
use crate::trunk::protocol::{FrameReader, FrameWriter};
use crate::trunk::refusals::Source;

/// A trunk that is the one of its pair.
pub(super) struct Greeted {
    pub(super) neighbor: Arc<Neighbor>,
    pub(super) ends: Ends,
    /// What the other end said.
    pub(super) hello: TrunkHello,
    /// When.
    pub(super) met_at: Now,
    pub(super) turn: Turn,
}

/// Exchanges hellos. On an error the claim, if it was made, has been given up.
pub(super) async fn greet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    hub: &Arc<Hub>,
    peer: Peer,
    address: String,
    dialled: bool,
    reader: &mut FrameReader<R>,
    writer: &mut FrameWriter<W>,
) -> Result<Greeted, End> {
    if dialled {
        let trunk = draw()?;
        let (neighbor, ends) = Neighbor::new(hub, peer, address, true, trunk);
        // Before the hello: what is closed as a duplicate here never looks like a newer trunk there.
        let turn = hub.claim(&neighbor).map_err(End::Ours)?;
        let claim = Unless { hub, neighbor: &neighbor, kept: false };
        say_hello(hub, writer, trunk).await?;
        let (hello, met_at) = hear_hello(hub, &neighbor.peer, reader).await?;
        if hello.trunk != trunk {
            return Err(End::Ours(TrunkRefusal::Malformed));
        }
        claim.keep();
        return Ok(Greeted { neighbor, ends, hello, met_at, turn });
    }
    let (hello, met_at) = hear_hello(hub, &peer, reader).await?;
    let (neighbor, ends) = Neighbor::new(hub, peer, address, false, hello.trunk);
    let turn = hub.claim(&neighbor).map_err(End::Ours)?;
    let claim = Unless { hub, neighbor: &neighbor, kept: false };
    say_hello(hub, writer, hello.trunk).await?;
    claim.keep();
    Ok(Greeted { neighbor, ends, hello, met_at, turn })
}

/// Gives a claim up unless it is kept; also when the deadline drops the greeting half-way.
struct Unless<'a> {
    hub: &'a Hub,
    neighbor: &'a Arc<Neighbor>,
    kept: bool,
}

impl Unless<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Unless<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.hub.forget(self.neighbor);
        }
    }
}

async fn say_hello<W: AsyncWrite + Unpin>(
    hub: &Hub,
    writer: &mut FrameWriter<W>,
    trunk: u64,
) -> Result<(), End> {
    let (version_min, version_max) = hub.settings.wire_versions;
    writer.push(&TrunkFrame::Hello(TrunkHello {
        version_min,
        version_max,
        node: hub.number,
        wall: hub.clock.now().wall,
        trunk,
        mesh: hub.mesh.clone(),
        software: hub.settings.software.clone(),
    }));
    writer.flush().await.map_err(|error| End::Broken(error.to_string()))
}

async fn hear_hello<R: AsyncRead + Unpin>(
    hub: &Hub,
    peer: &Peer,
    reader: &mut FrameReader<R>,
) -> Result<(TrunkHello, Now), End> {
    match reader.next(|| ()).await? {
        TrunkFrame::Hello(hello) => match refuse(hub, peer.number, &hello) {
            Some(reason) => Err(End::Ours(reason)),
            None => Ok((hello, hub.clock.now())),
        },
        TrunkFrame::Close(reason) => Err(End::Theirs(reason)),
        _ => Err(End::Ours(TrunkRefusal::Malformed)),
    }
}

/// Why a hello is refused, if so.
fn refuse(hub: &Hub, proven: NodeNumber, hello: &TrunkHello) -> Option<TrunkRefusal> {
    let (version_min, version_max) = hub.settings.wire_versions;
    if version_min.max(hello.version_min) > version_max.min(hello.version_max) {
        if hub.refusals.is_news(Source::Node(proven), TrunkRefusal::UnknownVersion) {
            tracing::warn!(
                node = %proven,
                software = hello.software,
                "trunk refused: that node speaks wire versions {} to {}, this one {version_min} to {version_max}",
                hello.version_min,
                hello.version_max
            );
        }
        return Some(TrunkRefusal::UnknownVersion);
    }
    if hello.mesh != hub.mesh {
        return Some(TrunkRefusal::OtherMesh);
    }
    (hello.node != proven).then_some(TrunkRefusal::WrongNode)
}

/// A number for a new trunk.
fn draw() -> Result<u64, End> {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| End::Broken(format!("no randomness: {error}")))?;
    Ok(u64::from_be_bytes(bytes))
}
