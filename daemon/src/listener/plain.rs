//! What is spoken in the clear, probes and redirects, and the page for browsers. Nothing sensitive ever.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use proto_spec::probe::{self, PROBE_LENGTH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::metrics::Accepted;
use crate::tls::ServerStream;

/// Longest request in the clear that is read for its target, head and all.
const HEAD_LENGTH_MAX: usize = 2_048;
/// Longest target that is carried over to https; anything longer goes to `/`.
const TARGET_LENGTH_MAX: usize = 1_024;
/// Time that a browser has for the page, head to end.
const PAGE_TIME: Duration = Duration::from_secs(10);

/// Answers one probe, 16 bytes by 16 \[PRB-1\].
pub(super) async fn probe(mut stream: TcpStream, deadline: Instant) -> Accepted {
    let mut question = [0u8; PROBE_LENGTH];
    match timeout_at(deadline, stream.read_exact(&mut question)).await {
        Err(_) => return Accepted::TooSlow,
        Ok(Err(_)) => return Accepted::Closed,
        Ok(Ok(_)) => {}
    }
    let Some(answer) = probe::answer(&question) else {
        return Accepted::Unknown;
    };
    match timeout_at(deadline, stream.write_all(&answer)).await {
        Ok(Ok(())) => Accepted::Probe,
        _ => Accepted::Closed,
    }
}

/// Answers plaintext HTTP by a redirect to the same target over TLS on the same port.
pub(super) async fn redirect(mut stream: TcpStream, host: &str, deadline: Instant) -> Accepted {
    let mut head = Vec::with_capacity(512);
    loop {
        let mut chunk = [0u8; 512];
        match timeout_at(deadline, stream.read(&mut chunk)).await {
            Err(_) => return Accepted::TooSlow,
            Ok(Err(_) | Ok(0)) => return Accepted::Closed,
            Ok(Ok(length)) => head.extend_from_slice(&chunk[..length]),
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
        if head.len() > HEAD_LENGTH_MAX {
            return Accepted::Unknown;
        }
    }
    let Some(target) = target(&head) else {
        return Accepted::Unknown;
    };
    let port = match stream.local_addr() {
        Ok(local) if local.port() != 443 => format!(":{}", local.port()),
        _ => String::new(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let answer = format!(
        "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://{host}{port}{target}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    let sent = timeout_at(deadline, async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    });
    match sent.await {
        Ok(Ok(())) => Accepted::Redirect,
        _ => Accepted::Closed,
    }
}

/// The target of an HTTP request line, `/` where it cannot be carried over; `None` if it is no HTTP.
fn target(head: &[u8]) -> Option<&str> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut parts = line.split(' ');
    let (_method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !version.starts_with("HTTP/") {
        return None;
    }
    let carried = target.starts_with('/')
        && !target.starts_with("//")
        && target.len() <= TARGET_LENGTH_MAX
        && target.bytes().all(|byte| byte.is_ascii_graphic());
    Some(if carried { target } else { "/" })
}

/// Serves the page over TLS to whom speaks HTTP/1.1.
pub(super) async fn page(tls: ServerStream, page: Router, header_time: Duration) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(16 * 1024)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tls), TowerToHyperService::new(page));
    // Whether the browser took it whole is its own affair.
    let _ = tokio::time::timeout(PAGE_TIME, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_carried_over_only_as_a_plain_path() {
        assert_eq!(target(b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"), Some("/a?b"));
        assert_eq!(target(b"GET //evil.example/ HTTP/1.1\r\n\r\n"), Some("/"));
        assert_eq!(target(b"GET http://evil.example/ HTTP/1.1\r\n\r\n"), Some("/"));
        assert_eq!(target(b"GET /a\tb HTTP/1.1\r\n\r\n"), Some("/"));
        assert_eq!(target(b"GET / and more HTTP/1.1\r\n\r\n"), None);
        assert_eq!(target(b"HELO there\r\n\r\n"), None);
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(TARGET_LENGTH_MAX));
        assert_eq!(target(long.as_bytes()), Some("/"));
        let longest = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(TARGET_LENGTH_MAX - 1));
        assert_eq!(target(longest.as_bytes()).map(str::len), Some(TARGET_LENGTH_MAX));
    }
}
