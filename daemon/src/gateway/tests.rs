//! The gateway over real sockets and TLS, with tickets of a real broker key. Nothing here sleeps or measures time.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use ed25519_dalek::{Signer, SigningKey};
use proto_spec::frame::{
    Attached, ControlFrame, DataHeader, Destination, FrameHeader, FrameType, HEADER_LENGTH, Hello, Peer,
    PeerState, Ping, TicketFrame, attach_proof_message,
};
use proto_spec::mesh::{Chain, ChainKind};
use proto_spec::ticket::{Claims, Role, TicketKind};
use proto_spec::{AttachSeq, Refusal, TrafficClass};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sealcast_trust::{BrokerSigner, ticket_hash};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::health::{Health, State};
use crate::overlay::{self, Brokers, Overlay};
use crate::revocations::Revocations;
use crate::tls::{EXPORTER_ATTACH, Identity, Metered, endpoint_config, provider};
use hub::{Hub, Port};

mod hub;
mod mesh;
mod pki;

/// A node on a port of the kernel's choice.
struct Node {
    gateway: Arc<Gateway>,
    overlay: Overlay,
    health: Arc<Health>,
    address: SocketAddr,
    connector: TlsConnector,
    broker: Arc<BrokerSigner>,
    clock: Clock,
    session: SessionId,
    /// Ends the overlay's task.
    _stop: DropGuard,
}

impl Node {
    async fn start(change: impl FnOnce(&mut Limits)) -> Node {
        Node::start_with_tap(change, None).await
    }

    /// A mesh of one.
    async fn start_with_tap(change: impl FnOnce(&mut Limits), tap: Option<Tap>) -> Node {
        let pki = pki::make(Clock::start().now().wall, 1);
        Node::start_in(&pki, 0, &Arc::default(), change, tap).await
    }

