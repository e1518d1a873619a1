//! Reaching nodes over real sockets and TLS: the right one, one of another mesh, and what is none.

use std::sync::Arc;

use proto_spec::frame::{ControlFrame, ErrorFrame, Hello};
use proto_spec::invite::{Invite, InviteNode};
use proto_spec::{Refusal, alpn};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::ErrorKind;

/// A mesh's CA and a node's certificate from it.
struct Authority {
    ca: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new(names: &[&str]) -> Authority {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::from_params(&params, &ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Authority {
            ca: ca.pem(),
            chain: vec![leaf.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        config.alpn_protocols = vec![alpn::ATTACH.to_vec(), alpn::GRPC.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A node that answers every greeting with `answer`; its port.
async fn node(authority: &Authority, answer: Vec<ControlFrame>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = authority.acceptor();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_one(acceptor.clone(), stream, answer.clone()));
        }
    });
    port
}

async fn answer_one(acceptor: TlsAcceptor, stream: TcpStream, answer: Vec<ControlFrame>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut question = [0; 64];
    let _ = stream.read(&mut question).await;
    let mut bytes = Vec::new();
    answer.iter().for_each(|frame| frame.put(&mut bytes));
    let _ = stream.write_all(&bytes).await;
    let _ = stream.flush().await;
    // Kept open until the other side closes.
    let _ = stream.read(&mut question).await;
}

fn mesh(ca: &str, ports: Vec<u16>, cache: Option<PathBuf>) -> Mesh {
    let nodes = vec![InviteNode { host: "127.0.0.1".into(), ports }];
    Mesh::from_invite(Invite { version: 1, mesh: "home".into(), nodes, ca: ca.into() }, cache).unwrap()
}

fn hello() -> Vec<ControlFrame> {
    vec![ControlFrame::Hello(Hello::ours("node"))]
}

#[tokio::test]
async fn a_node_is_found_behind_closed_and_silent_ports_and_remembered() {
    let authority = Authority::new(&["127.0.0.1"]);
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = node(&authority, hello()).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache/last");
    let ports = vec![silent.local_addr().unwrap().port(), closed, port];
    let found = mesh(&authority.ca, ports.clone(), Some(cache.clone()));
    let (_, _, greeted) = found.attach(&[], &[], "test").await.unwrap();
    assert_eq!(greeted.hello.software, "node");
    assert_eq!(std::fs::read_to_string(&cache).unwrap(), format!("127.0.0.1:{port}"));
    let again = mesh(&authority.ca, ports, Some(cache));
    assert_eq!(again.targets(&[])[0].port, port, "what worked last time is tried first");
    assert_eq!(again.targets(&["[::1]:7".into(), "nonsense".into()])[0].to_string(), "[::1]:7");
}

#[tokio::test]
async fn both_connections_have_exporters_of_their_own() {
    let authority = Authority::new(&["127.0.0.1"]);
    let port = node(&authority, hello()).await;
    let mesh = mesh(&authority.ca, vec![port], None);
    let (_, one, _) = mesh.attach(&[], &[], "test").await.unwrap();
    let (_, other, _) = mesh.attach(&[], &[], "test").await.unwrap();
    assert_ne!(one.exporter, other.exporter);
    assert_ne!(mesh.gateway(&[]).await.unwrap().1.exporter, one.exporter);
}

/// \[SES-16\]: what is in use already is avoided, and two addresses of one node show the same certificate.
#[tokio::test]
async fn another_node_is_found_for_the_standby() {
    let (one, two) = (Authority::new(&["127.0.0.1"]), Authority::new(&["127.0.0.1"]));
    let ports = [node(&one, hello()).await, node(&one, hello()).await, node(&two, hello()).await];
    let both = format!("{}{}", one.ca, two.ca);
    let mesh = mesh(&both, ports.to_vec(), None);
    let at = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let (first, active, _) = mesh.attach(&[], &[], "test").await.unwrap();
    assert_eq!(first.to_string(), at(0));
    let (second, same, _) = mesh.attach(&[at(0)], &[at(0)], "test").await.unwrap();
    assert_eq!((second.to_string(), same.certificate), (at(1), active.certificate));
    let (third, other, _) = mesh.attach(&[], &[at(0), at(1)], "test").await.unwrap();
    assert_eq!(third.to_string(), at(2));
    assert_ne!(other.certificate, active.certificate);
    assert_eq!(mesh.targets(&[])[0].to_string(), at(0), "a standby is not what worked last time");
    assert!(mesh.attach(&[], &[at(0), at(1), at(2)], "test").await.is_err());
}

/// \[SES-22\]: a gateway that failed is asked last, one that was named is asked too.
#[tokio::test]
async fn any_node_is_a_gateway() {
    let authority = Authority::new(&["127.0.0.1"]);
    let (one, two) = (node(&authority, hello()).await, node(&authority, hello()).await);
    let mesh = mesh(&authority.ca, vec![one], None);
    mesh.learn(&[format!("127.0.0.1:{two}")]);
    let (first, _) = mesh.gateway(&[]).await.unwrap();
    assert_eq!(first.port, one);
    let (second, _) = mesh.gateway(std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(second.port, two);
}

#[tokio::test]
async fn a_certificate_of_another_mesh_is_refused_and_said() {
    let (ours, theirs) = (Authority::new(&["127.0.0.1"]), Authority::new(&["127.0.0.1"]));
    let port = node(&theirs, hello()).await;
    let error = mesh(&ours.ca, vec![port], None).attach(&[], &[], "test").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("is not of this mesh"), "{error}");
    let other_name = Authority::new(&["relay.example.net"]);
    let port = node(&other_name, hello()).await;
    let error = mesh(&other_name.ca, vec![port], None).gateway(&[]).await.err().unwrap();
    assert!(error.to_string().contains("for another name"), "{error}");
}

/// \[FRM-6\] \[ERR-1\]
#[tokio::test]
async fn what_a_node_says_in_its_greeting_is_told() {
    let authority = Authority::new(&["127.0.0.1"]);
    let full = ControlFrame::Error(ErrorFrame { refusal: Refusal::NodeFull, retry_after_ms: 0 });
    let newer = ControlFrame::Hello(Hello { version_min: 7, version_max: 9, software: String::new() });
    for (answer, sentence) in [(full, Refusal::NodeFull), (newer, Refusal::UnknownVersion)] {
        let port = node(&authority, vec![answer]).await;
        let error = mesh(&authority.ca, vec![port], None).attach(&[], &[], "test").await.err().unwrap();
        assert!(error.to_string().contains(sentence.sentence()), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_relay_is_called_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let authority = Authority::new(&["127.0.0.1"]);
    let error = mesh(&authority.ca, vec![port], None).attach(&[], &[], "test").await.err().unwrap();
    assert!(error.to_string().contains("check the invite's address"), "{error}");
}

/// \[INV-1\]
#[test]
fn an_invite_without_a_ca_is_refused() {
    let nodes = vec![InviteNode { host: "127.0.0.1".into(), ports: vec![1] }];
    for ca in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let invite = Invite { version: 1, mesh: "home".into(), nodes: nodes.clone(), ca: ca.into() };
        assert_eq!(Mesh::from_invite(invite, None).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
