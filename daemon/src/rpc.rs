//! gRPC towards endpoints and administrators: turns messages into the broker's requests and its replies into messages.
//!
//! Owns limits of connections and calls, the evidence of who calls, and the mapping to status codes. Never decides:
//! the roles of calls stand in the broker's one table.
//!
//! ```text
//!  listener ─► GrpcStream ─► tonic ─► endpoint.rs / admin.rs ─► Backend::ask ─► Broker::decide ⇄ store
//!  trunks ─► PeerConnection ──┘          │                         └─► tombstones ─► gateway, overlay
//!                                        └─ forward.rs (no broker here) ─► peers.rs ─► a node with a broker
//! ```

mod admin;
mod backend;
mod caller;
mod convert;
mod endpoint;
mod forward;
mod mesh;
mod overview;
mod passwords;
mod peers;
mod status;
mod vouch;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sealcast_rpc::admin_server::AdminServer;
use sealcast_rpc::endpoint_server::EndpointServer;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::config::Connections;
use crate::listener::{GRPC_QUEUE, GrpcStream};
use crate::trunk::PeerConnection;

pub use backend::{Backend, BrokerParts, Fault, NodeFacts, Parts};
pub use mesh::{Lone, MeshAccess, Meshed};
pub use passwords::{PasswordError, Passwords};

/// Longest message: a session with a ticket and 64 probes has below 8 KiB.
const MESSAGE_LENGTH_MAX: usize = 64 * 1024;
/// Longest answer to an administrator: a page of 1,000 sessions.
const ANSWER_LENGTH_MAX: usize = 16 * 1024 * 1024;
/// Longest headers of a call: the credential has 108 characters.
const HEADERS_LENGTH_MAX: u32 = 8 * 1024;
/// HTTP/2 frames: the smallest that may be set, as messages are small.
const FRAME_LENGTH_MAX: u32 = 16 * 1024;
/// Body bytes under way on a connection before the handler has taken them.
const WINDOW_LENGTH: u32 = 64 * 1024;
/// Calls at once on a connection between two nodes: those of all endpoints of a gateway.
const PEER_STREAMS_MAX: u32 = 256;
/// Streams reset by the peer before they were accepted; more is an attack.
const RESET_STREAMS_MAX: usize = 20;
/// How often housekeeping looks around.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(2);

/// Serves the `Endpoint` calls on the connections that come until `stop`. Browsers speak HTTP/2 too: they are shown the
/// page.
pub async fn serve_endpoints(
    connections: mpsc::Receiver<GrpcStream>,
    backend: Arc<Backend>,
    limits: Connections,
    page: axum::Router,
    stop: CancellationToken,
) {
    let incoming = ReceiverStream::new(connections).map(Ok::<_, std::convert::Infallible>);
    let routes = Routes::from(endpoint_routes(backend).into_axum_router().merge(page));
    let served = server(&limits, limits.grpc_streams_max)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the endpoints' gRPC server ended");
    }
}

/// Serves the `Admin` calls on the connections that come until `stop`.
pub async fn serve_admins(
    connections: mpsc::Receiver<GrpcStream>,
    backend: Arc<Backend>,
    limits: Connections,
    stop: CancellationToken,
) {
    let service = AdminServer::new(admin::AdminCalls::new(backend, stop.clone()))
        .max_decoding_message_size(MESSAGE_LENGTH_MAX)
        .max_encoding_message_size(ANSWER_LENGTH_MAX);
    let incoming = ReceiverStream::new(connections).map(Ok::<_, std::convert::Infallible>);
    let served = server(&limits, limits.grpc_streams_max)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the administrators' gRPC server ended");
    }
}

/// Serves other nodes on the connections that the trunks hand over until `stop` \[GW-15\]: what they hand on of their
/// endpoints, at nodes with a broker, and of their administrators.
pub async fn serve_peers(
    mut connections: mpsc::Receiver<PeerConnection>,
    backend: Arc<Backend>,
    limits: Connections,
    stop: CancellationToken,
) {
    let admin = AdminServer::new(admin::AdminCalls::new(Arc::clone(&backend), stop.clone()))
        .max_decoding_message_size(MESSAGE_LENGTH_MAX)
        .max_encoding_message_size(ANSWER_LENGTH_MAX);
    let idle = Duration::from_millis(limits.grpc_keepalive_ms).saturating_mul(3);
    let (admitted, incoming) = mpsc::channel(GRPC_QUEUE);
    let admitting = async move {
        let mut places = peers::PeerPlaces::default();
        while let Some(connection) = connections.recv().await {
            let node = connection.peer;
            match places.take(node) {
                Some(place) => {
                    if admitted.send(GrpcStream::peer(connection, place, idle)).await.is_err() {
                        return;
                    }
                }
                None => {
                    tracing::warn!(%node, "a node has as many gRPC connections as it may: one more is closed")
                }
            }
        }
    };
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, std::convert::Infallible>);
    let serving = server(&limits, PEER_STREAMS_MAX)
        .add_routes(endpoint_routes(backend).add_service(admin))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let admitting = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = admitting => {}
        }
    };
    let (served, ()) = tokio::join!(serving, admitting);
    if let Err(error) = served {
        tracing::error!(%error, "the other nodes' gRPC server ended");
    }
}

/// The `Endpoint` calls: by this node's broker, or handed to another's.
fn endpoint_routes(backend: Arc<Backend>) -> Routes {
    if backend.has_broker() {
        let service = EndpointServer::new(endpoint::EndpointCalls::new(backend));
        Routes::new(
            service
                .max_decoding_message_size(MESSAGE_LENGTH_MAX)
                .max_encoding_message_size(MESSAGE_LENGTH_MAX),
        )
    } else {
        let service = EndpointServer::new(forward::ForwardedCalls::new(backend));
        Routes::new(
            service
                .max_decoding_message_size(MESSAGE_LENGTH_MAX)
                .max_encoding_message_size(MESSAGE_LENGTH_MAX),
        )
    }
}

/// Bounds of every connection. The time of a call includes reading its body, so a slow body ends with it.
fn server(limits: &Connections, streams_max: u32) -> Server {
    let keepalive = Duration::from_millis(limits.grpc_keepalive_ms);
    Server::builder()
        .timeout(Duration::from_millis(limits.grpc_call_ms))
        .concurrency_limit_per_connection(streams_max as usize)
        .max_concurrent_streams(streams_max)
        .http2_max_header_list_size(HEADERS_LENGTH_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(RESET_STREAMS_MAX))
        .max_frame_size(FRAME_LENGTH_MAX)
        .initial_stream_window_size(WINDOW_LENGTH)
        .initial_connection_window_size(WINDOW_LENGTH)
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive))
}

/// Looks after the broker's store until `stop`: ends what is over, signs checkpoints.
pub async fn housekeeping(backend: Arc<Backend>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        backend.keep_house().await;
    }
}
