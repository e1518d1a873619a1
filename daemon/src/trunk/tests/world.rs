//! Nodes on loopback: each with its trunks, and what its overlay and gateway would be told. And a proxy between them that
//! can be told to break.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use proto_spec::egress::{EgressSet, HOP_LIMIT, TrunkHeader};
use proto_spec::frame::{DataHeader, Destination, Replace};
use proto_spec::{NodeNumber, SenderNumber, SessionId, TrafficClass};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sealcast_attach::{Ledger, Limits, NodeMemory, Run};
use sealcast_mesh::Input;
use sealcast_trust::CertificateRole;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pki::{Pki, node, now};
use crate::clock::Clock;
use crate::metrics::{DataPlane, Metrics};
use crate::tls::mesh::{CurrentMesh, MeshTls, Revoked, server_name};
use crate::tls::{self, provider};
use crate::trunk::{Arrivals, Parts, PeerConnection, Settings, Trunks};

/// Nothing here takes that long, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Inputs that wait for a node's overlay.
pub(super) const INPUTS: usize = 1_024;

/// What came over a data connection.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) from: NodeNumber,
    pub(super) header: TrunkHeader,
    pub(super) class: TrafficClass,
    pub(super) bytes: Bytes,
}

struct Sink(mpsc::Sender<Packet>);

impl Arrivals for Sink {
    fn packet(&self, from: NodeNumber, header: TrunkHeader, run: Run) {
        let (class, bytes) = (run.class(), run.bytes().clone());
        self.0.try_send(Packet { from, header, class, bytes }).expect("the test reads on");
    }
}

pub(super) struct Node {
    pub(super) trunks: Trunks,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) packets: mpsc::Receiver<Packet>,
    pub(super) calls: mpsc::Receiver<PeerConnection>,
    pub(super) tls: CurrentMesh,
    pub(super) revoked: Revoked,
    pub(super) address: SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// What may differ from node to node.
pub(super) struct Plan {
    pub(super) files: tls::Identity,
    pub(super) clock: Clock,
    pub(super) wire_versions: (u16, u16),
    pub(super) handshake: Duration,
}

impl Plan {
    pub(super) fn new(files: tls::Identity) -> Plan {
        Plan { files, clock: Clock::start(), wire_versions: (1, 1), handshake: PATIENCE }
    }
}

pub(super) async fn start(pki: &Pki, number: u16) -> Node {
    start_with(pki, number, Plan::new(pki.node(number))).await
}

pub(super) async fn start_with(pki: &Pki, number: u16, plan: Plan) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let revoked = Revoked::default();
    let tls = Arc::new(ArcSwap::from_pointee(mesh_tls(pki, &plan.files, &revoked)));
    let (inputs, inputs_end) = mpsc::channel(INPUTS);
    let (packets, packets_end) = mpsc::channel(65_536);
    let (calls, calls_end) = mpsc::channel(4);
    let (metrics, stop, tasks) = (Metrics::new(), CancellationToken::new(), TaskTracker::new());
    let limits = Arc::new(Limits::default());
    let parts = Parts {
        listener,
        settings: Settings {
            links_max: 16,
            handshake: plan.handshake,
            trunk_address: address.to_string(),
            mdns: false,
            software: "test".into(),
            wire_versions: plan.wire_versions,
        },
        tls: Arc::clone(&tls),
        number: node(number),
        mesh: pki.mesh.to_string(),
        clock: plan.clock,
        metrics: Arc::clone(&metrics),
        inputs,
        arrivals: Arc::new(Sink(packets)),
        calls,
        memory: NodeMemory::new(limits.node_queue_bytes_max),
        limits,
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    let trunks = Trunks::start(parts).unwrap();
    Node {
        trunks,
        inputs: inputs_end,
        packets: packets_end,
        calls: calls_end,
        tls,
        revoked,
        address,
        metrics,
        stop,
        tasks,
    }
}

pub(super) fn mesh_tls(pki: &Pki, files: &tls::Identity, revoked: &Revoked) -> MeshTls {
    // A bad certificate is presented as it is; its owner believes in it.
    let own = match pki.trust.verify(&files.chain, now()) {
        Ok(identity) if matches!(identity.role, CertificateRole::Node(_)) => identity,
        _ => pki.trust.verify(&pki.node(99).chain, now()).unwrap(),
    };
    MeshTls::new(files, &own, pki.trust.clone(), Arc::clone(revoked)).unwrap()
}

impl Node {
    pub(super) fn dial(&self, to: Option<u16>, address: SocketAddr) {
        self.trunks.dial(to.map(node), vec![address.to_string()]);
    }

    /// The next input that is no measurement.
    pub(super) async fn input(&mut self) -> Input {
        loop {
            let input = tokio::time::timeout(PATIENCE, self.inputs.recv()).await.expect("an input").unwrap();
            if !matches!(input, Input::LinkRtt { .. } | Input::Clock { .. }) {
                return input;
            }
        }
    }

    /// The first clock that the overlay was told of and has not taken, and everything before it.
    pub(super) fn clock(&mut self) -> Option<i64> {
        std::iter::from_fn(|| self.inputs.try_recv().ok()).find_map(|input| match input {
            Input::Clock { offset_ms, .. } => Some(offset_ms),
            _ => None,
        })
    }

