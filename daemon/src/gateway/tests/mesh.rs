//! Sessions over several nodes, joined in memory: the real gateways, the real core, real endpoints' connections.

use std::time::Duration;

use proto_spec::NodeNumber;
use proto_spec::lsa::DrainState;

use super::*;

/// Longer than any wait of a mesh that comes together: an LSA waits for up to 5 s [LSA-4].
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

struct Mesh {
    nodes: Vec<Node>,
    hub: Arc<Hub>,
    broker: Arc<BrokerSigner>,
}

impl Mesh {
    /// Nodes 1, 2, 3 .., all within each other's reach.
    async fn start(count: u16, change: impl Fn(usize, &mut Limits)) -> Mesh {
        let pki = pki::make(Clock::start().now().wall, count);
        let hub = Arc::<Hub>::default();
        let mut nodes = Vec::new();
        for index in 0..usize::from(count) {
            nodes.push(Node::start_in(&pki, index, &hub, |limits| change(index, limits), None).await);
        }
        let mesh = Mesh { nodes, hub, broker: pki.broker };
        for node in &mesh.nodes {
            let verifier = node.gateway.verifier.clone();
            let certificate = pki.broker_key.certificate();
            until(|| {
                let view = node.overlay.view();
                let known = verifier.load().broker(&certificate).is_some();
                known && view.roster.len() == mesh.nodes.len() && view.lsas.len() == mesh.nodes.len()
            })
            .await;
            until(|| {
                let snapshot = node.overlay.snapshot();
                let direct = snapshot.routes().iter().filter(|route| route.hops == 1);
                direct.count() == mesh.nodes.len() - 1
            })
            .await;
        }
        mesh
    }

    /// Attached as a member at node `index`, and known everywhere.
    async fn member(&self, index: usize, value: u16, seq: u64) -> Endpoint {
        let mut endpoint = self.nodes[index].greet(value, TicketKind::Member, seq, false).await;
        endpoint.ready(seq).await;
        endpoint
    }
}

impl Node {
    /// Connected, with hello and ticket sent.
    async fn greet(&self, value: u16, kind: TicketKind, seq: u64, standby: bool) -> Endpoint {
        let mut endpoint = self.connect().await;
        endpoint.send(&ControlFrame::Hello(Hello::ours("test"))).await;
        let exporter = endpoint.exporter;
        endpoint.present_as(value, &self.ticket(value, kind), seq, &exporter, standby).await;
        endpoint
    }
}

