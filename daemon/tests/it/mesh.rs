//! Three processes form a mesh from their configurations: a session over them, a node killed, a node drained, a node
//! revoked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use proto_spec::frame::{Attached, ControlFrame, DataHeader, Destination, PeerState};
use proto_spec::revocation::Revoked;
use proto_spec::ticket::{Claims, Role, TicketKind};
use proto_spec::{AttachSeq, NodeNumber, Refusal, SenderNumber, SessionId, TrafficClass, Wire};
use rustix::process::Signal;
use sealcast_rpc as rpc;
use sealcast_trust::BrokerSigner;
use sealcast_trust::cert::{chain_from_pem, inspect};
use tonic::Code;

use super::support::{Attachment, Caller, Mesh, NodePorts, Relayd, admin_on, free_ports, get, now};

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

    async fn readiness(&self, node: usize) -> String {
        let answer = get(SocketAddr::from(([127, 0, 0, 1], self.ports[node - 1].ops)), "/readyz").await;
        answer.rsplit("\r\n\r\n").next().unwrap().trim_end().to_owned()
    }

    /// What `relayctl mesh status` shows at a node.
    async fn status(&self, node: usize) -> rpc::Mesh {
        let mut admin = admin_on(self.nodes[node - 1].state.join("admin.sock")).await;
        admin.show_mesh(rpc::ShowMeshRequest {}).await.unwrap().into_inner()
    }

    /// Waits until `mesh status` of a node has this alarm: the view of the mesh is made anew twice a second.
    async fn tells(&self, node: usize, wanted: &str) {
        let told =
            async || self.status(node).await.alarms.iter().any(|alarm| alarm.sentence.contains(wanted));
        until(wanted, told).await;
    }

    /// Asks a node to show another, over the connection between the two.
    async fn shows(&self, node: usize, other: u32) -> Result<rpc::Node, tonic::Status> {
        let mut admin = admin_on(self.nodes[node - 1].state.join("admin.sock")).await;
        Ok(admin.show_node(rpc::ShowNodeRequest { node_number: other }).await?.into_inner())
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
    let sealcast_mesh::journal::Segment { mut node, turns, .. } =
        sealcast_mesh::journal::read(&journal).unwrap();
    assert!(turns.len() > 10, "{} turns", turns.len());
    // Replayed, each turn puts out what it put out then.
    let mut fold = sealcast_mesh::journal::Fold::default();
    for (index, recorded) in turns.into_iter().enumerate() {
        node.handle(recorded.now, recorded.input);
        while let Some(output) = node.poll_output() {
            fold.output(&output);
        }
        let put_out = fold.take();
        assert!(recorded.outputs.is_none_or(|then| then == put_out), "turn {index} puts out something else");
    }
}

/// Looks again and again until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(RETRY / 10).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "{what}");
}

