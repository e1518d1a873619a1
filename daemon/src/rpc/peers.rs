//! gRPC connections to other nodes: made when a call wants one, kept while they live and their node's certificate holds,
//! one a node.
//!
//! Never sends a call twice and never decides where one goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proto_spec::NodeNumber;
use proto_spec::mesh::MESH_NODES_MAX;
use tokio::sync::Semaphore;
use tonic::body::Body;

use super::mesh::MeshAccess;
use super::{ANSWER_LENGTH_MAX, MESSAGE_LENGTH_MAX};
use crate::revocations::Revocations;
use sealcast_rpc::admin_client::AdminClient;
use sealcast_rpc::endpoint_client::EndpointClient;

/// Until a connection to a node stands \[GW-14\].
pub(super) const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Until an idle connection to a node is asked whether it lives, and until it must have answered.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Connections that one other node may have to this one: one is enough, and a few more while it starts anew.
const CONNECTIONS_EACH_MAX: usize = 4;
/// What h2 calls the other side; nobody looks at it.
const ORIGIN: &str = "http://node.mesh.internal";

/// Why a node could not be called.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// No answer within [`CONNECT_TIME`].
    #[error("no connection within 2 s")]
    TooSlow,
    /// No connection.
    #[error("{0}")]
    Unreachable(#[from] std::io::Error),
    /// A connection that does not speak HTTP/2.
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
}

/// The connections of this node to others.
pub(super) struct Peers {
    mesh: Arc<dyn MeshAccess>,
    revocations: Arc<Revocations>,
    /// One slot a node, so that many calls at once make one connection.
    slots: Mutex<BTreeMap<NodeNumber, Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<PeerChannel>>>;

impl Peers {
    pub(super) fn new(mesh: Arc<dyn MeshAccess>, revocations: Arc<Revocations>) -> Peers {
        Peers { mesh, revocations, slots: Mutex::default() }
    }

    /// The connection to a node: the one that stands, or a new one.
    pub(super) async fn channel(
        &self,
        node: NodeNumber,
        addresses: &[String],
    ) -> Result<PeerChannel, PeerError> {
        let slot = self.slot(node);
        let mut slot = slot.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| self.stands(channel)) {
            return Ok(channel.clone());
        }
        let connecting = async {
            let connection = self.mesh.call(node, addresses).await?;
            let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE)
                .keep_alive_while_idle(true)
                .handshake(TokioIo::new(connection.stream))
                .await?;
            // It ends with the connection, or with the last sender.
            tokio::spawn(async move {
                if let Err(error) = driver.await {
                    tracing::debug!(%node, %error, "a gRPC connection to a node ended");
                }
            });
            Ok::<_, PeerError>(PeerChannel { sender, certificate: connection.certificate })
        };
        let channel =
            tokio::time::timeout(CONNECT_TIME, connecting).await.map_err(|_| PeerError::TooSlow)??;
        *slot = Some(channel.clone());
        Ok(channel)
    }

    /// Whether a call may go over a connection that was made for an earlier one \[REV-4\].
    fn stands(&self, channel: &PeerChannel) -> bool {
        !channel.sender.is_closed() && !self.revocations.names(&channel.certificate)
    }

    fn slot(&self, node: NodeNumber) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(&node) && slots.len() >= MESH_NODES_MAX {
            // Nodes that left: whoever is using a slot keeps its own reference.
            slots.retain(|_, slot| {
                slot.try_lock().map_or(true, |held| held.as_ref().is_some_and(|channel| self.stands(channel)))
            });
        }
        Arc::clone(slots.entry(node).or_default())
    }
}

/// How many connections each other node has to this one.
#[derive(Debug, Default)]
pub(super) struct PeerPlaces(BTreeMap<NodeNumber, Arc<Semaphore>>);

impl PeerPlaces {
    /// A place for one more connection of a node; `None` if it has all it may. Bounded by the mesh: only nodes that proved to
    /// be of it come here.
    pub(super) fn take(&mut self, node: NodeNumber) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let places = self.0.entry(node).or_insert_with(|| Arc::new(Semaphore::new(CONNECTIONS_EACH_MAX)));
        Arc::clone(places).try_acquire_owned().ok()
    }
}

/// One connection to a node, as tonic's clients use it.
#[derive(Clone)]
pub(super) struct PeerChannel {
    sender: SendRequest<Body>,
    /// Of the node at the other end.
    certificate: [u8; 32],
}

impl PeerChannel {
    pub(super) fn endpoint(self) -> EndpointClient<PeerChannel> {
        EndpointClient::with_origin(self, Uri::from_static(ORIGIN))
            .max_decoding_message_size(MESSAGE_LENGTH_MAX)
            .max_encoding_message_size(MESSAGE_LENGTH_MAX)
    }

    pub(super) fn admin(self) -> AdminClient<PeerChannel> {
        AdminClient::with_origin(self, Uri::from_static(ORIGIN))
            .max_decoding_message_size(ANSWER_LENGTH_MAX)
            .max_encoding_message_size(MESSAGE_LENGTH_MAX)
    }
}

impl tower::Service<Request<Body>> for PeerChannel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Response<Incoming>, hyper::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}