impl Endpoint {
    /// Reads on until a control frame for which `wanted` is true.
    async fn until(&mut self, wanted: impl Fn(&ControlFrame) -> bool) -> ControlFrame {
        let reading = async {
            loop {
                match self.next().await {
                    Seen::Control(frame) if wanted(&frame) => return frame,
                    Seen::Closed => panic!("closed before the frame that was waited for"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the frame came in time")
    }

    async fn ready(&mut self, seq: u64) {
        self.until(|frame| *frame == ControlFrame::Ready(AttachSeq(seq))).await;
    }

    async fn hears(&mut self, value: u16, state: PeerState) {
        let peer = Peer { number: number(value), state };
        self.until(|frame| matches!(frame, ControlFrame::Presence(presence) if presence.peer == peer)).await;
    }
}

async fn until(condition: impl Fn() -> bool) {
    let looking = async {
        let mut looks = tokio::time::interval(LOOK);
        while !condition() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("what was waited for came in time");
}

fn node(value: u16) -> NodeNumber {
    NodeNumber::new(value).unwrap()
}

fn dropped(node: &Node, reason: sealcast_attach::DropReason) -> u64 {
    let drops = node.gateway.status().drops;
    drops.iter().filter(|(_, other, _)| *other == reason).map(|(.., count)| count).sum()
}

/// [FWD-11] [FWD-12] [MBR-10] [EGR-3]: members on three nodes, ready once all know, reach each other; frames travel
/// unchanged, once over each link, and only to nodes that have somebody.
#[tokio::test]
async fn a_session_over_three_nodes() {
    let mesh = Mesh::start(4, |_, _| {}).await;
    let mut a = mesh.member(0, 1, 1).await;
    let mut b = mesh.member(1, 2, 1).await;
    let mut c = mesh.member(2, 3, 1).await;
    a.hears(2, PeerState::Active).await;
    a.hears(3, PeerState::Active).await;
    b.hears(3, PeerState::Active).await;
    mesh.hub.pushed.lock().unwrap().clear();
    let to_all = data(1, TrafficClass::Bulk, Destination::All, b"to all");
    a.send_bytes(&to_all).await;
    assert_eq!((b.data().await, c.data().await), (to_all.clone(), to_all));
    let to_c = data(2, TrafficClass::Interactive, Destination::one(number(3)), b"to c");
    b.send_bytes(&to_c).await;
    assert_eq!(c.data().await, to_c);
    let pushed: Vec<_> = mesh
        .hub
        .pushed
        .lock()
        .unwrap()
        .iter()
        .map(|(from, to, header)| (from.value(), to.value(), header.hop_limit, header.egress.nodes().len()))
        .collect();
    let left = proto_spec::egress::HOP_LIMIT - 1;
    assert_eq!(pushed, [(1, 2, left, 1), (1, 3, left, 1), (2, 3, left, 1)]);
    assert_eq!(mesh.nodes[0].overlay.nodes_of(mesh.nodes[0].session), [node(1), node(2), node(3)]);

    // Whoever leaves is gone everywhere, and nothing is sent where nobody is.
    c.send(&ControlFrame::Detach).await;
    a.hears(3, PeerState::Gone).await;
    b.hears(3, PeerState::Gone).await;
    let late = data(1, TrafficClass::Bulk, Destination::All, b"late");
    a.send_bytes(&late).await;
    assert_eq!(b.data().await, late);
    assert_eq!(mesh.nodes[2].gateway.status().sessions, 0);
}

/// [FWD-11] [FWD-12] [ATT-12]: a guest on another node reaches its leader and is reached by it alone.
#[tokio::test]
async fn a_guest_on_another_node() {
    let mesh = Mesh::start(2, |_, _| {}).await;
    let mut leader = mesh.member(0, 1, 1).await;
    let mut other = mesh.member(0, 2, 1).await;
    let mut guest = mesh.nodes[1].greet(5, TicketKind::Lobby, 1, false).await;
    guest.attached().await;
    leader.hears(5, PeerState::Lobby).await;
    let knock = data(5, TrafficClass::Control, Destination::one(number(1)), b"M1");
    // Its node may not know yet where the leader is: an endpoint knocks again until it is answered.
    until_answered(&mut guest, &mut leader, &knock).await;
    other.send_bytes(&data(2, TrafficClass::Control, Destination::one(number(5)), b"psst")).await;
    let answer = data(1, TrafficClass::Control, Destination::one(number(5)), b"M2");
    leader.send_bytes(&answer).await;
    assert_eq!(guest.data().await, answer);
    guest.present(5, &mesh.nodes[1].ticket(5, TicketKind::Member), 1).await;
    guest.ready(1).await;
    other.hears(5, PeerState::Active).await;
    let welcome = data(2, TrafficClass::Bulk, Destination::All, b"welcome");
    other.send_bytes(&welcome).await;
    assert_eq!(guest.data().await, welcome);
}

async fn until_answered(from: &mut Endpoint, to: &mut Endpoint, frame: &[u8]) {
    let mut looks = tokio::time::interval(LOOK);
    let mut knocking = async || {
        loop {
            looks.tick().await;
            from.send_bytes(frame).await;
        }
    };
    let arrived = tokio::select! {
        arrived = to.data() => arrived,
        () = knocking() => unreachable!("it knocks for ever"),
    };
    assert_eq!(arrived, frame);
}

/// [ATT-15] [ATT-8]: an endpoint moves to another node under load: nobody sees it go, what is under way to the old node
/// still arrives there, and the old node lets it go.
#[tokio::test]
async fn a_member_moves() {
    let mesh = Mesh::start(3, |_, _| {}).await;
    let mut a = mesh.member(0, 1, 1).await;
    let mut old = mesh.member(1, 2, 1).await;
    a.hears(2, PeerState::Active).await;
    let mut new = mesh.member(2, 2, 2).await;
    old.send(&ControlFrame::Detach).await;
    let frame = data(1, TrafficClass::Bulk, Destination::one(number(2)), b"under way");
    a.send_bytes(&frame).await;
    assert_eq!((old.data().await, new.data().await), (frame.clone(), frame));
    while old.next().await != Seen::Closed {}
    until(|| mesh.nodes[0].overlay.nodes_of(mesh.nodes[0].session) == [node(1), node(3)]).await;
    let frame = data(2, TrafficClass::Bulk, Destination::All, b"from there");
    new.send_bytes(&frame).await;
    // Read by hand: a presence in between would mean that somebody saw it flicker.
    loop {
        match a.next().await {
            Seen::Data(seen) => break assert_eq!(seen, frame),
            Seen::Control(ControlFrame::Presence(presence)) => panic!("{presence:?}"),
            _ => {}
        }
    }
}

/// [FLW-5] [MBR-12]: a node dies; the standbys and the others of the session hear of it, the standby takes over, and the
/// session goes on.
#[tokio::test]
async fn a_standby_takes_over_when_its_node_dies() {
    let mesh = Mesh::start(3, |_, _| {}).await;
    let mut a = mesh.member(0, 1, 1).await;
    let _active = mesh.member(1, 2, 1).await;
    let mut standby = mesh.nodes[2].greet(2, TicketKind::Member, 2, true).await;
    standby.attached().await;
    // The standby's node knows the session once it knows the active one.
    until(|| mesh.nodes[2].overlay.nodes_of(mesh.nodes[2].session).len() == 2).await;
    mesh.hub.kill(node(2));
    let hint =
        |frame: &ControlFrame| matches!(frame, ControlFrame::PathHint(hint) if hint.node == Some(node(2)));
    standby.until(hint).await;
    a.until(hint).await;
    standby.send(&ControlFrame::Activate(AttachSeq(3))).await;
    standby.ready(3).await;
    let frame = data(1, TrafficClass::Interactive, Destination::All, b"go on");
    a.send_bytes(&frame).await;
    assert_eq!(standby.data().await, frame);
    let frame = data(2, TrafficClass::Interactive, Destination::All, b"here");
    standby.send_bytes(&frame).await;
    assert_eq!(a.data().await, frame);
}

/// [ATT-9]: a full node names others; one that knows of none refuses, and says when to try again.
#[tokio::test]
async fn a_full_node_redirects() {
    let mesh = Mesh::start(2, |index, limits| {
        if index == 0 {
            limits.attachments_max = 1;
        }
    })
    .await;
    let _first = mesh.member(0, 1, 1).await;
    let full = &mesh.nodes[0];
    until(|| !full.gateway.addresses_elsewhere(full.session, 1).is_empty()).await;
    let mut second = full.greet(2, TicketKind::Member, 1, false).await;
    let redirect = second.until(|frame| matches!(frame, ControlFrame::Redirect(_))).await;
    let ControlFrame::Redirect(redirect) = redirect else { unreachable!() };
    assert_eq!(redirect.addresses, [mesh.nodes[1].address.to_string()]);
    assert_eq!(second.next().await, Seen::Closed);
    let _second = mesh.member(1, 2, 2).await;

    let alone = Node::start(|limits| limits.attachments_max = 1).await;
    let (_first, _) = alone.attach(1, TicketKind::Member).await;
    let mut second = alone.greet(2, TicketKind::Member, 1, false).await;
    let refused = second.until(|frame| matches!(frame, ControlFrame::Error(_))).await;
    let ControlFrame::Error(error) = refused else { unreachable!() };
    assert_eq!(error.refusal, Refusal::NodeFull);
    assert!(error.retry_after_ms > 0);
}

/// [ATT-10] [DRN-1]: a drain names where to go, admits nobody, and is over when all have left; it can be called off before.
#[tokio::test]
async fn a_drain_names_where_to_go_and_can_be_called_off() {
    let mesh = Mesh::start(2, |_, _| {}).await;
    let leaving = &mesh.nodes[0];
    until(|| !leaving.gateway.addresses_elsewhere(leaving.session, 1).is_empty()).await;
    let mut old = mesh.member(0, 1, 1).await;
    leaving.overlay.drain(PATIENCE).await;
    let asked = old.until(|frame| matches!(frame, ControlFrame::Move(_))).await;
    let ControlFrame::Move(asked) = asked else { unreachable!() };
    assert_eq!(asked.addresses, [mesh.nodes[1].address.to_string()]);
    assert_eq!(leaving.health.state(), State::Draining);
    let mut late = leaving.greet(2, TicketKind::Member, 1, false).await;
    late.until(|frame| matches!(frame, ControlFrame::Redirect(_))).await;

    leaving.overlay.undrain().await;
    until(|| leaving.health.state() == State::Ready).await;
    let back = mesh.member(0, 2, 2).await;
    drop((late, back));

    leaving.overlay.drain(PATIENCE).await;
    old.until(|frame| matches!(frame, ControlFrame::Move(_))).await;
    let _new = mesh.member(1, 1, 2).await;
    old.send(&ControlFrame::Detach).await;
    tokio::time::timeout(PATIENCE, leaving.overlay.drained()).await.unwrap();
    assert_eq!(leaving.overlay.snapshot().node(), node(1));
    until(|| leaving.overlay.view().drain == DrainState::Drained).await;
    assert_eq!(leaving.gateway.status().attachments, 0);
}

/// [MBR-11]: what one node's broker ends, ends on every node that carries it, and stays ended there.
#[tokio::test]
async fn an_end_reaches_every_node() {
    let mesh = Mesh::start(2, |_, _| {}).await;
    let mut there = mesh.member(1, 2, 1).await;
    let session = mesh.nodes[0].session;
    let now = mesh.nodes[0].clock.now().wall;
    mesh.nodes[0].gateway.bury(sealcast_trust::tombstone::sign(&mesh.broker, session, Some(number(2)), now));
    there.until(|frame| matches!(frame, ControlFrame::Ended(ended) if ended.number == Some(number(2)))).await;
    let mut again = mesh.nodes[1].greet(2, TicketKind::Member, 2, false).await;
    assert_eq!(again.refusal().await, Refusal::MemberRemoved);
}

/// [FWD-12]: what comes for a session that is not here, or from somebody who is not in it, is dropped and counted.
#[tokio::test]
async fn strangers_are_dropped_and_counted() {
    let mesh = Mesh::start(2, |_, _| {}).await;
    let mut a = mesh.member(0, 1, 1).await;
    let ledger = sealcast_attach::Ledger::new(
        mesh.nodes[0].gateway.limits(),
        NodeMemory::new(1 << 20),
        Box::new(|| {}),
    );
    let arrive = |session, sender| {
        let bytes = data(sender, TrafficClass::Bulk, Destination::All, b"hello");
        let (header, _) = DataHeader::parse(&bytes[HEADER_LENGTH..]).unwrap();
        let length = bytes.len();
        let run = sealcast_attach::Run::new(&ledger, &header, bytes.into(), 1, length);
        let egress = proto_spec::egress::EgressSet::one(node(1));
        let header = proto_spec::egress::TrunkHeader { hop_limit: 7, ingress: node(2), egress, session };
        crate::trunk::Arrivals::packet(&*mesh.nodes[0].gateway, node(2), header, run);
    };
    arrive(mesh.nodes[0].session, 9);
    arrive(SessionId([8; 16]), 9);
    let node = &mesh.nodes[0];
    assert_eq!(dropped(node, sealcast_attach::DropReason::UnknownSender), 1);
    assert_eq!(dropped(node, sealcast_attach::DropReason::Unreachable), 1);
    let mut b = mesh.member(1, 9, 1).await;
    let frame = data(9, TrafficClass::Bulk, Destination::All, b"first");
    b.send_bytes(&frame).await;
    assert_eq!(a.data().await, frame, "the first that it is sent");
}