    async fn start_in(
        pki: &pki::Pki,
        index: usize,
        hub: &Arc<Hub>,
        change: impl FnOnce(&mut Limits),
        tap: Option<Tap>,
    ) -> Node {
        let mut limits = Limits::default();
        change(&mut limits);
        let clock = Clock::start();
        let files = &pki.nodes[index];
        // The broker's node knows it by its configuration, the others by what the mesh makes known.
        let configured = (index == 0).then_some(pki.broker_key);
        let brokers = Brokers::new(Verifier::new(pki::MESH, configured));
        let gateway = Gateway::new(limits, brokers.verifier(), clock, tap);
        let identity = Identity {
            chain: files.chain.clone(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(files.key.clone())),
        };
        let acceptor = TlsAcceptor::from(endpoint_config(&identity).unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(pki.root.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![proto_spec::alpn::ATTACH.to_vec()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&gateway);
        tokio::spawn(async move {
            loop {
                let (socket, peer) = listener.accept().await.unwrap();
                let (gateway, acceptor) = (Arc::clone(&serving), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(permit) = gateway.accept(peer.ip()) else { return };
                    let mut stream = acceptor.accept(Metered::new(socket)).await.unwrap();
                    stream.get_mut().0.lift();
                    serve(stream, permit, gateway).await;
                });
            }
        });
        let der = |chain: &[Der]| chain.iter().map(|certificate| certificate.to_vec()).collect::<Vec<_>>();
        let health = Arc::new(Health::default());
        health.set(State::Ready);
        let sealcast_trust::Identity { key, certificate, not_before: issued, not_after: expires, .. } =
            files.identity.clone();
        let node = files.number();
        let signer = sealcast_mesh::Signer { node, key, certificate, issued, expires };
        let trust = Arc::new(ArcSwap::from_pointee(pki.trust.clone()));
        // No list is ever offered here: the path is never written.
        let revocations = Arc::new(Revocations::open("no-list".into(), Arc::clone(&trust), clock));
        let (overlay, driver) = Overlay::prepare(overlay::Parts {
            config: sealcast_mesh::Config {
                seeds: (1..=pki.nodes.len()).map(|number| number.to_string()).collect(),
                addresses: vec![address.to_string()],
                failure_domain: format!("domain {node}"),
                ..sealcast_mesh::Config::default()
            },
            identity: sealcast_mesh::Identity {
                node,
                key,
                certificate,
                issued,
                expires,
                chain: der(&files.chain),
            },
            key: files.signing_key(),
            incarnation: 1,
            seed: [index as u8; 32],
            clock,
            trust,
            brokers,
            revocations,
            gateway: Arc::clone(&gateway),
            health: Arc::clone(&health),
            broker_chain: (index == 0)
                .then(|| Chain { kind: ChainKind::Broker, certificates: der(&pki.broker_chain) }),
            journal: None,
        });
        hub.join(signer, overlay.inputs(), Arc::clone(&gateway));
        let stop = CancellationToken::new();
        tokio::spawn(driver.run(Arc::new(Port { hub: Arc::clone(hub), node }), stop.clone()));
        Node {
            gateway,
            overlay,
            health,
            address,
            connector: TlsConnector::from(Arc::new(config)),
            broker: Arc::clone(&pki.broker),
            clock,
            session: SessionId([3; 16]),
            _stop: stop.drop_guard(),
        }
    }

    fn claims(&self, value: u16, kind: TicketKind) -> Claims {
        let now = self.clock.now().wall;
        Claims {
            mesh: pki::MESH.into(),
            session: self.session,
            number: number(value),
            kind,
            role: Role::Provider,
            leader: number(1),
            attach_key: *key(value).verifying_key().as_bytes(),
            issued: now,
            expires: now.plus(Duration::from_secs(300)),
            rate_bytes: 0,
            account: 0,
            nodes: Vec::new(),
        }
    }

    fn ticket(&self, value: u16, kind: TicketKind) -> String {
        sealcast_trust::issue(&self.claims(value, kind), &self.broker)
    }

    async fn connect(&self) -> Endpoint {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(pki::SERVER_NAME).unwrap();
        let stream = self.connector.connect(name, socket).await.unwrap();
        let exporter = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_ATTACH, None).unwrap();
        Endpoint { stream, exporter, buffer: BytesMut::new(), credit: [0; 4] }
    }

    /// Attached, with the peers it was told.
    async fn attach(&self, value: u16, kind: TicketKind) -> (Endpoint, Attached) {
        let mut endpoint = self.connect().await;
        endpoint.send(&ControlFrame::Hello(Hello::ours("test"))).await;
        endpoint.present(value, &self.ticket(value, kind), 1).await;
        let attached = endpoint.attached().await;
        (endpoint, attached)
    }
}

struct Endpoint {
    stream: tokio_rustls::client::TlsStream<TcpStream>,
    exporter: [u8; 32],
    buffer: BytesMut,
    credit: [u64; 4],
}

#[derive(Debug, PartialEq)]
enum Seen {
    Control(ControlFrame),
    Data(Vec<u8>),
    Closed,
}

impl Endpoint {
    async fn send(&mut self, frame: &ControlFrame) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.send_bytes(&bytes).await;
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Shows a ticket with a proof by the number's own key for this connection.
    async fn present(&mut self, value: u16, ticket: &str, seq: u64) {
        let exporter = self.exporter;
        self.present_for(value, ticket, seq, &exporter).await;
    }

    async fn present_for(&mut self, value: u16, ticket: &str, seq: u64, exporter: &[u8; 32]) {
        self.present_as(value, ticket, seq, exporter, false).await;
    }

    async fn present_as(&mut self, value: u16, ticket: &str, seq: u64, exporter: &[u8; 32], standby: bool) {
        let message = attach_proof_message(exporter, &ticket_hash(ticket), AttachSeq(seq));
        let proof = key(value).sign(&message).to_bytes();
        let frame = TicketFrame { ticket: ticket.into(), attach_seq: AttachSeq(seq), standby, proof };
        self.send(&ControlFrame::Ticket(frame)).await;
    }

