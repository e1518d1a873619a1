//! gRPC towards endpoints and administrators: turns messages into the broker's requests and its replies into messages.
//!
//! Owns limits of connections and calls, the evidence of who calls, and the mapping to status codes. Never decides:
//! the roles of calls stand in the broker's one table.
//!
//! ```text
//!  listener ─► GrpcStream ─► tonic ─► endpoint.rs / admin.rs ─► Backend::ask ─► Broker::decide ⇄ store
//!                                                                  └─► tombstones ─► gateway
//! ```

mod admin;
mod backend;
mod convert;
mod endpoint;
mod passwords;
mod status;

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
use crate::listener::GrpcStream;

pub use backend::{Backend, Fault, NodeFacts, Parts};
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
    let service = EndpointServer::new(endpoint::EndpointCalls::new(backend))
        .max_decoding_message_size(MESSAGE_LENGTH_MAX)
        .max_encoding_message_size(MESSAGE_LENGTH_MAX);
    let incoming = ReceiverStream::new(connections).map(Ok::<_, std::convert::Infallible>);
    let routes = Routes::from(Routes::new(service).into_axum_router().merge(page));
    let served =
        server(&limits).add_routes(routes).serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
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
    let served =
        server(&limits).add_service(service).serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the administrators' gRPC server ended");
    }
}

/// Bounds of every connection. The time of a call includes reading its body, so a slow body ends with it.
fn server(limits: &Connections) -> Server {
    let keepalive = Duration::from_millis(limits.grpc_keepalive_ms);
    Server::builder()
        .timeout(Duration::from_millis(limits.grpc_call_ms))
        .concurrency_limit_per_connection(limits.grpc_streams_max as usize)
        .max_concurrent_streams(limits.grpc_streams_max)
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
