//! Calls between nodes, in one process: two backends whose trunks are pipes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use ed25519_dalek::{Signer, SigningKey};
use futures::future::BoxFuture;
use proto_spec::revocation::Revoked;
use proto_spec::{NodeNumber, SessionId, Wire};
use sealcast_broker::record::AccountRole;
use sealcast_broker::request::NewAccount;
use sealcast_broker::{AdminCaller, Call, Reply, Request};
use sealcast_mesh::Input;
use sealcast_rpc::admin_server::Admin;
use sealcast_rpc::endpoint_server::Endpoint;
use sealcast_rpc::{self as rpc, CREDENTIAL_METADATA};
use sealcast_trust::issuing::{self, IssuingKey, PkiFile, file};
use sealcast_trust::key::signing_key_from_pem;
use sealcast_trust::{
    AdminRole, BrokerKey, BrokerSigner, CertificateRole, Identity, MeshName, MeshTrust, Verifier, proof,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request as Incoming, Status};
use zeroize::Zeroizing;

use super::admin::AdminCalls;
use super::endpoint::EndpointCalls;
use super::forward::ForwardedCalls;
use super::mesh::tests::{lsa, number, view};
use super::vouch::Vouch;
use super::*;
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::health::{Health, State};
use crate::listener::{Caller, Transport};
use crate::metrics::Metrics;
use crate::overlay::{Brokers, MeshView};
use crate::revocations::Revocations;
use crate::store::sled::SledStore;
use crate::trunk::TrunkStatus;

const EXPORTER: [u8; 32] = [0xee; 32];
const PASSWORD: &str = "vq8-trombone-ledger";

/// Three nodes in a line; 2 and 3 have brokers. `reach` says whose doors are open.
struct Pipes {
    view: Arc<MeshView>,
    nodes: Mutex<Vec<NodeNumber>>,
    orders: Mutex<Vec<Input>>,
    reach: Mutex<BTreeMap<NodeNumber, mpsc::Sender<PeerConnection>>>,
    calls: AtomicUsize,
}

impl Pipes {
    fn new(me: u16) -> Arc<Pipes> {
        let lsas =
            vec![lsa(1, &[(2, 10)], false), lsa(2, &[(1, 10), (3, 10)], true), lsa(3, &[(2, 10)], true)];
        Arc::new(Pipes {
            view: view(me, lsas),
            nodes: Mutex::default(),
            orders: Mutex::default(),
            reach: Mutex::default(),
            calls: AtomicUsize::new(0),
        })
    }

    fn ordered(&self, wanted: fn(&Input) -> bool) -> usize {
        self.orders.lock().unwrap().iter().filter(|input| wanted(input)).count()
    }
}

impl MeshAccess for Pipes {
    fn view(&self) -> Arc<MeshView> {
        Arc::clone(&self.view)
    }

    fn nodes_of(&self, _session: SessionId) -> Vec<NodeNumber> {
        self.nodes.lock().unwrap().clone()
    }

    fn trunks(&self) -> Vec<TrunkStatus> {
        Vec::new()
    }

    fn order(&self, input: Input) -> BoxFuture<'_, ()> {
        self.orders.lock().unwrap().push(input);
        Box::pin(std::future::ready(()))
    }

    fn call<'a>(
        &'a self,
        to: NodeNumber,
        _addresses: &'a [String],
    ) -> BoxFuture<'a, io::Result<PeerConnection>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let door = self.reach.lock().unwrap().get(&to).cloned();
        Box::pin(async move {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (here, there) = tokio::io::duplex(64 * 1024);
            let end = |peer, stream| PeerConnection { peer, certificate: certificate(peer), stream };
            let connection = end(self.view.number, Box::new(there));
            door.ok_or_else(refused)?.send(connection).await.map_err(|_| refused())?;
            Ok(end(to, Box::new(here)))
        })
    }
}