    /// The next frame; credit is noted and passed over.
    async fn next(&mut self) -> Seen {
        loop {
            if let Some(header) = FrameHeader::peek(&self.buffer).unwrap()
                && self.buffer.len() >= header.frame_length()
            {
                let frame = self.buffer.split_to(header.frame_length());
                if header.frame_type == FrameType::Data {
                    return Seen::Data(frame.to_vec());
                }
                match ControlFrame::decode(header.frame_type, &frame[HEADER_LENGTH..]).unwrap() {
                    ControlFrame::Credit(credit) => self.credit[credit.class as usize] = credit.limit_bytes,
                    frame => return Seen::Control(frame),
                }
                continue;
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return Seen::Closed;
            }
        }
    }

    /// Takes the control frames that have been read and notes what credit they bring.
    fn note_credit(&mut self) {
        while let Some(header) = FrameHeader::peek(&self.buffer).unwrap()
            && self.buffer.len() >= header.frame_length()
        {
            let frame = self.buffer.split_to(header.frame_length());
            let frame = ControlFrame::decode(header.frame_type, &frame[HEADER_LENGTH..]).unwrap();
            if let ControlFrame::Credit(credit) = frame {
                self.credit[credit.class as usize] = credit.limit_bytes;
            }
        }
    }

    async fn attached(&mut self) -> Attached {
        loop {
            match self.next().await {
                Seen::Control(ControlFrame::Attached(attached)) => return attached,
                Seen::Control(ControlFrame::Hello(_) | ControlFrame::Ready(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn data(&mut self) -> Vec<u8> {
        loop {
            match self.next().await {
                Seen::Data(frame) => return frame,
                Seen::Control(
                    ControlFrame::Presence(_) | ControlFrame::Ready(_) | ControlFrame::PathHint(_),
                ) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The reason that the node gives, and that it closes then.
    async fn refusal(&mut self) -> Refusal {
        let refusal = loop {
            match self.next().await {
                Seen::Control(ControlFrame::Error(error)) => break error.refusal,
                Seen::Control(ControlFrame::Ended(ended)) => break ended.reason,
                Seen::Closed => panic!("closed without a reason"),
                _ => {}
            }
        };
        assert_eq!(self.next().await, Seen::Closed);
        refusal
    }
}

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

/// Each number's attach key.
fn key(value: u16) -> SigningKey {
    SigningKey::from_bytes(&[value as u8; 32])
}

fn data(sender: u16, class: TrafficClass, destination: Destination, packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = DataHeader { class, sender: number(sender), destination, replace: None };
    header.put(&mut out, |out| out.extend_from_slice(packet));
    out
}

/// [FWD-1] [FWD-2]: members attach, hear of each other, and get each other's frames unchanged.
#[tokio::test]
async fn members_exchange_frames() {
    let node = Node::start(|_| {}).await;
    let (mut a, _) = node.attach(1, TicketKind::Member).await;
    let (mut b, attached) = node.attach(2, TicketKind::Member).await;
    assert_eq!(attached.peers, [Peer { number: number(1), state: PeerState::Active }]);
    let (mut c, _) = node.attach(3, TicketKind::Member).await;
    let to_all = data(2, TrafficClass::Bulk, Destination::All, b"to all");
    let to_c = data(2, TrafficClass::Interactive, Destination::one(number(3)), b"to c");
    b.send_bytes(&[&to_all[..], &to_c].concat()).await;
    assert_eq!(a.data().await, to_all);
    let mut got = [c.data().await, c.data().await];
    got.sort();
    let mut expected = [to_all, to_c];
    expected.sort();
    assert_eq!(got, expected);
    let status = node.gateway.status();
    assert_eq!((status.attachments, status.sessions, status.half_open), (3, 1, 0));
    assert_eq!(status.traffic[TrafficClass::Bulk as usize].frames_in, 1);
}

/// [FLW-1] [FLW-2]: far more than a grant flows through, in order and without a loss.
#[tokio::test]
async fn credit_keeps_a_long_stream_flowing() {
    let node = Node::start(|_| {}).await;
    let (mut a, _) = node.attach(1, TicketKind::Member).await;
    let (mut b, _) = node.attach(2, TicketKind::Member).await;
    let packets = 400u32;
    let frame_length = data(1, TrafficClass::Bulk, Destination::All, &[0; 20_000]).len() as u64;
    let sender = async {
        let mut sent = 0u64;
        for index in 0..packets {
            while a.credit[TrafficClass::Bulk as usize] < sent + frame_length {
                assert_ne!(a.stream.read_buf(&mut a.buffer).await.unwrap(), 0);
                a.note_credit();
            }
            let mut packet = vec![index as u8; 20_000];
            packet[..4].copy_from_slice(&index.to_be_bytes());
            a.send_bytes(&data(1, TrafficClass::Bulk, Destination::All, &packet)).await;
            sent += frame_length;
        }
    };
    let receiver = async {
        for index in 0..packets {
            let frame = b.data().await;
            let (_, packet) = DataHeader::parse(&frame[HEADER_LENGTH..]).unwrap();
            assert_eq!(packet[..4], index.to_be_bytes());
        }
    };
    tokio::join!(sender, receiver);
    let traffic = node.gateway.status().traffic[TrafficClass::Bulk as usize];
    assert_eq!((traffic.frames_out, traffic.dropped), (u64::from(packets), 0));
    assert_eq!(node.gateway.status().queue_bytes, 0);
}

/// [FWD-8]: a member that reads nothing holds the others back for a moment only; what it misses is dropped for it alone.
#[tokio::test]
async fn a_member_that_does_not_read_does_not_stall_the_others() {
    let node = Node::start(|limits| limits.write_timeout_ms = 60_000).await;
    let (mut a, _) = node.attach(1, TicketKind::Member).await;
    let (mut b, _) = node.attach(2, TicketKind::Member).await;
    // Attached, and never read from again.
    let (_deaf, _) = node.attach(3, TicketKind::Member).await;
    let frame = data(1, TrafficClass::Bulk, Destination::All, &[7; 30_000]);
    let packets = 1_000;
    let sender = async {
        let mut sent = 0u64;
        for _ in 0..packets {
            while a.credit[TrafficClass::Bulk as usize] < sent + frame.len() as u64 {
                assert_ne!(a.stream.read_buf(&mut a.buffer).await.unwrap(), 0);
                a.note_credit();
            }
            a.send_bytes(&frame).await;
            sent += frame.len() as u64;
        }
    };
    let receiver = async {
        for _ in 0..packets {
            assert_eq!(b.data().await.len(), frame.len());
        }
    };
    tokio::join!(sender, receiver);
    let status = node.gateway.status();
    let dropped = status.drops.iter().filter(|(.., count)| *count > 0).collect::<Vec<_>>();
    assert!(
        matches!(dropped[..], [(TrafficClass::Bulk, sealcast_attach::DropReason::QueueFull, _)]),
        "{dropped:?}"
    );
    assert_eq!(status.attachments, 3);
}

/// [ATT-4] [ATT-5]: stolen, replayed, foreign, expired and garbled tickets are refused, each with its reason.
#[tokio::test]
async fn bad_tickets_are_refused() {
    let node = Node::start(|_| {}).await;
    let good = node.ticket(2, TicketKind::Member);
    let foreign = {
        let other = pki::make(node.clock.now().wall, 1);
        sealcast_trust::issue(&node.claims(2, TicketKind::Member), &other.broker)
    };
    let expired = {
        let mut claims = node.claims(2, TicketKind::Member);
        claims.issued = claims.issued.minus(Duration::from_secs(3_600));
        claims.expires = claims.issued.plus(Duration::from_secs(60));
        sealcast_trust::issue(&claims, &node.broker)
    };
    let other_connection = node.connect().await;
    let cases = [
        (3, good.as_str(), None, Refusal::ProofWrong),
        (2, good.as_str(), Some(other_connection.exporter), Refusal::ProofWrong),
        (2, foreign.as_str(), None, Refusal::TicketForeign),
        (2, expired.as_str(), None, Refusal::TicketExpired),
        (2, "v4.public.nonsense", None, Refusal::TicketMalformed),
    ];
    for (signer, ticket, exporter, expected) in cases {
        let mut endpoint = node.connect().await;
        endpoint.send(&ControlFrame::Hello(Hello::ours("test"))).await;
        let exporter = exporter.unwrap_or(endpoint.exporter);
        endpoint.present_for(signer, ticket, 1, &exporter).await;
        assert_eq!(endpoint.refusal().await, expected, "{ticket}");
    }
    let counted = node.gateway.status().refusals;
    assert!(counted.contains(&(Refusal::ProofWrong, 2)) && counted.contains(&(Refusal::TicketForeign, 1)));
}

/// [ATT-12] [ATT-13]: a guest reaches the leader alone, gets nothing of the others, and becomes a member on the same
/// connection.
#[tokio::test]
async fn a_guest_becomes_a_member() {
    let node = Node::start(|_| {}).await;
    let (mut leader, _) = node.attach(1, TicketKind::Member).await;
    let (mut other, _) = node.attach(2, TicketKind::Member).await;
    let (mut guest, attached) = node.attach(5, TicketKind::Lobby).await;
    assert_eq!((attached.kind, attached.peers.len()), (TicketKind::Lobby, 0));

    let knock = data(5, TrafficClass::Control, Destination::one(number(1)), b"M1");
    guest.send_bytes(&knock).await;
    assert_eq!(leader.data().await, knock);
    other.send_bytes(&data(2, TrafficClass::Control, Destination::one(number(5)), b"psst")).await;
    other.send_bytes(&data(2, TrafficClass::Control, Destination::All, b"all")).await;
    assert!(leader.data().await.ends_with(b"all"));
    let answer = data(1, TrafficClass::Control, Destination::one(number(5)), b"M2");
    leader.send_bytes(&answer).await;
    assert_eq!(guest.data().await, answer, "the first thing that a guest gets is its leader's");

    guest.present(5, &node.ticket(5, TicketKind::Member), 1).await;
    let attached = guest.attached().await;
    assert_eq!((attached.kind, attached.peers.len()), (TicketKind::Member, 2));
    other.send_bytes(&data(2, TrafficClass::Bulk, Destination::All, b"welcome")).await;
    assert!(guest.data().await.ends_with(b"welcome"));
}

/// [ATT-7] [ATT-11]: a newer attachment takes over; a tombstone ends what is left and keeps it out.
#[tokio::test]
async fn superseded_and_ended() {
    let node = Node::start(|_| {}).await;
    let (mut old, _) = node.attach(2, TicketKind::Member).await;
    let mut new = node.connect().await;
    new.send(&ControlFrame::Hello(Hello::ours("test"))).await;
    new.present(2, &node.ticket(2, TicketKind::Member), 2).await;
    new.attached().await;
    assert_eq!(old.refusal().await, Refusal::Superseded);

    node.gateway.end(node.session, Some(number(2)), node.clock.now().wall.plus(Duration::from_secs(600)));
    assert_eq!(new.refusal().await, Refusal::MemberRemoved);
    let mut again = node.connect().await;
    again.send(&ControlFrame::Hello(Hello::ours("test"))).await;
    again.present(2, &node.ticket(2, TicketKind::Member), 3).await;
    assert_eq!(again.refusal().await, Refusal::MemberRemoved);
}

/// [FRM-2]: an announced length above the limit, an unknown type, garbage: refused by the first bytes, with a reason.
#[tokio::test]
async fn malformed_frames_are_refused() {
    let node = Node::start(|_| {}).await;
    let cases: [(&[u8], Refusal); 3] = [
        (&[FrameType::Data as u8, 0xff, 0xff, 0xff], Refusal::TooLong),
        (&[0xee, 0, 0, 1], Refusal::Malformed),
        (&[FrameType::Ping as u8, 0, 0, 1, 9], Refusal::Malformed),
    ];
    for (bytes, expected) in cases {
        let (mut endpoint, _) = node.attach(1, TicketKind::Member).await;
        endpoint.send_bytes(bytes).await;
        assert_eq!(endpoint.refusal().await, expected);
        node.gateway.gone().await;
    }
}

/// [ATT-10]: a drain asks everybody to move, admits nobody, and ends who stays as resumable.
#[tokio::test]
async fn drain_moves_everybody() {
    let node = Node::start(|_| {}).await;
    let (mut stays, _) = node.attach(1, TicketKind::Member).await;
    let (mut goes, _) = node.attach(2, TicketKind::Member).await;
    let gateway = Arc::clone(&node.gateway);
    let drain = tokio::spawn(async move { gateway.drain(Duration::from_millis(300)).await });
    loop {
        if let Seen::Control(ControlFrame::Move(asked)) = goes.next().await {
            assert_eq!(asked.deadline_ms, 300);
            break;
        }
    }
    goes.send(&ControlFrame::Detach).await;
    assert_eq!(goes.next().await, Seen::Closed);
    let refusal = stays.refusal().await;
    assert_eq!(refusal, Refusal::Draining);
    assert!(refusal.resumable());
    drop((stays, goes));
    drain.await.unwrap();
    assert_eq!(node.gateway.status().attachments, 0);
    assert_eq!(node.gateway.status().sessions, 0);
}

/// [ATT-3]: whoever does not say hello in time is told so and closed, and no longer counts as half open.
#[tokio::test]
async fn silence_before_admission_ends() {
    let node = Node::start(|limits| limits.admission_timeout_ms = 50).await;
    let mut endpoint = node.connect().await;
    assert_eq!(endpoint.refusal().await, Refusal::TooSlow);
    drop(endpoint);
    node.gateway.gone().await;
    assert_eq!(node.gateway.status().half_open, 0);
}

/// [FLW-3]: an idle endpoint is pinged, and its answer keeps it.
#[tokio::test]
async fn idle_endpoints_are_pinged() {
    let node = Node::start(|limits| limits.ping_ms = 20).await;
    let (mut endpoint, _) = node.attach(1, TicketKind::Member).await;
    for _ in 0..5 {
        let token = loop {
            if let Seen::Control(ControlFrame::Ping(Ping { token })) = endpoint.next().await {
                break token;
            }
        };
        endpoint.send(&ControlFrame::Pong(Ping { token })).await;
    }
    assert_eq!(node.gateway.status().attachments, 1);
}

/// The tap holds what was received, hello included, and every relayed frame once.
#[tokio::test]
async fn the_tap_sees_every_frame_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tap");
    let node = Node::start_with_tap(|_| {}, Some(Tap::create(&path).unwrap())).await;
    let (mut a, _) = node.attach(1, TicketKind::Member).await;
    let (mut b, _) = node.attach(2, TicketKind::Member).await;
    a.send_bytes(&data(1, TrafficClass::Bulk, Destination::All, b"canary-in-a-packet")).await;
    b.data().await;
    drop((a, b));
    node.gateway.gone().await;
    node.gateway.tap.as_ref().unwrap().flush();
    let tapped = std::fs::read(&path).unwrap();
    let count = |needle: &[u8]| tapped.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!(count(b"canary-in-a-packet"), 1);
    assert!(count(b"relayd ") >= 2 && count(b"v4.public.") == 2);
}

type Der = CertificateDer<'static>;
