//! Three processes form a mesh from their configurations: a session over them, a node killed, a node drained.

use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use proto_spec::frame::{Attached, ControlFrame, DataHeader, Destination, PeerState};
use proto_spec::ticket::{Claims, Role, TicketKind};
use proto_spec::{AttachSeq, NodeNumber, Refusal, SenderNumber, SessionId, TrafficClass};
use rustix::process::Signal;
use sealcast_trust::BrokerSigner;

use super::support::{Attachment, Mesh, NodePorts, Relayd, free_ports, get, now};

/// Longer than any wait of a mesh that comes together on a busy machine: an LSA waits for up to 5 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an endpoint tries again.
const RETRY: Duration = Duration::from_millis(100);

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn node(value: u16) -> NodeNumber {
    NodeNumber::new(value).unwrap()
}

fn key(value: u16) -> SigningKey {
    SigningKey::from_bytes(&[value as u8; 32])
}

struct Three {
    mesh: Mesh,
    nodes: Vec<Relayd>,
    ports: Vec<NodePorts>,
    broker: BrokerSigner,
}

impl Three {
    /// Nodes 1 to 3; the second and third find the mesh by the first.
    fn start() -> Three {
        let mesh = Mesh::new();
        let free = free_ports::<9>();
        let ports: Vec<NodePorts> = free
            .chunks(3)
            .map(|ports| NodePorts { endpoints: ports[0], ops: ports[1], trunk: ports[2] })
            .collect();
        let mut nodes = Vec::new();
        for (number, own) in (1..).zip(&ports) {
            let seeds: &[u16] = if number == 1 { &[] } else { &[ports[0].trunk] };
            let config = mesh.node_config(number, *own, seeds);
            nodes.push(Relayd::run(&config, &mesh.path(&format!("state-{number}"))));
        }
        let broker = mesh.signer(1);
        Three { mesh, nodes, ports, broker }
    }

