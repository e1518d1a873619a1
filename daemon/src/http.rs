//! The operators' loopback listener: `/livez`, `/readyz`, `/metrics`; and the page that browsers find on an endpoints'
//! port. Neither changes anything.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::{Health, State};
use crate::metrics::{DataPlane, Metrics};

/// Prometheus' name for what [`Metrics::render`] writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the operators' listener reads.
#[derive(Clone)]
pub struct Operators {
    /// Where the node is in its life.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// The data plane as it stands.
    pub data: Arc<dyn Fn() -> DataPlane + Send + Sync>,
}

/// Serves operators until `stop`.
pub async fn serve(socket: TcpListener, operators: Operators, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(operators);
    let served = axum::serve(socket, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the operators' listener ended");
    }
}

async fn readyz(Shared(operators): Shared<Operators>) -> impl IntoResponse {
    let state = operators.health.state();
    let code = if state == State::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", state.name()))
}

async fn metrics(Shared(operators): Shared<Operators>) -> impl IntoResponse {
    let ready = operators.health.state() == State::Ready;
    let text = operators.metrics.render(&(operators.data)(), ready);
    ([(header::CONTENT_TYPE, OPENMETRICS)], text)
}

/// What a browser is shown on an endpoints' port.
pub fn page(mesh: &str) -> Router {
    // A mesh's name has no character that means anything in HTML.
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sealcast relay</title>\
         <p>This is a relay of the Sealcast mesh <b>{mesh}</b>. It relays sealed support sessions and can read none of \
         them. To take part in one, use the program <code>sealcast</code> and the invite file of your \
         administrator.</p></html>\n"
    );
    Router::new().route("/", get(move || async move { Html(body) }))
}