    pub(super) async fn expect_up(&mut self, peer: u16) {
        match self.input().await {
            Input::LinkUp { peer: signer } => assert_eq!(signer.node, node(peer)),
            other => panic!("{other:?} instead of the link to {peer} going up"),
        }
    }

    pub(super) async fn expect_down(&mut self, peer: u16) {
        assert_eq!(self.input().await, Input::LinkDown { peer: node(peer) });
    }

    pub(super) async fn packet(&mut self) -> Packet {
        tokio::time::timeout(PATIENCE, self.packets.recv()).await.expect("a packet").unwrap()
    }

    /// The value of a counter's line, 0 if it is not there.
    pub(super) fn count(&self, line: &str) -> u64 {
        let text = self.metrics.render(&DataPlane::default(), true);
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    pub(super) fn refused(&self, reason: &str) -> u64 {
        self.count(&format!("relayd_trunk_refusals_total{{reason=\"{reason}\"}}"))
    }

    pub(super) fn refused_by(&self, reason: &str) -> u64 {
        self.count(&format!("relayd_trunk_refusals_by_others_total{{reason=\"{reason}\"}}"))
    }

    pub(super) fn ended(&self, reason: &str) -> u64 {
        self.count(&format!("relayd_trunk_ends_total{{reason=\"{reason}\"}}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits until something holds; the one place that looks again and again.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "{what}");
}

/// Links two nodes, the first dialling.
pub(super) async fn link(one: &mut Node, first: u16, other: &mut Node, second: u16) {
    // As the overlay does: an attempt that meets the end of the last trunk comes to nothing.
    let mut again = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = again.tick() => one.dial(Some(second), other.address),
            () = one.expect_up(second) => break,
        }
    }
    other.expect_up(first).await;
}

// ---- packets ----

pub(super) fn header(egress: &[u16]) -> TrunkHeader {
    TrunkHeader {
        hop_limit: HOP_LIMIT,
        ingress: node(1),
        egress: EgressSet::new(egress.iter().map(|number| node(*number))).unwrap(),
        session: SessionId([7; 16]),
    }
}

pub(super) fn ledger() -> Arc<Ledger> {
    let limits = Limits::default();
    Ledger::new(&limits, NodeMemory::new(limits.node_queue_bytes_max), Box::new(|| {}))
}

/// A run of `frames` frames of `length` bytes each, whose packets start with `tag`.
pub(super) fn run(ledger: &Arc<Ledger>, class: TrafficClass, frames: u32, length: usize, tag: u32) -> Run {
    let replace = (class == TrafficClass::Screen).then_some(Replace { key: 1, update: tag, last: false });
    let header =
        DataHeader { class, sender: SenderNumber::new(5).unwrap(), destination: Destination::All, replace };
    let mut bytes = Vec::new();
    for _ in 0..frames {
        let start = bytes.len();
        header.put(&mut bytes, |out| {
            out.extend_from_slice(&tag.to_be_bytes());
            // `length` counts the whole frame.
            out.resize(start + length, 0xab);
        });
    }
    let pinned = bytes.len();
    Run::new(ledger, &header, bytes.into(), frames, pinned)
}

// ---- a peer that is no node ----

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 alone")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// TLS to a node as a stranger may speak it.
pub(super) async fn stranger(
    address: SocketAddr,
    files: Option<&tls::Identity>,
    protocol: Option<&[u8]>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match files {
        Some(files) => config.with_client_auth_cert(files.chain.clone(), files.key.clone_key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(server_name(), tcp).await
}

// ---- a wire that can break ----

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wire {
    Forwards,
    Holds,
    Resets,
}

/// Forwards connections to a node until told otherwise.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    wire: watch::Sender<Wire>,
}

impl Proxy {
    pub(super) async fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (wire, state) = watch::channel(Wire::Forwards);
        tokio::spawn(async move {
            // Ends with the test's runtime.
            while let Ok((inbound, _)) = listener.accept().await {
                let outbound = TcpStream::connect(target).await.unwrap();
                tokio::spawn(forward(inbound, outbound, state.clone()));
            }
        });
        Proxy { address, wire }
    }

    /// Nothing goes through any more, and nobody is told.
    pub(super) fn hold(&self) {
        self.wire.send_replace(Wire::Holds);
    }

    /// All connections are reset.
    pub(super) fn reset(&self) {
        self.wire.send_replace(Wire::Resets);
    }
}

async fn forward(mut inbound: TcpStream, mut outbound: TcpStream, mut state: watch::Receiver<Wire>) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound) => return,
        _ = state.wait_for(|wire| *wire != Wire::Forwards) => {}
    }
    // Held until the test ends, or reset now.
    let _ = state.wait_for(|wire| *wire == Wire::Resets).await;
    for stream in [&inbound, &outbound] {
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Revokes a certificate at a node.
pub(super) fn revoke(node: &Node, files: &tls::Identity) {
    revoke_certificate(node, sealcast_trust::cert::inspect(&files.chain[0]).unwrap().certificate);
}

pub(super) fn revoke_certificate(node: &Node, certificate: [u8; 32]) {
    node.revoked.store(Arc::new(BTreeSet::from([certificate])));
}
