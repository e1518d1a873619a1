//! One sample or more of each message behind the frame: its committed encoding is a golden vector and a fuzz seed at
//! once. A change of an encoding shows here; `WRITE_SAMPLES=1` writes the files anew, for a change that is meant.

use std::fs;
use std::path::Path;

use proto_spec::app::{
    Chat, CodeEnd, Control, FileAnswer, FileMessage, FileOffer, FileReason, GoodbyeReason, Permission,
    Private,
};
use proto_spec::channel::{Ack, AckEntry, AckRange, AckRecord, LatestHeader};
use proto_spec::checkpoint::{Checkpoint, CheckpointBody};
use proto_spec::egress::{EgressSet, HOP_LIMIT, TrunkHeader};
use proto_spec::frame::{DataHeader, Destination, Replace};
use proto_spec::lsa::{DrainState, Lsa, LsaBody, LsaLink, LsaVersion, Roles};
use proto_spec::membership::{MemberKind, Membership, MembershipBody, MembershipEntry, MembershipVersion};
use proto_spec::mesh::{
    Chain, ChainKind, Digest, DigestEntry, LoadReport, MembershipAck, MeshMessage, Revocations, Routed,
    RoutedMessage, SessionDigest,
};
use proto_spec::mpsl::epoch::{ChannelBase, EpochMessage, Heartbeat, HeartbeatAnswer, Notice, SessionRecord};
use proto_spec::mpsl::handshake::{
    KEM_CIPHERTEXT_LENGTH, KEM_KEY_LENGTH, M1, M2, Message, Proof, SRP_LENGTH,
};
use proto_spec::mpsl::pairwise::PairwiseHeader;
use proto_spec::mpsl::roster::{Roster, RosterMember};
use proto_spec::ticket::Role;
use proto_spec::tombstone::{Tombstone, TombstoneBody};
use proto_spec::trunk::{Heartbeat as TrunkHeartbeat, TrunkFrame, TrunkHello, TrunkRefusal, Unit};
use proto_spec::{
    AttachSeq, EpochId, NodeNumber, SenderNumber, SessionId, SessionNumber, StreamId, TrafficClass, WallTime,
    Wire,
};

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn epoch() -> EpochId {
    EpochId { term: 0, leader: number(1), count: 2 }
}

