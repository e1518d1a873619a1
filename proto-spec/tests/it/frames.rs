//! Golden frames, made from the clauses by an independent script \[FRM-1\], \[FRM-5\], \[FRM-10\], \[CON-1\].

use proto_spec::frame::{
    Attached, ControlFrame, Credit, DataHeader, Destination, Ended, ErrorFrame, FrameHeader, FrameType,
    Hello, Move, PathHint, Peer, PeerState, Ping, Presence, Redirect, Replace, TicketFrame,
};
use proto_spec::ticket::TicketKind;
use proto_spec::{AttachSeq, NodeNumber, Refusal, SenderNumber, TrafficClass};
use serde_json::Value;

fn integer(vector: &Value, key: &str) -> u64 {
    vector[key].as_u64().unwrap_or_else(|| panic!("{key} in {vector}"))
}

fn string(vector: &Value, key: &str) -> String {
    vector[key].as_str().unwrap_or_else(|| panic!("{key} in {vector}")).to_owned()
}

fn number(value: u64) -> SenderNumber {
    SenderNumber::new(value as u16).unwrap()
}

fn peer(value: &Value) -> Peer {
    let state = [PeerState::Gone, PeerState::Active, PeerState::Standby, PeerState::Lobby];
    Peer { number: number(value[0].as_u64().unwrap()), state: state[value[1].as_u64().unwrap() as usize] }
}

fn addresses(vector: &Value) -> Vec<String> {
    vector["addresses"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()).collect()
}

fn control(vector: &Value) -> ControlFrame {
    let seq = || AttachSeq(integer(vector, "attach_seq"));
    let refusal = || Refusal::from_code(integer(vector, "refusal") as u16).unwrap();
    match string(vector, "name").as_str() {
        "hello" => ControlFrame::Hello(Hello {
            version_min: integer(vector, "version_min") as u16,
            version_max: integer(vector, "version_max") as u16,
            software: string(vector, "software"),
        }),
        "ticket" => ControlFrame::Ticket(TicketFrame {
            ticket: string(vector, "ticket"),
            attach_seq: seq(),
            standby: vector["standby"].as_bool().unwrap(),
            proof: [0x5a; 64],
        }),
        "attached" => ControlFrame::Attached(Attached {
            session: string(vector, "session").parse().unwrap(),
            number: number(integer(vector, "number")),
            kind: TicketKind::from_u8(integer(vector, "kind") as u8).unwrap(),
            attach_seq: seq(),
            ping_ms: integer(vector, "ping_ms") as u32,
            peers: vector["peers"].as_array().unwrap().iter().map(peer).collect(),
        }),
        "redirect" => ControlFrame::Redirect(Redirect { addresses: addresses(vector) }),
        "activate" => ControlFrame::Activate(seq()),
        "ready" => ControlFrame::Ready(seq()),
        "credit" => ControlFrame::Credit(Credit {
            class: TrafficClass::from_u8(integer(vector, "class") as u8).unwrap(),
            limit_bytes: integer(vector, "limit_bytes"),
        }),
        "ping" => ControlFrame::Ping(Ping { token: integer(vector, "token") }),
        "pong" => ControlFrame::Pong(Ping { token: integer(vector, "token") }),
        "presence" => ControlFrame::Presence(Presence { peer: peer(&vector["peer"]) }),
        "path_hint" => {
            ControlFrame::PathHint(PathHint { node: NodeNumber::new(integer(vector, "node") as u16) })
        }
        "move" => ControlFrame::Move(Move {
            deadline_ms: integer(vector, "deadline_ms") as u32,
            addresses: addresses(vector),
        }),
        "ended" => ControlFrame::Ended(Ended {
            reason: refusal(),
            number: SenderNumber::new(integer(vector, "number") as u16),
        }),
        "error" => ControlFrame::Error(ErrorFrame {
            refusal: refusal(),
            retry_after_ms: integer(vector, "retry_after_ms") as u32,
        }),
        "detach" => ControlFrame::Detach,
        other => panic!("no such frame: {other}"),
    }
}

fn check_data(vector: &Value, bytes: &[u8]) {
    let expected = DataHeader {
        class: TrafficClass::from_u8(integer(vector, "class") as u8).unwrap(),
        sender: number(integer(vector, "sender")),
        destination: match vector["to"].as_array() {
            None => Destination::All,
            Some(list) => {
                Destination::Members(list.iter().map(|member| number(member.as_u64().unwrap())).collect())
            }
        },
        replace: vector["replace"].as_array().map(|parts| Replace {
            key: parts[0].as_u64().unwrap() as u16,
            update: parts[1].as_u64().unwrap() as u32,
            last: parts[2].as_bool().unwrap(),
        }),
    };
    let packet = hex::decode(string(vector, "packet")).unwrap();
    let (header, body) = DataHeader::parse(&bytes[proto_spec::frame::HEADER_LENGTH..]).unwrap();
    assert_eq!((&header, body), (&expected, packet.as_slice()));
    let mut out = Vec::new();
    expected.put(&mut out, |out| out.extend_from_slice(&packet));
    assert_eq!(out, bytes, "{vector}");
}

#[test]
fn golden_frames_decode_to_their_fields_and_encode_to_their_bytes() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../vectors/frames.json")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for vector in &vectors {
        let bytes = hex::decode(string(vector, "hex")).unwrap();
        let header = FrameHeader::peek(&bytes).unwrap().unwrap();
        assert_eq!(header.frame_length(), bytes.len(), "{vector}");
        seen.insert(header.frame_type);
        if header.frame_type == FrameType::Data {
            check_data(vector, &bytes);
            continue;
        }
        let expected = control(vector);
        assert_eq!(ControlFrame::decode(header.frame_type, &bytes[4..]).unwrap(), expected, "{vector}");
        let mut out = Vec::new();
        expected.put(&mut out);
        assert_eq!(out, bytes, "{vector}");
    }
    assert_eq!(seen.len(), FrameType::ALL.len(), "a frame type has no vector");
}
