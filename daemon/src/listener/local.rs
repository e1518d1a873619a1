//! The administrators' Unix socket: this process' own user and root alone, whatever the file's mode says.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::{ACCEPT_PAUSE, AdminIntake, GrpcStream};
use crate::metrics::Accepted;

/// Accepts administrators until `stop`.
pub async fn serve(socket: UnixListener, intake: Arc<AdminIntake>, stop: CancellationToken) {
    let own = rustix::process::geteuid().as_raw();
    let idle = Duration::from_millis(intake.limits.grpc_keepalive_ms).saturating_mul(3);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let outcome = match stream.peer_cred() {
            Ok(peer) if permitted(peer.uid(), own) => match Arc::clone(&intake.permits).try_acquire_owned() {
                Ok(permit) => match intake.grpc.try_send(GrpcStream::local(stream, peer.uid(), permit, idle))
                {
                    Ok(()) => Accepted::Admin,
                    Err(_) => Accepted::GrpcFull,
                },
                Err(_) => Accepted::GrpcFull,
            },
            _ => {
                tracing::warn!("another user of this machine was refused on the admin socket");
                Accepted::AdminRefused
            }
        };
        intake.metrics.accepted(outcome);
    }
}

fn permitted(uid: u32, own: u32) -> bool {
    uid == own || uid == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_nodes_own_user_administer() {
        assert!(permitted(0, 991) && permitted(991, 991) && !permitted(1000, 991));
    }
}