/// Every sample: the target it seeds, its file's name, its encoding.
fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut samples = Vec::new();
    let mut add = |target, name, bytes: Vec<u8>| samples.push((target, name, bytes));

    let stream = StreamId(16);
    let ack = Ack {
        stream,
        next: 100,
        window: 65_536,
        delay_us: 1_500,
        token: 7,
        ranges: vec![AckRange { gap: 1, length: 3 }, AckRange { gap: 2, length: 1 }],
    };
    let entries = vec![
        AckEntry::Ack(ack),
        AckEntry::Probe { stream, token: 9 },
        AckEntry::Skip { stream: StreamId(2), to: 55 },
    ];
    add("acknowledgements", "all-kinds", AckRecord { entries }.to_bytes());
    add("latest_header", "last-part", LatestHeader { key: 1, update: 2, part: 3, last: true }.to_bytes());

    add("chat", "line", Chat::new("Grüß Gott, wie geht's?\nzweite Zeile").unwrap().to_bytes());
    let offer = FileOffer {
        serial: 1,
        stream,
        size: 268_435_456,
        blake3: [0xab; 32],
        receivers: vec![number(2), number(3)],
        name: "report.pdf".into(),
    };
    let answer = |answer| FileMessage::Answer { sender: number(1), serial: 1, answer };
    let done = |failure| FileMessage::Done { sender: number(1), serial: 1, failure };
    for (name, message) in [
        ("file-offer", FileMessage::Offer(offer)),
        ("file-accept", answer(FileAnswer::Accept { offset: 4_096 })),
        ("file-refuse", answer(FileAnswer::Refuse { reason: FileReason::DiskFull })),
        (
            "file-start",
            FileMessage::Start { serial: 1, offset: 4_096, first_sequence: 12, receivers: vec![number(2)] },
        ),
        ("file-done", done(None)),
        ("file-failed", done(Some(FileReason::Mismatch))),
        (
            "file-cancel",
            FileMessage::Cancel { serial: 1, member: Some(number(2)), reason: FileReason::Cancelled },
        ),
    ] {
        add("control", name, Control::File(message).to_bytes());
    }
    add("control", "code-request", Control::CodeRequest { request: 1, role: Role::Provider }.to_bytes());
    let consent = Control::Consent { permission: Permission::Member, member: number(3), granted: true };
    add("control", "consent", consent.to_bytes());
    add("control", "goodbye", Control::Goodbye { reason: GoodbyeReason::Left }.to_bytes());
    add("private", "ticket", Private::MemberTicket { ticket: "v4.public.dGVzdA".into() }.to_bytes());
    let code = Private::Code { request: 1, code: "483-920-117 lucky-otter-plaza".into(), expires_s: 600 };
    add("private", "code", code.to_bytes());
    add("private", "refused", Private::CodeRefused { request: 1, reason: "not now".into() }.to_bytes());
    add("private", "ended", Private::CodeEnded { request: 1, reason: CodeEnd::Expired }.to_bytes());

    add("handshake", "m1", Message::M1(Box::new(m1())).to_bytes());
    let m2 = M2 {
        nonce: [1; 32],
        salt: [2; 32],
        member_key: [3; 32],
        x25519: [4; 32],
        kem_ciphertext: [5; KEM_CIPHERTEXT_LENGTH],
        srp_b: [6; SRP_LENGTH],
    };
    add("handshake", "m2", Message::M2(Box::new(m2)).to_bytes());
    let proof = Proof { proof: [7; 32], sealed: vec![8; 100] };
    add("handshake", "m3", Message::M3(proof.clone()).to_bytes());
    add("handshake", "m4", Message::M4(proof).to_bytes());
    add("handshake", "failure", Message::Failure.to_bytes());
    let header = PairwiseHeader { message_type: 1, counter: 5 };
    add("pairwise", "epoch", [&header.to_array()[..], &[9; 40]].concat());

    add("roster", "two-members", roster().to_bytes());
    let message = EpochMessage { roster: roster().to_bytes(), signature: [3; 64], step: 4, wrapped: [5; 40] };
    add("epoch_message", "second", message.to_bytes());
    add("heartbeat", "held", Heartbeat { nonce: [1; 16], held: Some(epoch()) }.to_bytes());
    add("heartbeat", "none-held", Heartbeat { nonce: [1; 16], held: None }.to_bytes());
    let answer = HeartbeatAnswer { nonce: [1; 16], epoch: epoch(), roster_hash: [2; 32] };
    add("heartbeat_answer", "answer", answer.to_bytes());
    add("notice", "leaving", Notice::Leaving.to_bytes());
    let bases = vec![ChannelBase { stream, counter: 1_000, sequence: 900 }];
    add("session_record", "bases", SessionRecord::Bases(bases).to_bytes());

    let body = TombstoneBody {
        mesh: "mesh".into(),
        session: SessionId([3; 16]),
        number: Some(number(9)),
        issued: WallTime(1_000),
        keep_until: WallTime(2_000),
        broker: [4; 32],
    };
    add("tombstone", "member", Tombstone { body, signature: [5; 64] }.to_bytes());
    let body = CheckpointBody {
        mesh: "mesh".into(),
        index: 8,
        hash: [1; 32],
        time: WallTime(2_000),
        broker: [4; 32],
    };
    add("checkpoint", "eighth", Checkpoint { body, signature: [5; 64] }.to_bytes());

    add("lsa", "two-links", lsa().to_bytes());
    add("membership", "two-members", membership().to_bytes());
    let egress = EgressSet::new([node(2), node(700)]).unwrap();
    let header = TrunkHeader { hop_limit: HOP_LIMIT, ingress: node(1), egress, session: SessionId([3; 16]) };
    add("trunk_header", "two-nodes", header.to_bytes());
    add("trunk_unit", "two-frames", trunk_unit(&header));
    for (name, frame) in trunk_frames() {
        add("trunk_frame", name, frame.to_bytes());
    }
    for (name, message) in mesh_messages() {
        add("mesh_message", name, message.to_bytes());
    }
    samples
}

fn node(value: u16) -> NodeNumber {
    NodeNumber::new(value).unwrap()
}

fn lsa() -> Lsa {
    let body = LsaBody {
        node: node(1),
        version: LsaVersion { incarnation: 2, sequence: 3, instance: 4 },
        issued: WallTime(1_000),
        chain: [5; 32],
        roles: Roles::BROKER.and(Roles::GATEWAY),
        drain: DrainState::Draining,
        capacity: 10_000,
        wire_min: 1,
        wire_max: 1,
        software: "relayd 0.1.0".into(),
        region: "eu-central".into(),
        failure_domain: "rack 7".into(),
        addresses: vec!["relay.example:8200".into()],
        trunk_addresses: vec!["relay.example:8210".into()],
        links: vec![LsaLink { neighbor: node(2), cost: 12 }, LsaLink { neighbor: node(700), cost: 250 }],
    };
    Lsa { body, signature: [6; 64] }
}

fn membership() -> Membership {
    let entry = |value, kind| MembershipEntry {
        number: number(value),
        kind,
        attach_seq: AttachSeq(9),
        ticket: [value as u8; 32],
    };
    let body = MembershipBody {
        session: SessionId([3; 16]),
        node: node(2),
        version: MembershipVersion { incarnation: 1, sequence: 8 },
        entries: vec![
            entry(1, MemberKind::Active),
            entry(2, MemberKind::Standby),
            entry(3, MemberKind::Lobby),
        ],
    };
    Membership { body, signature: [4; 64] }
}

