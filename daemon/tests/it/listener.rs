//! One port for everything: probes, redirects, rubbish, and those who take their time.

use std::net::SocketAddr;

use futures::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto_spec::{alpn, probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{Mesh, Relayd, admin_on, client_config, free_ports, get, tls};

/// What a node answers to some bytes until it closes.
async fn answer(address: SocketAddr, question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(question).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an answer of no bytes, too.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// Waits until so many connections had this outcome; a connection may be counted just after it was closed.
async fn counted(ops: SocketAddr, outcome: &str, count: u64) {
    let wanted = format!("relayd_connections_total{{outcome=\"{outcome}\"}} ");
    let mut seen = 0;
    while seen < count {
        let metrics = get(ops, "/metrics").await;
        seen = metrics.lines().find_map(|line| line.strip_prefix(&wanted)).unwrap().parse().unwrap();
    }
    assert_eq!(seen, count, "{outcome}");
}

/// \[PRB-1\] \[CON-7\]
#[tokio::test]
async fn first_bytes_tell_what_a_connection_is() {
    let folder = tempfile::tempdir().unwrap();
    let node = Relayd::dev(&folder.path().join("state"));

    let question = probe::question(*b"12345678");
    assert_eq!(answer(node.address(), &question).await, probe::answer(&question).unwrap());
    counted(node.ops(), "probe", 1).await;

    let redirect =
        String::from_utf8(answer(node.address(), b"GET /help?x HTTP/1.1\r\nHost: evil\r\n\r\n").await)
            .unwrap();
    assert!(redirect.starts_with("HTTP/1.1 308 "), "{redirect}");
    assert!(
        redirect.contains(&format!("Location: https://127.0.0.1:{}/help?x\r\n", node.port())),
        "{redirect}"
    );

    for rubbish in [&b"\x00\x01\x02"[..], b"SCPROBE2........", b"HELO me\r\n\r\n", b"\x15\x03\x01"] {
        assert_eq!(answer(node.address(), rubbish).await, b"", "{rubbish:?}");
    }
    counted(node.ops(), "unknown", 4).await;

    let mut browser = tls(node.address(), client_config(&node.ca(), alpn::HTTP1, None)).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut page = String::new();
    browser.read_to_string(&mut page).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("Sealcast mesh <b>dev</b>"), "{page}");
}

/// \[CON-7\]: one suite is preferred, no ticket resumes anything.
#[tokio::test]
async fn tls_is_as_it_was_decided() {
    let folder = tempfile::tempdir().unwrap();
    let node = Relayd::dev(&folder.path().join("state"));
    let stream = tls(node.address(), client_config(&node.ca(), alpn::ATTACH, None)).await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(
        session.negotiated_cipher_suite().unwrap().suite(),
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256
    );
    assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), rustls::NamedGroup::X25519MLKEM768);
    // A protocol that the node does not speak is refused in the handshake.
    assert!(tls(node.address(), client_config(&node.ca(), b"smtp", None)).await.is_err());
}

#[tokio::test]
async fn who_takes_his_time_is_cut_off() {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config =
        mesh.config(port, ops, "", "[connections]\nhandshake_ms = 200\ngrpc_keepalive_ms = 100\ngrpc_call_ms = 300\n[limits]\nadmission_timeout_ms = 300",
    );
    let _node = Relayd::run(&config, &mesh.path("state"));
    let (address, ops) = (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 1], ops)));

    // Nothing at all; half a probe; a request without end; the first byte of a handshake: all of them end by themselves.
    for start in [&b""[..], b"SCPRO", b"GET / HT", b"\x16"] {
        assert_eq!(answer(address, start).await, b"", "{start:?}");
    }
    counted(ops, "too_slow", 4).await;

    // After the handshake, an attachment without a ticket, and those that never speak HTTP.
    for protocol in [alpn::ATTACH, alpn::HTTP1, alpn::GRPC] {
        let mut stream = tls(address, client_config(&mesh.path("ca.pem"), protocol, None)).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    let metrics = get(ops, "/metrics").await;
    assert!(metrics.contains("relayd_refusals_total{reason=\"too_slow\"} 1"), "{metrics}");

    // A call whose body never ends is answered all the same.
    let stream = tls(address, client_config(&mesh.path("ca.pem"), alpn::GRPC, None)).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let beginning = futures::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[0, 0, 0]))]);
    let body = axum::body::Body::from_stream(beginning.chain(futures::stream::pending()));
    let request = http::Request::post("https://relayd/sealcast.v1.Endpoint/About")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
    assert!(status.as_deref().is_some_and(|status| status != "0"), "{status:?}");
}