/// What the pipes take for a node's certificate.
fn certificate(node: NodeNumber) -> [u8; 32] {
    [node.value() as u8; 32]
}

struct Pki {
    key: IssuingKey,
    trust: MeshTrust,
}

impl Pki {
    fn new(now: proto_spec::WallTime) -> Pki {
        let name: MeshName = "m".parse().unwrap();
        let files = issuing::init(&name, now).unwrap();
        let contents = |name: &str| contents(&files, name);
        let [ca, issuing, key] = [file::CA, file::ISSUING, file::ISSUING_KEY].map(contents);
        Pki {
            key: IssuingKey::load(&name, ca, issuing, key).unwrap(),
            trust: MeshTrust::from_pem(name, ca).unwrap(),
        }
    }
}

fn contents<'a>(files: &'a [PkiFile], name: &str) -> &'a [u8] {
    &files.iter().find(|file| file.name == name).unwrap().contents
}

/// One node, served to the others until it is dropped.
struct Side {
    backend: Arc<Backend>,
    mesh: Arc<Pipes>,
    verifier: Arc<ArcSwap<Verifier>>,
    broker: Option<Identity>,
    health: Arc<Health>,
    clock: Clock,
    door: mpsc::Sender<PeerConnection>,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Side {
    async fn start(me: u16, pki: &Pki, with_broker: bool) -> Side {
        let clock = Clock::start();
        let folder = tempfile::tempdir().unwrap();
        let role = CertificateRole::Broker(number(me));
        let issued = pki.key.issue(&role, &[], None, clock.now().wall).unwrap();
        let identity = with_broker.then(|| issued.identity.clone());
        let keys = identity.iter().map(|identity| BrokerKey::new(identity).unwrap());
        let brokers = Brokers::new(Verifier::new("m", keys));
        let verifier = brokers.verifier();
        let broker = identity.as_ref().map(|identity| {
            let key = signing_key_from_pem(contents(&issued.files, &format!("broker-{me}.key"))).unwrap();
            BrokerParts {
                signer: BrokerSigner::new(identity, key).unwrap(),
                store: SledStore::open(&folder.path().join("store")).unwrap(),
                limit_calls: true,
            }
        });
        let trust = Arc::new(ArcSwap::from_pointee(pki.trust.clone()));
        let health = Arc::new(Health::default());
        health.set(State::Ready);
        let mesh = Pipes::new(me);
        let backend = Backend::start(Parts {
            broker,
            mesh: Arc::clone(&mesh) as Arc<dyn MeshAccess>,
            revocations: Arc::new(Revocations::open(folder.path().join("list"), trust, clock)),
            brokers,
            gateway: Gateway::new(Default::default(), Arc::clone(&verifier), clock, None),
            metrics: Metrics::new(),
            health: Arc::clone(&health),
            clock,
            rng: crate::app::seeded().unwrap(),
            facts: NodeFacts {
                number: number(me),
                mesh: "m".into(),
                host: format!("n{me}.example"),
                ports: vec![8200],
                failure_domain: format!("rack {}", me % 2),
                listeners: Vec::new(),
                certificate_expires: Arc::new(issued.identity.not_after.0.into()),
                drain_within: Duration::from_secs(30),
            },
        });
        let backend = Arc::new(backend.await.unwrap());
        let (door, queue) = mpsc::channel(4);
        let stop = CancellationToken::new();
        tokio::spawn(serve_peers(queue, Arc::clone(&backend), Connections::default(), stop.clone()));
        Side { backend, mesh, verifier, broker: identity, health, clock, door, stop, _folder: folder }
    }

    /// Lets this node reach another.
    fn may_reach(&self, other: &Side) {
        let node = other.backend.facts().number;
        self.mesh.reach.lock().unwrap().insert(node, other.door.clone());
    }

    fn admin(&self) -> AdminCalls {
        AdminCalls::new(Arc::clone(&self.backend), self.stop.clone())
    }

    fn forwarded(&self) -> ForwardedCalls {
        ForwardedCalls::new(Arc::clone(&self.backend))
    }

    async fn add_provider(&self, email: &str) {
        let password = Zeroizing::new(PASSWORD.to_owned());
        let password_hash = self.backend.hash(password.clone()).await.unwrap();
        let new = NewAccount {
            email: email.into(),
            display_name: "Somebody".into(),
            password,
            password_hash,
            roles: vec![AccountRole::Provider],
        };
        let call = Call { admin: Some(AdminCaller::Local { uid: 0 }), ..Call::default() };
        self.backend.ask(&call, Request::AddAccount(new)).await.unwrap();
    }

    async fn audit(&self) -> Vec<String> {
        let call = Call { admin: Some(AdminCaller::Local { uid: 0 }), ..Call::default() };
        let request = Request::TailAudit { from_index: 0, last: 0, limit: 0 };
        match self.backend.ask(&call, request).await.unwrap() {
            Reply::Audit { entries, .. } => {
                entries.into_iter().map(|entry| String::from_utf8(entry.canonical).unwrap()).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Node 1 without a broker, nodes 2 and 3 with one each, all doors open.
async fn three() -> (Side, Side, Side) {
    three_of(&Pki::new(Clock::start().now().wall)).await
}

async fn three_of(pki: &Pki) -> (Side, Side, Side) {
    let sides =
        (Side::start(1, pki, false).await, Side::start(2, pki, true).await, Side::start(3, pki, true).await);
    sides.0.may_reach(&sides.1);
    sides.0.may_reach(&sides.2);
    sides.1.may_reach(&sides.0);
    sides
}

fn from<T>(transport: Transport, message: T) -> Incoming<T> {
    let mut request = Incoming::new(message);
    request.extensions_mut().insert(Caller { transport });
    request
}

fn endpoint_at(address: &str) -> Transport {
    Transport::Endpoint { peer: SocketAddr::new(address.parse().unwrap(), 4_000), exporter: EXPORTER }
}

fn admin_of(role: AdminRole) -> Transport {
    let identity = Identity {
        mesh: "m".parse().unwrap(),
        role: CertificateRole::admin(role, "ada").unwrap(),
        key: [0; 32],
        certificate: [9; 32],
        not_before: proto_spec::WallTime(0),
        not_after: proto_spec::WallTime(u64::MAX),
    };
    Transport::Admin { peer: "192.0.2.9:4000".parse().unwrap(), identity: Arc::new(identity) }
}

fn label(status: &Status) -> &str {
    status.metadata().get(super::status::REFUSAL_METADATA).map_or("", |label| label.to_str().unwrap())
}

fn login() -> rpc::LoginRequest {
    rpc::LoginRequest {
        email: "ann@example.org".into(),
        password: PASSWORD.into(),
        credential_key: SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes().to_vec(),
        label: "a test".into(),
    }
}

fn create<T>(reply: &rpc::LoginReply, mut request: Incoming<T>) -> Incoming<T> {
    let id: [u8; 16] = reply.credential_id.as_slice().try_into().unwrap();
    let signature = SigningKey::from_bytes(&[7; 32]).sign(&proof::credential_message(&EXPORTER, &id));
    let value = MetadataValue::from_bytes(&[&id[..], &signature.to_bytes()].concat());
    request.metadata_mut().insert_bin(CREDENTIAL_METADATA, value);
    request
}

fn new_session() -> rpc::CreateSessionRequest {
    let attach_key = SigningKey::from_bytes(&[9; 32]).verifying_key().as_bytes().to_vec();
    rpc::CreateSessionRequest { attach_key, probes: Vec::new() }
}

/// \[GW-14\] \[GW-15\]: an endpoint at a node without a broker logs in and opens a session; its proof is over the exporter of
/// its own connection, which the node saw and vouches for.
#[tokio::test]
async fn endpoints_are_served_through_a_node_without_a_broker() {
    let (gateway, broker, _other) = three().await;
    broker.add_provider("ann@example.org").await;
    let calls = gateway.forwarded();
    let about = calls.about(from(endpoint_at("192.0.2.1"), rpc::AboutRequest {})).await.unwrap();
    assert_eq!(about.into_inner().mesh, "m");
    let reply = calls.login(from(endpoint_at("192.0.2.1"), login())).await.unwrap().into_inner();

    let request = create(&reply, from(endpoint_at("192.0.2.1"), new_session()));
    let created = calls.create_session(request).await.unwrap().into_inner();
    let claims = broker.verifier.load().verify(&created.ticket, broker.clock.now().wall).unwrap();
    assert!(!created.nodes.is_empty() && claims.number.value() == 1);
    // The same credential on another connection of the same endpoint proves nothing.
    let elsewhere = Transport::Endpoint { peer: "192.0.2.1:4001".parse().unwrap(), exporter: [1; 32] };
    let stolen = create(&reply, from(elsewhere, new_session()));
    let refused = calls.create_session(stolen).await.unwrap_err();
    assert_eq!((refused.code(), label(&refused)), (Code::Unauthenticated, "not_logged_in"));
    assert!(refused.message().contains("sealcast login"), "the broker's own sentence: {refused}");

    assert_eq!(gateway.mesh.calls.load(Ordering::SeqCst), 1, "one connection for all of it");
}

/// \[GW-11\] \[GW-15\]: the limit is the endpoint's, wherever its call comes in, and its refusal comes back whole.
#[tokio::test]
async fn limits_count_the_endpoints_own_address() {
    let (gateway, broker, _other) = three().await;
    let calls = gateway.forwarded();
    let look_up = |address: &str| {
        let message =
            rpc::LookupRequest { session_number: 123_456_789, attach_key: vec![1; 32], probes: Vec::new() };
        from(endpoint_at(address), message)
    };
    for _ in 0..sealcast_broker::config::LOOKUPS_PER_MINUTE {
        let unknown = calls.lookup(look_up("192.0.2.1")).await.unwrap_err();
        assert_eq!(label(&unknown), "number_unknown");
    }
    let often = calls.lookup(look_up("192.0.2.1")).await.unwrap_err();
    assert_eq!((often.code(), label(&often)), (Code::ResourceExhausted, "too_often"));
    assert!(often.metadata().get(super::status::RETRY_METADATA).is_some());
    let at_the_broker = EndpointCalls::new(Arc::clone(&broker.backend));
    let same = at_the_broker.lookup(look_up("192.0.2.1")).await.unwrap_err();
    assert_eq!(label(&same), "too_often", "one network, one bucket");
    assert_eq!(label(&calls.lookup(look_up("192.0.2.2")).await.unwrap_err()), "number_unknown");
}

/// \[GW-14\]: the next broker when the nearest is away, a sentence when all are; a dead connection is made anew.
#[tokio::test]
async fn brokers_are_tried_in_turn() {
    let (gateway, broker, other) = three().await;
    let calls = gateway.forwarded();
    let about = || calls.about(from(endpoint_at("192.0.2.1"), rpc::AboutRequest {}));
    about().await.unwrap();
    // The nearest ends, and with it its connections.
    gateway.mesh.reach.lock().unwrap().remove(&number(2));
    drop(broker);
    let mut tries = 0;
    while about().await.is_err() {
        // A call that was under way when the connection broke is not sent again by itself.
        tries += 1;
        assert!(tries < 100, "never came to the other broker");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.mesh.reach.lock().unwrap().clear();
    drop(other);
    let away = loop {
        match about().await {
            Err(status) if label(&status) == "no_broker" => break status,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(away.code(), Code::Unavailable);
    assert!(away.message().starts_with("no broker of this mesh can be reached"), "{away}");
    assert!(away.message().contains("running sessions go on"), "{away}");
}

/// \[GW-15\]: nobody vouches but a node of the mesh, on its own connection, for what it hands on.
#[tokio::test]
async fn nobody_else_vouches() {
    let (gateway, broker, _other) = three().await;
    let endpoint = EndpointCalls::new(Arc::clone(&broker.backend));
    let admin = broker.admin();
    let for_endpoint = Vouch::Endpoint { exporter: EXPORTER, address: "192.0.2.1".parse().unwrap() };
    let for_admin = Vouch::Admin(AdminCaller::Local { uid: 0 });
    let peer = |node: u16| Transport::Peer { node: number(node) };
    fn vouched<T>(mut request: Incoming<T>, vouch: Option<&Vouch>) -> Incoming<T> {
        if let Some(vouch) = vouch {
            vouch.put(request.metadata_mut());
        }
        request
    }
    let cases: [(Transport, Option<&Vouch>, &str); 6] = [
        (endpoint_at("192.0.2.1"), Some(&for_endpoint), "refused"),
        (endpoint_at("192.0.2.1"), Some(&for_admin), "refused"),
        (peer(1), None, "refused"),
        (peer(1), Some(&for_admin), "refused"),
        (peer(9), Some(&for_endpoint), "unknown_peer"),
        (peer(2), Some(&for_endpoint), "unknown_peer"),
    ];
    for (transport, vouch, expected) in cases {
        let request = vouched(from(transport.clone(), rpc::AboutRequest {}), vouch);
        let refused = endpoint.about(request).await.unwrap_err();
        assert_eq!(label(&refused), expected, "{transport:?} {vouch:?}: {refused}");
        // A node without a broker is no less strict.
        let request = vouched(from(transport.clone(), rpc::AboutRequest {}), vouch);
        assert!(gateway.forwarded().about(request).await.is_err(), "{transport:?}");
    }
    let cases: [(Transport, Option<&Vouch>, &str); 6] = [
        (Transport::Local { uid: 0 }, Some(&for_admin), "refused"),
        (admin_of(AdminRole::Auditor), Some(&for_admin), "refused"),
        (admin_of(AdminRole::Auditor), Some(&for_endpoint), "refused"),
        (peer(1), None, "refused"),
        (peer(1), Some(&for_endpoint), "refused"),
        (peer(9), Some(&for_admin), "unknown_peer"),
    ];
    for (transport, vouch, expected) in cases {
        let request = vouched(from(transport.clone(), rpc::ShowNodeRequest::default()), vouch);
        let refused = admin.show_node(request).await.unwrap_err();
        assert_eq!(label(&refused), expected, "{transport:?} {vouch:?}: {refused}");
    }
    let request = vouched(from(peer(1), rpc::ShowNodeRequest::default()), Some(&for_admin));
    assert!(admin.show_node(request).await.is_ok());
    let request = vouched(from(peer(1), rpc::AboutRequest {}), Some(&for_endpoint));
    assert!(endpoint.about(request).await.is_ok());
    let request = vouched(from(peer(3), rpc::AboutRequest {}), Some(&for_endpoint));
    let looped = gateway.forwarded().about(request).await.unwrap_err();
    assert_eq!(label(&looped), "no_broker_here", "what was handed on once is not handed on again");
}

/// \[GW-16\]: what concerns one node is handed to it with the administrator's name and role, and the audit says by whom;
/// accounts, sessions and the audit never are.
#[tokio::test]
async fn orders_reach_the_node_that_they_are_for() {
    let (gateway, broker, _other) = three().await;
    let admin = gateway.admin();
    let network = || admin_of(AdminRole::NetworkAdmin);
    let shown = admin.show_node(from(network(), rpc::ShowNodeRequest { node_number: 2 })).await.unwrap();
    assert!(shown.into_inner().broker);
    let own = admin.show_node(from(network(), rpc::ShowNodeRequest { node_number: 0 })).await.unwrap();
    assert_eq!(own.into_inner().node_number, 1);
    let nobody = admin.show_node(from(network(), rpc::ShowNodeRequest { node_number: 77 })).await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound);

    let drain = |node_number| rpc::DrainNodeRequest { node_number, within_ms: 9_000 };
    let refused = admin.drain_node(from(admin_of(AdminRole::Auditor), drain(2))).await.unwrap_err();
    assert_eq!((refused.code(), label(&refused)), (Code::PermissionDenied, "role_missing"));
    admin.drain_node(from(network(), drain(2))).await.unwrap();
    let is_drain =
        |input: &Input| matches!(input, Input::Drain { within } if *within == Duration::from_secs(9));
    assert_eq!((broker.mesh.ordered(is_drain), gateway.mesh.ordered(is_drain)), (1, 0));
    admin.undrain_node(from(network(), rpc::UndrainNodeRequest { node_number: 0 })).await.unwrap();
    assert_eq!(gateway.mesh.ordered(|input| matches!(input, Input::Undrain)), 1);
    let audit = broker.audit().await;
    let order = audit.iter().find(|line| line.contains("\"node.drain\"")).unwrap();
    assert!(order.contains("\"ada\"") && order.contains("\"via\":\"node 1\""), "{order}");
    assert!(!audit.iter().any(|line| line.contains("refused")), "refused where it was asked");

    // A broker's node orders one without a broker, which has the same table.
    let at_broker = broker.admin();
    at_broker.drain_node(from(network(), drain(1))).await.unwrap();
    assert_eq!(gateway.mesh.ordered(is_drain), 1);
    let lists = admin.list_accounts(from(admin_of(AdminRole::AccountAdmin), Default::default())).await;
    assert_eq!(label(&lists.unwrap_err()), "no_broker_here");

    // A hostile node may claim any administrator's word, and gets nothing by it but what concerns one node.
    let mut claim = from(Transport::Peer { node: number(1) }, rpc::ListAccountsRequest::default());
    Vouch::Admin(AdminCaller::Local { uid: 0 }).put(claim.metadata_mut());
    assert_eq!(label(&at_broker.list_accounts(claim).await.unwrap_err()), "refused");
    let mut onward = from(Transport::Peer { node: number(1) }, rpc::ShowNodeRequest { node_number: 3 });
    Vouch::Admin(AdminCaller::Local { uid: 0 }).put(onward.metadata_mut());
    assert_eq!(label(&at_broker.show_node(onward).await.unwrap_err()), "invalid");
}

/// A session is shown with every node's part; those that do not answer are named. Its end is told to the gateway, and by it to the mesh.
#[tokio::test]
async fn sessions_are_shown_over_their_nodes_and_end_on_all() {
    let (gateway, broker, _other) = three().await;
    broker.add_provider("ann@example.org").await;
    let endpoint = EndpointCalls::new(Arc::clone(&broker.backend));
    let reply = endpoint.login(from(endpoint_at("192.0.2.1"), login())).await.unwrap().into_inner();
    let request = create(&reply, from(endpoint_at("192.0.2.1"), new_session()));
    let created = endpoint.create_session(request).await.unwrap().into_inner();
    let admin = broker.admin();
    let show = rpc::SessionRequest { session_id: created.session_id.clone() };
    // The overlay tells nothing of a session that this node does not carry: the broker goes by where it sent people.
    let alone =
        admin.show_session(from(Transport::Local { uid: 0 }, show.clone())).await.unwrap().into_inner();
    assert!(alone.unanswered.is_empty() && alone.nodes.is_empty(), "{alone:?}");
    // What another node says of where the session is is followed.
    *gateway.mesh.nodes.lock().unwrap() = vec![number(1), number(3)];
    *broker.mesh.nodes.lock().unwrap() = vec![number(1)];
    let shown = admin.show_session(from(Transport::Local { uid: 0 }, show.clone())).await.unwrap();
    let shown = shown.into_inner();
    assert_eq!(
        (&shown.nodes[..], &shown.unanswered[..]),
        (&[3][..], &[3][..]),
        "nobody at 1; 2 cannot reach 3"
    );
    assert_eq!((shown.members.len(), shown.members[0].state.as_str()), (1, "away"));

    assert!(broker.backend.gateway().take_buried(1).is_empty());
    admin.close_session(from(Transport::Local { uid: 0 }, show)).await.unwrap();
    let buried = broker.backend.gateway().take_buried(2);
    assert!(matches!(&buried[..], [tombstone] if tombstone.body.number.is_none()), "{buried:?}");

    // What was decided can be asked for, and what would be.
    let explain = rpc::ShowPlacementRequest::default();
    let last = admin.show_placement(from(Transport::Local { uid: 0 }, explain)).await.unwrap().into_inner();
    assert_eq!(last.placements.len(), 1);
    assert_eq!(last.placements[0].session_id, created.session_id);
    assert!(last.placements[0].offered.contains(&2), "only node 2 has reported: {last:?}");
    let probe = rpc::ProbeResult { host: "n2.example".into(), port: 8200, rtt_us: 7_000 };
    let what_if = rpc::ShowPlacementRequest { probes: vec![probe], ..Default::default() };
    let would = admin.show_placement(from(admin_of(AdminRole::Auditor), what_if)).await.unwrap().into_inner();
    let here = would.placements[0].considered.iter().find(|node| node.node_number == 2).unwrap();
    assert_eq!((here.rtt_us, here.verdict.as_str()), (Some(7_000), "chosen"));
}

/// \[REV-4\]: a list is in force at once and goes to the overlay; a forged or older one changes nothing, and an
/// administrator who is named gets no further on a connection that stands.
#[tokio::test]
async fn published_lists_are_in_force_at_once() {
    let pki = Pki::new(Clock::start().now().wall);
    let side = Side::start(2, &pki, true).await;
    let now = side.clock.now().wall;
    let admin = side.admin();
    let publish = |transport: Transport, list: Vec<u8>| {
        admin.publish_revocations(from(transport, rpc::PublishRevocationsRequest { list }))
    };
    let network = || admin_of(AdminRole::NetworkAdmin);
    let entry = |certificate| Revoked { certificate, expires: now.plus(Duration::from_secs(99)) };
    let broker = side.broker.as_ref().unwrap().certificate;
    let one = pki.key.revoke(None, [entry(broker)], now).unwrap().to_bytes();

    let forged = Pki::new(now).key.revoke(None, [entry(broker)], now).unwrap().to_bytes();
    assert_eq!(publish(network(), forged).await.unwrap_err().code(), Code::InvalidArgument);
    let refused = publish(admin_of(AdminRole::Auditor), one.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(side.verifier.load().broker(&broker).is_some());

    let reply = publish(network(), one.clone()).await.unwrap().into_inner();
    assert_eq!((reply.number, reply.revoked), (1, 1));
    assert!(side.verifier.load().broker(&broker).is_none(), "its tickets hold no longer");
    let flooded = |input: &Input| matches!(input, Input::Revocations { list, .. } if list.0.number == 1);
    assert_eq!(side.mesh.ordered(flooded), 1);
    publish(network(), one.clone()).await.unwrap();
    assert_eq!(side.mesh.ordered(flooded), 1, "told twice, flooded once");

    let list = side.backend.revocations().check(&one).unwrap();
    let two = pki.key.revoke(Some(&list), [entry([9; 32])], now).unwrap().to_bytes();
    assert!(side.backend.revocations().offer(&two).unwrap().is_some(), "from the overlay");
    let old = publish(network(), one).await.unwrap_err();
    assert_eq!(old.code(), Code::PermissionDenied, "the administrator's own certificate is revoked: {old}");
    let local = publish(Transport::Local { uid: 0 }, list_bytes(&pki, now)).await.unwrap_err();
    assert_eq!(local.code(), Code::FailedPrecondition, "an older number: {local}");
    assert!(side.audit().await.iter().any(|line| line.contains("revocations.publish")));
}

/// \[REV-4\]: a connection that stands is not used again once its node's certificate is revoked; one to another node is.
#[tokio::test]
async fn a_kept_connection_to_a_revoked_node_is_not_used_again() {
    let pki = Pki::new(Clock::start().now().wall);
    let (gateway, _broker, _other) = three_of(&pki).await;
    let now = gateway.clock.now().wall;
    let calls = gateway.forwarded();
    let about = || calls.about(from(endpoint_at("192.0.2.1"), rpc::AboutRequest {}));
    let made = || gateway.mesh.calls.load(Ordering::SeqCst);
    about().await.unwrap();
    let entry =
        |node| Revoked { certificate: certificate(number(node)), expires: now.plus(Duration::from_secs(99)) };
    let list = pki.key.revoke(None, [entry(3)], now).unwrap().to_bytes();
    assert!(gateway.backend.revoke(&list).await.unwrap());
    about().await.unwrap();
    assert_eq!(made(), 1, "of another node's revocation it knows nothing");
    let list = gateway.backend.revocations().check(&list).unwrap();
    let list = pki.key.revoke(Some(&list), [entry(2)], now).unwrap().to_bytes();
    assert!(gateway.backend.revoke(&list).await.unwrap());
    // Here the pipes let it in again; trunks refuse the certificate.
    about().await.unwrap();
    assert_eq!(made(), 2);
}

/// \[REV-4\]: a node whose own certificate is revoked tells endpoints to go elsewhere, with a broker and without;
/// administrators are served, or nobody could look after it.
#[tokio::test]
async fn a_revoked_node_refuses_endpoints_calls() {
    let (gateway, broker, _other) = three().await;
    for side in [&gateway, &broker] {
        side.health.set(State::Revoked);
    }
    let about = || from(endpoint_at("192.0.2.1"), rpc::AboutRequest {});
    let refusals = [
        gateway.forwarded().about(about()).await.unwrap_err(),
        EndpointCalls::new(Arc::clone(&broker.backend)).about(about()).await.unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!((refused.code(), label(&refused)), (Code::Unavailable, "out_of_service"));
        assert!(refused.message().contains("is revoked") && refused.message().contains("another node"));
    }
    let shown = broker.admin().show_node(from(Transport::Local { uid: 0 }, Default::default())).await;
    assert_eq!(shown.unwrap().into_inner().state, "draining: certificate revoked");
}

fn list_bytes(pki: &Pki, now: proto_spec::WallTime) -> Vec<u8> {
    pki.key.revoke(None, [], now).unwrap().to_bytes()
}

/// The mesh is told as this node knows it, with the loads that came.
#[tokio::test]
async fn the_mesh_is_shown_with_loads() {
    use crate::overlay::LoadSink;
    let (_gateway, broker, _other) = three().await;
    let report =
        proto_spec::mesh::LoadReport { sequence: 1, attachments: 5, capacity: 50, ..Default::default() };
    broker.backend.load(number(1), report);
    let admin = broker.admin();
    let mesh = admin.show_mesh(from(admin_of(AdminRole::Auditor), rpc::ShowMeshRequest {})).await.unwrap();
    let mesh = mesh.into_inner();
    assert_eq!((mesh.nodes.len(), mesh.links.len(), mesh.not_backed), (3, 2, 2));
    assert_eq!(mesh.nodes[0].load.as_ref().unwrap().attachments, 5);
    assert!(mesh.nodes[1].load.is_some() && mesh.nodes[2].load.is_none(), "its own, and none of 3");
    let route = admin.show_route(from(
        admin_of(AdminRole::Auditor),
        rpc::ShowRouteRequest { node_number: 3, session_id: Vec::new() },
    ));
    assert_eq!(route.await.unwrap().into_inner().ways[0].hops.len(), 1);
}
