//! Round trips to nodes, measured in the clear before a session begins: placement chooses by them \[PRB-1\] \[SES-22\].

use std::net::IpAddr;
use std::time::Duration;

use proto_spec::probe::{PROBE_ANSWER_MAGIC, PROBE_LENGTH, question};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::config::{PROBE_MAX, PROBES_MAX};
use crate::connect::{Target, tcp};

/// Probes the first of these, all at the same time; those that answer within [`PROBE_MAX`].
pub(crate) async fn measure(
    targets: impl IntoIterator<Item = Target>,
    local: Option<IpAddr>,
) -> Vec<(Target, Duration)> {
    let deadline = Instant::now() + PROBE_MAX;
    let mut running = JoinSet::new();
    for target in targets.into_iter().take(PROBES_MAX) {
        running.spawn(async move {
            let round_trip = timeout_at(deadline, once(&target, local)).await.ok()??;
            Some((target, round_trip))
        });
    }
    let mut measured = Vec::new();
    while let Some(done) = running.join_next().await {
        measured.extend(done.ok().flatten());
    }
    measured
}

async fn once(target: &Target, local: Option<IpAddr>) -> Option<Duration> {
    let token = crate::random::<8>().ok()?;
    let address = lookup_host((target.host.as_str(), target.port)).await.ok()?.next()?;
    let mut stream = tcp(address, local).await.ok()?;
    let sent_at = Instant::now();
    stream.write_all(&question(*token)).await.ok()?;
    let mut answer = [0; PROBE_LENGTH];
    stream.read_exact(&mut answer).await.ok()?;
    let (magic, echo) = answer.split_at(PROBE_ANSWER_MAGIC.len());
    (magic == PROBE_ANSWER_MAGIC && echo == token.as_slice()).then(|| sent_at.elapsed())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What answers a probe with these bytes, and the token if it is to be echoed.
    async fn node(magic: &'static [u8], echoes: bool) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; PROBE_LENGTH];
                stream.read_exact(&mut asked).await.unwrap();
                let token = if echoes { &asked[8..] } else { &[0; 8] };
                stream.write_all(&[magic, token].concat()).await.unwrap();
            }
        });
        Target { host: "127.0.0.1".to_owned(), port }
    }

    /// \[SES-22\] \[PRB-1\]: only what answers right is told, and only so many are asked.
    #[tokio::test]
    async fn nodes_are_measured() {
        let right = node(&PROBE_ANSWER_MAGIC, true).await;
        let stranger = node(b"HTTP/1.1", true).await;
        let forger = node(&PROBE_ANSWER_MAGIC, false).await;
        let measured = measure([stranger, forger, right.clone()], None).await;
        assert!(matches!(&measured[..], [(target, _)] if *target == right));
        let measured = measure(std::iter::repeat_n(right, PROBES_MAX + 1), None).await;
        assert_eq!(measured.len(), PROBES_MAX);
    }

    /// \[SES-22\]: a node that takes a connection and says nothing holds nobody up.
    #[tokio::test]
    async fn nobody_waits_for_a_silent_node() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = Target { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let start = Instant::now();
        assert!(measure([silent], None).await.is_empty());
        assert!(start.elapsed() >= PROBE_MAX);
    }
}