/// \[REV-4\] \[LSA-14\] \[LSA-15\]: a list that is published at one node cuts another off: trunks, calls in both directions,
/// endpoints; the node itself says why it is out of service. Started anew without the list it serves until the others
/// refuse it. How long it all took is told.
#[tokio::test]
async fn a_revoked_node_is_cut_off_and_leaves() {
    let mut three = Three::start();
    let (mut a_seq, mut b_seq) = (0, 0);
    let mut a = three.attach(1, 1, &mut a_seq, false).await;
    a.ready(a_seq).await;
    let mut b = three.attach(2, 2, &mut b_seq, false).await;
    b.ready(b_seq).await;
    // No way between the others leads over the one that goes.
    for node in 1..=3 {
        let whole = async || {
            let links = three.status(node).await.links;
            links.len() == 3 && links.iter().all(|link| link.agreed)
        };
        until(&format!("node {node} knows all links"), whole).await;
    }
    // Connections for calls, which are kept.
    until("nodes 1 and 2 show each other", async || {
        three.shows(1, 2).await.is_ok() && three.shows(2, 1).await.is_ok() && three.shows(3, 2).await.is_ok()
    })
    .await;

    let leaf = chain_from_pem(&std::fs::read(three.mesh.path("node-2.pem")).unwrap()).unwrap();
    let about = inspect(&leaf[0]).unwrap();
    let entry = Revoked { certificate: about.certificate, expires: about.not_after };
    let list = three.mesh.key.revoke(None, [entry], now()).unwrap().to_bytes();
    let mut admin = admin_on(three.nodes[0].state.join("admin.sock")).await;
    let published = Instant::now();
    admin.publish_revocations(rpc::PublishRevocationsRequest { list }).await.unwrap();
    for node in [1, 3] {
        let cut_off = async || {
            let status = three.status(node).await;
            let reached = status.nodes.iter().any(|other| other.node_number == 2 && other.reachable);
            !reached && status.trunks.iter().all(|trunk| trunk.node_number != 2)
        };
        until(&format!("node {node} is rid of node 2"), cut_off).await;
        eprintln!(
            "node {node} is rid of the revoked node {} ms after the list",
            published.elapsed().as_millis()
        );
    }
    until("node 2 says why", async || three.readiness(2).await == "draining: certificate revoked").await;
    eprintln!("the revoked node says so {} ms after the list", published.elapsed().as_millis());
    b.waits_for(|frame| matches!(frame, ControlFrame::Error(error) if error.refusal == Refusal::Draining))
        .await;
    eprintln!("its endpoint was sent away {} ms after the list", published.elapsed().as_millis());

    // Neither side's connection for calls is of use any more; the revoked node can still be looked after.
    assert!(three.shows(1, 2).await.is_err() && three.shows(3, 2).await.is_err());
    assert!(three.shows(2, 1).await.is_err());
    assert_eq!(three.shows(2, 0).await.unwrap().state, "draining: certificate revoked");
    three.tells(2, "node 2 is revoked: it is out of service").await;
    let mut caller = Caller::connect(three.address(2), &three.mesh.path("ca.pem")).await;
    let refused = caller.client.about(rpc::AboutRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("certificate of this node is revoked"), "{refused}");

    // The session goes on elsewhere.
    let mut c = three.attach(3, 2, &mut b_seq, false).await;
    c.ready(b_seq).await;
    let sent = a.says(1, "still there?").await;
    assert_eq!(c.reads().await, sent);

    let state = three.mesh.path("state-2");
    three.nodes[1].kill();
    std::fs::remove_file(state.join(relayd::revocations::FILE)).unwrap();
    three.nodes[1] = Relayd::run(&three.mesh.path("relayd-2.toml"), &state);
    let restarted = Instant::now();
    until("node 2 believes", async || three.readiness(2).await == "draining: certificate revoked").await;
    eprintln!("without the list the node left {} ms after its start", restarted.elapsed().as_millis());
    three.tells(2, "node 2 is revoked, says node 1").await;
}

/// \[LSA-16\]: a certificate renewed under a running node takes over in the overlay at SIGHUP; the old one may then be revoked,
/// and nobody is sent away.
#[tokio::test]
async fn a_renewed_node_outlives_its_old_certificate() {
    let three = Three::start();
    let (mut a_seq, mut b_seq) = (0, 0);
    let mut a = three.attach(1, 1, &mut a_seq, false).await;
    a.ready(a_seq).await;
    let mut b = three.attach(2, 2, &mut b_seq, false).await;
    b.ready(b_seq).await;
    let linked = async |other: u32| {
        let status = three.status(1).await;
        status.links.iter().any(|link| link.agreed && [link.a, link.b] == [1, other])
    };
    until("nodes 1 and 2 agree on their link", async || linked(2).await).await;
    let sequence = async || {
        let status = three.status(1).await;
        status.nodes.iter().find(|node| node.node_number == 2).map_or(0, |node| node.sequence)
    };

    let [path, key] = ["node-2.pem", "node-2.key"].map(|name| three.mesh.path(name));
    let (old, key) = (std::fs::read(&path).unwrap(), std::fs::read(key).unwrap());
    let renewed = three.mesh.key.renew(&old, &key, None, now().plus(Duration::from_secs(1))).unwrap();
    let file = renewed.files.iter().find(|file| file.name == "node-2.pem").unwrap();
    std::fs::write(&path, &file.contents).unwrap();
    let before = sequence().await;
    three.nodes[1].signal(Signal::HUP);
    until("node 1 has an LSA of node 2 that is newer", async || sequence().await > before).await;

    let about = inspect(&chain_from_pem(&old).unwrap()[0]).unwrap();
    assert_ne!(about.certificate, renewed.identity.certificate);
    let entry = Revoked { certificate: about.certificate, expires: about.not_after };
    let list = three.mesh.key.revoke(None, [entry], now()).unwrap().to_bytes();
    let mut admin = admin_on(three.nodes[0].state.join("admin.sock")).await;
    admin.publish_revocations(rpc::PublishRevocationsRequest { list }).await.unwrap();
    // Its trunks were proven by the old certificate: they are made anew, and count after two seconds.
    until("the link by the old one is gone", async || !linked(2).await).await;
    until("nodes 1 and 2 are linked by the new one", async || linked(2).await).await;
    assert_eq!(three.readiness(2).await, "ready");
    let sent = a.says(1, "still there?").await;
    assert_eq!(b.reads().await, sent);
    assert!(three.status(2).await.alarms.is_empty());
}
