//! One control connection as libp2p handles it: opens a stream, accepts one, and hands both to the trunk's task
//! \[TRK-6\]. Reads and writes nothing itself.

use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, Stream, SubstreamProtocol};
use tokio::sync::oneshot;

use super::protocol::PROTOCOL;

/// The two streams of a control connection.
#[derive(Debug)]
pub(super) struct Streams {
    /// What the other end writes.
    pub(super) incoming: Stream,
    /// What this end writes.
    pub(super) outgoing: Stream,
}

pub(super) struct Handler {
    /// Whether the outgoing stream has been asked for.
    asked: bool,
    incoming: Option<Stream>,
    outgoing: Option<Stream>,
    /// `None` once handed over, or when it failed.
    streams: Option<oneshot::Sender<Streams>>,
}

impl Handler {
    pub(super) fn new(streams: oneshot::Sender<Streams>) -> Handler {
        Handler { asked: false, incoming: None, outgoing: None, streams: Some(streams) }
    }

    fn hand_over(&mut self) {
        if let (Some(_), Some(_), Some(_)) = (&self.incoming, &self.outgoing, &self.streams)
            && let (Some(incoming), Some(outgoing), Some(streams)) =
                (self.incoming.take(), self.outgoing.take(), self.streams.take())
        {
            // The task has given up; the connection closes with the streams.
            let _ = streams.send(Streams { incoming, outgoing });
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.streams.is_some()
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if std::mem::replace(&mut self.asked, true) {
            return Poll::Pending;
        }
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            // A second stream of the same protocol is none of ours: it is dropped, and so reset.
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. })
                if self.streams.is_some() && self.incoming.is_none() =>
            {
                self.incoming = Some(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.outgoing = Some(protocol);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                tracing::debug!(%error, "no stream on a control connection");
                self.streams = None;
            }
            _ => {}
        }
        self.hand_over();
    }
}
