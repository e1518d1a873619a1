// The bodies of the fuzz targets, shared with the tests that replay the corpora.
//
// Each decodes arbitrary bytes; whatever decodes must encode to the very same bytes [CON-2], and nothing may panic
// [CON-5]. Textual forms (claims, invite) have many encodings: there a second round must be stable.

use proto_spec::app::{Chat, Control, Private};
use proto_spec::channel::{AckRecord, LatestHeader};
use proto_spec::checkpoint::Checkpoint;
use proto_spec::egress::TrunkHeader;
use proto_spec::frame::{ControlFrame, DataHeader, FrameHeader, FrameType};
use proto_spec::invite::Invite;
use proto_spec::lsa::Lsa;
use proto_spec::membership::Membership;
use proto_spec::mesh::MeshMessage;
use proto_spec::mpsl::epoch::{EpochMessage, Heartbeat, HeartbeatAnswer, Notice, SessionRecord};
use proto_spec::mpsl::handshake::Message;
use proto_spec::mpsl::pairwise::PairwiseHeader;
use proto_spec::mpsl::roster::Roster;
use proto_spec::packet::RecordHeader;
use proto_spec::ticket::{Claims, Footer};
use proto_spec::tombstone::Tombstone;
use proto_spec::trunk::{TrunkFrame, Unit};
use proto_spec::{Wire, probe};

/// Takes any bytes; panics on a bug.
pub type Target = fn(&[u8]);

/// Every target by name; a corpus folder and a binary of the same name belong to each.
pub const TARGETS: &[(&str, Target)] = &[
    ("frame", frame),
    ("record_header", record_header),
    ("claims", claims),
    ("invite", invite),
    ("probe", probe_question),
    ("pairwise", pairwise),
    ("acknowledgements", canonical::<AckRecord>),
    ("chat", canonical::<Chat>),
    ("checkpoint", canonical::<Checkpoint>),
    ("control", canonical::<Control>),
    ("epoch_message", canonical::<EpochMessage>),
    ("handshake", canonical::<Message>),
    ("heartbeat", canonical::<Heartbeat>),
    ("heartbeat_answer", canonical::<HeartbeatAnswer>),
    ("latest_header", canonical::<LatestHeader>),
    ("notice", canonical::<Notice>),
    ("private", canonical::<Private>),
    ("roster", canonical::<Roster>),
    ("session_record", canonical::<SessionRecord>),
    ("tombstone", canonical::<Tombstone>),
    ("lsa", canonical::<Lsa>),
    ("membership", canonical::<Membership>),
    ("mesh_message", canonical::<MeshMessage>),
    ("trunk_header", canonical::<TrunkHeader>),
    ("trunk_frame", canonical::<TrunkFrame>),
    ("trunk_unit", trunk_unit),
];

/// Runs one target.
#[allow(dead_code)] // the binaries' way in; the tests walk the table
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect("a name of the table");
    target(bytes);
}

/// One value of `T`: decodes to what encodes to the same bytes.
pub fn canonical<T: Wire>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes, "two encodings of one value");
    }
}

/// A whole frame of any type.
pub fn frame(bytes: &[u8]) {
    let Ok(Some(header)) = FrameHeader::peek(bytes) else { return };
    let Some(whole) = bytes.get(..header.frame_length()) else { return };
    let body = &whole[proto_spec::frame::HEADER_LENGTH..];
    let mut out = Vec::new();
    if header.frame_type == FrameType::Data {
        let Ok((data, packet)) = DataHeader::parse(body) else { return };
        data.put(&mut out, |out| out.extend_from_slice(packet));
    } else {
        let Ok(frame) = ControlFrame::decode(header.frame_type, body) else { return };
        frame.put(&mut out);
    }
    assert_eq!(out, whole, "two encodings of one frame");
}

/// The header of an MPSL record.
pub fn record_header(bytes: &[u8]) {
    canonical::<RecordHeader>(bytes);
}

/// A ticket's payload and footer.
pub fn claims(bytes: &[u8]) {
    if let Ok(claims) = serde_json::from_slice::<Claims>(bytes) {
        let text = serde_json::to_vec(&claims).expect("plain data");
        assert_eq!(serde_json::from_slice::<Claims>(&text).expect("our own claims"), claims);
    }
    let _ = serde_json::from_slice::<Footer>(bytes);
}

/// An invite file.
pub fn invite(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(invite) = Invite::parse(text) {
        assert_eq!(Invite::parse(&invite.to_text()).expect("our own invite"), invite);
    }
}

/// A probe.
pub fn probe_question(bytes: &[u8]) {
    let Some(question) = bytes.first_chunk() else { return };
    if let Some(answer) = probe::answer(question) {
        assert_eq!(answer[8..], question[8..]);
    }
}

/// A pairwise packet as far as it is in the clear.
pub fn pairwise(bytes: &[u8]) {
    if let Ok((header, sealed)) = PairwiseHeader::split(bytes) {
        assert_eq!([&header.to_array()[..], sealed].concat(), bytes);
    }
}

/// A unit of a data connection between nodes.
pub fn trunk_unit(bytes: &[u8]) {
    let Ok(unit) = Unit::parse(bytes) else { return };
    let mut out = Vec::new();
    Unit::put_head(&mut out, &unit.header, unit.run_length);
    let run_at = bytes.len() - unit.run_length;
    assert_eq!(out, bytes[..run_at], "two encodings of one head");
    assert!(unit.frames >= 1 && unit.run_length > 0);
}