#[tokio::test]
async fn a_handshake_has_a_limit_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let node = Relayd::dev(&folder.path().join("state"));
    // One ClientHello of 60 KiB that never ends, in records of 16 KiB: below rustls' own limit, above ours.
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let mut hello = vec![1, 0, 0xea, 0x60];
    hello.resize(40_000, 0);
    let mut bytes = Vec::new();
    for part in hello.chunks(16_384) {
        bytes.extend_from_slice(&[0x16, 3, 1]);
        bytes.extend_from_slice(&(part.len() as u16).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    let _ = stream.write_all(&bytes).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    counted(node.ops(), "tls_failed", 1).await;
}

/// \[ATT-14\]
#[tokio::test]
async fn one_address_has_few_half_open_connections() {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config = mesh.config(port, ops, "", "[limits]\naddress_half_open_max = 3");
    let _node = Relayd::run(&config, &mesh.path("state"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));

    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(answer(address, b"").await, b"", "the fourth is closed at once");
    let metrics = get(SocketAddr::from(([127, 0, 0, 1], ops)), "/metrics").await;
    assert!(metrics.contains("relayd_refusals_total{reason=\"address_limited\"} 1"), "{metrics}");

    // As soon as one is gone, the next is served; the node may need a moment to notice.
    drop(open.pop());
    let question = probe::question(*b"87654321");
    while answer(address, &question).await.is_empty() {}
}

/// \[ATT-14\]: who looks at the page, and takes his time, counts as half open.
#[tokio::test]
async fn a_slow_browser_holds_its_place() {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config = mesh.config(port, ops, "", "[limits]\naddress_half_open_max = 1");
    let _node = Relayd::run(&config, &mesh.path("state"));
    let (address, ops) = (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 1], ops)));
    let browser = tls(address, client_config(&mesh.path("ca.pem"), alpn::HTTP1, None)).await.unwrap();
    counted(ops, "http", 1).await;
    let question = probe::question(*b"87654321");
    assert_eq!(answer(address, &question).await, b"");
    drop(browser);
    while answer(address, &question).await.is_empty() {}
}

#[tokio::test]
async fn one_address_cannot_hold_all_grpc_connections() {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config = mesh.config(port, ops, "", "[connections]\ngrpc_address_connections_max = 1");
    let _node = Relayd::run(&config, &mesh.path("state"));
    let (address, ops) = (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 1], ops)));
    let config = client_config(&mesh.path("ca.pem"), alpn::GRPC, None);
    let first = tls(address, config.clone()).await.unwrap();
    counted(ops, "grpc", 1).await;
    let mut second = tls(address, config.clone()).await.unwrap();
    let mut rest = Vec::new();
    let _ = second.read_to_end(&mut rest).await;
    counted(ops, "grpc_full", 1).await;
    drop((first, second));
}

/// Whoever reaches the administrators' port, with or without a certificate, does not keep the machine itself out.
#[tokio::test]
async fn a_held_up_admin_port_leaves_the_socket_free() {
    let mesh = Mesh::new();
    let [port, ops, admin] = free_ports();
    let config = mesh.config(port, ops, &format!("admin = \"127.0.0.1:{admin}\""), "");
    let _node = Relayd::run(&config, &mesh.path("state"));
    let mut held = Vec::new();
    for _ in 0..33 {
        held.push(TcpStream::connect(("127.0.0.1", admin)).await.unwrap());
    }
    counted(SocketAddr::from(([127, 0, 0, 1], ops)), "grpc_full", 1).await;
    let mut client = admin_on(mesh.path("state").join("admin.sock")).await;
    client.show_node(sealcast_rpc::ShowNodeRequest::default()).await.unwrap();
}