    fn address(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[node - 1].endpoints))
    }

    fn ticket(&self, value: u16) -> String {
        let issued = now();
        let claims = Claims {
            mesh: "test".into(),
            session: SessionId([5; 16]),
            number: number(value),
            kind: TicketKind::Member,
            role: Role::Provider,
            leader: number(1),
            attach_key: *key(value).verifying_key().as_bytes(),
            issued,
            expires: issued.plus(Duration::from_secs(600)),
            rate_bytes: 0,
            account: 0,
            nodes: Vec::new(),
        };
        sealcast_trust::issue(&claims, &self.broker)
    }

    /// Attached at a node, once that knows the broker who signed the ticket; `seq` counts up over the attempts.
    async fn attach(&self, node: usize, value: u16, seq: &mut u64, standby: bool) -> Attachment {
        self.attach_told(node, value, seq, standby).await.0
    }

    /// The same, with what the node told.
    async fn attach_told(
        &self,
        node: usize,
        value: u16,
        seq: &mut u64,
        standby: bool,
    ) -> (Attachment, Attached) {
        let ticket = self.ticket(value);
        let attaching = async {
            loop {
                *seq += 1;
                let (address, ca) = (self.address(node), self.mesh.path("ca.pem"));
                let mut attachment =
                    Attachment::open_as(address, &ca, &ticket, &key(value), *seq, standby).await;
                let answer = |frame: &ControlFrame| {
                    matches!(frame, ControlFrame::Attached(_) | ControlFrame::Error(_))
                };
                match attachment.until(answer).await {
                    ControlFrame::Attached(attached) => return (attachment, attached),
                    // The broker's chain is still on its way through the mesh.
                    ControlFrame::Error(error) => assert_eq!(error.refusal, Refusal::TicketForeign),
                    _ => unreachable!(),
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::time::timeout(PATIENCE, attaching).await.expect("the node knows the broker in time")
    }
}

impl Attachment {
    async fn waits_for(&mut self, wanted: impl Fn(&ControlFrame) -> bool) -> ControlFrame {
        tokio::time::timeout(PATIENCE, self.until(wanted)).await.expect("the frame came in time")
    }

    async fn ready(&mut self, seq: u64) {
        self.waits_for(|frame| *frame == ControlFrame::Ready(AttachSeq(seq))).await;
    }

    async fn hears(&mut self, value: u16, state: PeerState) {
        let fits = |frame: &ControlFrame| match frame {
            ControlFrame::Presence(presence) => {
                (presence.peer.number, presence.peer.state) == (number(value), state)
            }
            _ => false,
        };
        self.waits_for(fits).await;
    }

    async fn hinted(&mut self, gone: u16) {
        self.waits_for(
            |frame| matches!(frame, ControlFrame::PathHint(hint) if hint.node == Some(node(gone))),
        )
        .await;
    }

    async fn says(&mut self, sender: u16, words: &str) -> Vec<u8> {
        let (sender, class) = (number(sender), TrafficClass::Interactive);
        let header = DataHeader { class, sender, destination: Destination::All, replace: None };
        let mut frame = Vec::new();
        header.put(&mut frame, |out| out.extend_from_slice(words.as_bytes()));
        self.send_bytes(&frame).await;
        frame
    }

    async fn reads(&mut self) -> Vec<u8> {
        tokio::time::timeout(PATIENCE, self.data()).await.expect("the data came in time")
    }
}

/// \[FWD-11\] \[FLW-5\] \[ATT-10\] \[DRN-1\]: two endpoints on two nodes; one node is killed and the standby on a third takes
/// over; that one is drained and its endpoint moves; the session goes on all the time.
#[tokio::test]
async fn a_session_outlives_a_killed_and_a_drained_node() {
    let mut three = Three::start();
    let (mut a_seq, mut b_seq) = (0, 0);
    let mut a = three.attach(1, 1, &mut a_seq, false).await;
    a.ready(a_seq).await;
    let mut b = three.attach(2, 2, &mut b_seq, false).await;
    b.ready(b_seq).await;
    a.hears(2, PeerState::Active).await;
    let sent = a.says(1, "hello, other node").await;
    assert_eq!(b.reads().await, sent);
    let sent = b.says(2, "hello back").await;
    assert_eq!(a.reads().await, sent);

    // A node that stands by learns from the session's homes who else is there; it says so to who attaches.
    let first = number(1);
    let mut before = Vec::new();
    let mut c = loop {
        let (standby, attached) = three.attach_told(3, 2, &mut b_seq, true).await;
        if attached.peers.iter().any(|peer| peer.number == first && peer.state == PeerState::Active) {
            break standby;
        }
        // It stays until the next is in: a node forgets a session that has nobody there.
        before = vec![standby];
        tokio::time::sleep(RETRY).await;
    };
    drop(before);
    three.nodes[1].kill();
    c.hinted(2).await;
    a.hinted(2).await;
    b_seq += 1;
    c.send(&ControlFrame::Activate(AttachSeq(b_seq))).await;
    c.ready(b_seq).await;
    let sent = a.says(1, "still there?").await;
    assert_eq!(c.reads().await, sent);
    let sent = c.says(2, "still here").await;
    assert_eq!(a.reads().await, sent);

    three.nodes[2].signal(Signal::TERM);
    let asked = c.waits_for(|frame| matches!(frame, ControlFrame::Move(_))).await;
    let ControlFrame::Move(asked) = asked else { unreachable!() };
    assert_eq!(asked.addresses, [three.address(1).to_string()], "the dead one is not among them");
    let ops = SocketAddr::from(([127, 0, 0, 1], three.ports[2].ops));
    let readiness = get(ops, "/readyz").await;
    assert!(readiness.starts_with("HTTP/1.1 503 ") && readiness.ends_with("draining\n"), "{readiness}");
    let mut d = three.attach(1, 2, &mut b_seq, false).await;
    d.ready(b_seq).await;
    c.send(&ControlFrame::Detach).await;
    while c.next().await.is_some() {}
    let sent = a.says(1, "and now?").await;
    assert_eq!(d.reads().await, sent);
    assert!(three.nodes[2].wait().success());

    // What the overlay was told lies in the state folder, to be replayed.
    let journal = std::fs::read(three.mesh.path("state-1").join("journal-0")).unwrap();
    let (_, inputs) = sealcast_mesh::journal::read(&journal).unwrap();
    assert!(!inputs.is_empty());
}