/// Two frames of one sender and update for two nodes.
fn trunk_unit(header: &TrunkHeader) -> Vec<u8> {
    let mut run = Vec::new();
    for last in [false, true] {
        let data = DataHeader {
            class: TrafficClass::Screen,
            sender: number(3),
            destination: Destination::one(number(2)),
            replace: Some(Replace { key: 1, update: 4, last }),
        };
        data.put(&mut run, |out| out.extend_from_slice(b"sealed"));
    }
    let mut unit = Vec::new();
    Unit::put_head(&mut unit, header, run.len());
    unit.extend_from_slice(&run);
    unit
}

/// Each control frame of a trunk once.
fn trunk_frames() -> Vec<(&'static str, TrunkFrame)> {
    let hello = TrunkHello {
        version_min: 1,
        version_max: 1,
        node: node(7),
        wall: WallTime(1_000),
        trunk: 0x0102_0304_0506_0708,
        mesh: "example".into(),
        software: "relayd 0.1.0".into(),
    };
    let heartbeat = TrunkHeartbeat { sent_us: 2_000_000, echo_us: 1_900_000, held_us: 40 };
    vec![
        ("hello", TrunkFrame::Hello(hello)),
        ("heartbeat", TrunkFrame::Heartbeat(heartbeat)),
        ("up", TrunkFrame::Up),
        ("message", TrunkFrame::Message(MeshMessage::Request([6; 32]).to_bytes())),
        ("close", TrunkFrame::Close(TrunkRefusal::Surplus)),
    ]
}

/// Each message between nodes once.
fn mesh_messages() -> Vec<(&'static str, MeshMessage)> {
    let session = SessionId([3; 16]);
    let version = MembershipVersion { incarnation: 1, sequence: 8 };
    let routed = |message| {
        MeshMessage::Routed(Routed { source: node(1), destination: node(2), hop_limit: HOP_LIMIT, message })
    };
    let digest = Digest {
        revocations: 3,
        brokers: vec![[7; 32], [8; 32]],
        lsas: vec![(node(1), lsa().body.version), (node(2), LsaVersion::default())],
    };
    let ack = MembershipAck { session, node: node(2), version, known: vec![node(2), node(5)] };
    let entries = vec![DigestEntry { node: node(2), version }];
    let tombstone = Tombstone::from_bytes(
        &fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/tombstone/member")).unwrap(),
    );
    let load = LoadReport {
        sequence: 1,
        attachments: 2,
        capacity: 3,
        queue_bytes: 4,
        forwarded_bytes: 5,
        full: true,
    };
    vec![
        ("lsa", MeshMessage::Lsa(lsa())),
        (
            "chain",
            MeshMessage::Chain(Chain { kind: ChainKind::Node, certificates: vec![vec![1; 9], vec![2; 7]] }),
        ),
        ("revocations", MeshMessage::Revocations(Revocations { number: 3, list: vec![9; 20] })),
        ("digest", MeshMessage::Digest(digest)),
        ("request", MeshMessage::Request([6; 32])),
        (
            "memberships",
            routed(RoutedMessage::Memberships { acknowledge: true, memberships: vec![membership()] }),
        ),
        ("membership-ack", routed(RoutedMessage::MembershipAck(ack))),
        ("home-digest", routed(RoutedMessage::HomeDigest(vec![SessionDigest { session, entries }]))),
        ("membership-request", routed(RoutedMessage::MembershipRequest { session, nodes: vec![node(4)] })),
        ("tombstone", routed(RoutedMessage::Tombstone(tombstone.unwrap()))),
        ("tombstone-ack", routed(RoutedMessage::TombstoneAck { session, number: Some(number(9)) })),
        ("load", routed(RoutedMessage::Load(load))),
    ]
}

fn m1() -> M1 {
    M1 {
        version: 1,
        suite: 1,
        session: SessionId([1; 16]),
        joiner: number(2),
        leader: number(1),
        code: SessionNumber::new(483_920_117).unwrap(),
        nonce: [2; 32],
        member_key: [3; 32],
        x25519: [4; 32],
        kem_key: [5; KEM_KEY_LENGTH],
        srp_a: [6; SRP_LENGTH],
    }
}

fn roster() -> Roster {
    let member = |value: u16, role, name: &str| RosterMember {
        number: number(value),
        key: [value as u8; 32],
        role,
        name: name.into(),
    };
    Roster {
        epoch: epoch(),
        creator: [1; 32],
        deputies: vec![number(1)],
        members: vec![member(1, Role::Provider, "Helpdesk"), member(2, Role::Customer, "Küche")],
        commitment: [7; 32],
    }
}

/// [CON-2]: an encoding never changes by accident.
#[test]
fn samples_encode_as_committed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, name, bytes) in samples() {
        let path = corpus.join(target).join(name);
        if std::env::var_os("WRITE_SAMPLES").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let committed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(bytes, committed, "{target}/{name}");
    }
}
