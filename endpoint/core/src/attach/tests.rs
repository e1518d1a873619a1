//! One attachment against a node that is played by hand.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto_spec::frame::{
    Attached, ControlFrame, Credit, DataHeader, Destination, ErrorFrame, FrameHeader, FrameType,
    HEADER_LENGTH, Hello, Ping,
};
use proto_spec::ticket::TicketKind;
use proto_spec::{AttachSeq, Now, Refusal, SenderNumber, SessionId, Timestamp, TrafficClass, WallTime};

use super::*;

fn at(ms: u64) -> Now {
    Now { mono: Timestamp(Duration::from_millis(ms)), wall: WallTime(ms) }
}

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn key() -> AttachKey {
    AttachKey::from_seed(&[3; 32])
}

fn client() -> AttachClient {
    AttachClient::new(at(0), [9; 32], AttachSeq(4), false, Some(number(1)), "v4.public.x", &key())
}

fn bytes(frames: &[ControlFrame]) -> BytesMut {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.put(&mut out));
    out.as_slice().into()
}

fn attached(kind: TicketKind) -> ControlFrame {
    ControlFrame::Attached(Attached {
        session: SessionId([1; 16]),
        number: number(2),
        kind,
        attach_seq: AttachSeq(4),
        ping_ms: 15_000,
        peers: vec![],
    })
}

fn credit(class: TrafficClass, limit_bytes: u64) -> ControlFrame {
    ControlFrame::Credit(Credit { class, limit_bytes })
}

fn header(class: TrafficClass, destination: Destination) -> DataHeader {
    DataHeader { class, sender: number(2), destination, replace: None }
}

/// All frames that may go now.
fn frames(client: &mut AttachClient) -> Vec<(FrameType, Vec<u8>)> {
    let mut out = Vec::new();
    while client.poll_transmit(&mut out, 64 * 1024) {}
    let mut rest = out.as_slice();
    let mut frames = Vec::new();
    while let Some(header) = FrameHeader::peek(rest).unwrap() {
        frames.push((header.frame_type, rest[HEADER_LENGTH..header.frame_length()].to_vec()));
        rest = &rest[header.frame_length()..];
    }
    frames
}

fn types(client: &mut AttachClient) -> Vec<FrameType> {
    frames(client).into_iter().map(|(frame_type, _)| frame_type).collect()
}

/// \[ATT-4\] \[ATT-5\]: the first frame is the ticket, with a proof over this connection.
#[test]
fn the_ticket_is_proved() {
    use ed25519_dalek::{Signature, VerifyingKey};
    let mut client = client();
    let sent = frames(&mut client);
    assert_eq!(sent.len(), 1);
    let ControlFrame::Ticket(frame) = ControlFrame::decode(sent[0].0, &sent[0].1).unwrap() else { panic!() };
    use sha2::Digest;
    let hash: [u8; 32] = sha2::Sha256::digest(b"v4.public.x").into();
    let message = proto_spec::frame::attach_proof_message(&[9; 32], &hash, AttachSeq(4));
    let verifying = VerifyingKey::from_bytes(&key().public()).unwrap();
    verifying.verify_strict(&message, &Signature::from_bytes(&frame.proof)).unwrap();
    let other = proto_spec::frame::attach_proof_message(&[8; 32], &hash, AttachSeq(4));
    assert!(verifying.verify_strict(&other, &Signature::from_bytes(&frame.proof)).is_err());
}

/// \[FLW-1\]: nothing goes without credit, the limit is cumulative and never falls.
#[test]
fn credit_is_kept() {
    let mut client = client();
    client.receive(at(1), bytes(&[attached(TicketKind::Member)]));
    let packet = Bytes::from(vec![3; 100]);
    let length = (HEADER_LENGTH + 3 + 100) as u64;
    for _ in 0..3 {
        client.send(header(TrafficClass::Bulk, Destination::All), packet.clone());
    }
    assert_eq!(types(&mut client), [FrameType::Ticket]);
    client.receive(
        at(2),
        bytes(&[credit(TrafficClass::Bulk, length - 1), credit(TrafficClass::Control, 1 << 20)]),
    );
    assert_eq!(types(&mut client), []);
    client.receive(at(3), bytes(&[credit(TrafficClass::Bulk, 2 * length), credit(TrafficClass::Bulk, 1)]));
    assert_eq!(types(&mut client), [FrameType::Data; 2]);
    assert_eq!(client.queued_bytes(TrafficClass::Bulk), length as usize);
    client.receive(at(4), bytes(&[credit(TrafficClass::Bulk, 3 * length)]));
    assert_eq!(types(&mut client), [FrameType::Data]);
    assert!(client.is_drained());
}

/// \[SES-4\]: a guest sends to the leader alone; the rest waits until it is a member.
#[test]
fn a_guest_speaks_to_the_leader_alone() {
    let mut client = client();
    client.receive(at(1), bytes(&[attached(TicketKind::Lobby), credit(TrafficClass::Control, 1 << 20)]));
    let packet = Bytes::from_static(b"p");
    client.send(header(TrafficClass::Control, Destination::All), packet.clone());
    client.send(header(TrafficClass::Control, Destination::one(number(3))), packet.clone());
    client.send(header(TrafficClass::Control, Destination::one(number(1))), packet);
    assert_eq!(types(&mut client), [FrameType::Ticket, FrameType::Data]);
    client.present("v4.public.y", &key());
    assert_eq!(types(&mut client), [FrameType::Ticket]);
    client.receive(at(2), bytes(&[attached(TicketKind::Member)]));
    assert_eq!(types(&mut client), [FrameType::Data; 2]);
}

/// \[FWD-5\]: every class has its share of each write, control first.
#[test]
fn no_class_starves() {
    let mut client = client();
    client.receive(at(1), bytes(&[attached(TicketKind::Member)]));
    for class in TrafficClass::ALL {
        client.receive(at(1), bytes(&[credit(class, 1 << 30)]));
    }
    let packet = Bytes::from(vec![0; 1_000]);
    for _ in 0..500 {
        for class in [TrafficClass::Bulk, TrafficClass::Interactive, TrafficClass::Control] {
            client.send(header(class, Destination::All), packet.clone());
        }
    }
    let mut out = Vec::new();
    assert!(client.poll_transmit(&mut out, 48 * 1024));
    let mut counts = [0; 4];
    let mut rest = out.as_slice();
    while let Some(header) = FrameHeader::peek(rest).unwrap() {
        if header.frame_type == FrameType::Data {
            let (data, _) = DataHeader::parse(&rest[HEADER_LENGTH..header.frame_length()]).unwrap();
            counts[data.class as usize] += 1;
        }
        rest = &rest[header.frame_length()..];
    }
    assert!(counts[0] > counts[1] && counts[1] > counts[3] && counts[3] > 0, "{counts:?}");
}

/// \[FLW-3\]: pings are answered; a silent node is asked, and given up after three.
#[test]
fn silence_ends_it() {
    let mut client = client();
    client.receive(at(0), bytes(&[attached(TicketKind::Member), ControlFrame::Ping(Ping { token: 7 })]));
    assert_eq!(types(&mut client), [FrameType::Ticket, FrameType::Pong]);
    while client.poll_event().is_some() {}
    for ping in 1..=3u64 {
        assert_eq!(client.poll_timeout(), Some(at(15_000 * ping).mono));
        client.handle_timeout(at(15_000 * ping));
        assert_eq!(types(&mut client), [FrameType::Ping]);
    }
    client.handle_timeout(at(59_999));
    assert_eq!(client.poll_event(), None);
    client.handle_timeout(at(60_000));
    assert_eq!(client.poll_event(), Some(AttachEvent::Lost(Lost::Silent)));
    assert_eq!(client.poll_timeout(), None);
}

/// \[ATT-3\]: a node that never answers the ticket is given up.
#[test]
fn an_unanswered_ticket_ends_it() {
    let mut client = client();
    client.handle_timeout(at(9_999));
    assert_eq!(client.poll_event(), None);
    client.handle_timeout(at(10_000));
    assert_eq!(client.poll_event(), Some(AttachEvent::Lost(Lost::Silent)));
}

/// \[ERR-1\]: what a node may not send ends the attachment, what it says is passed on.
#[test]
fn a_node_that_breaks_the_protocol_is_left() {
    for frame in [
        ControlFrame::Detach,
        ControlFrame::Hello(Hello::ours("node")),
        ControlFrame::Attached(Attached {
            session: SessionId([1; 16]),
            number: number(2),
            kind: TicketKind::Member,
            attach_seq: AttachSeq(5),
            ping_ms: 1,
            peers: vec![],
        }),
    ] {
        let mut client = client();
        client.receive(at(0), bytes(&[frame]));
        assert!(matches!(client.poll_event(), Some(AttachEvent::Lost(Lost::Violated(_)))));
        client.receive(at(1), bytes(&[attached(TicketKind::Member)]));
        assert_eq!(client.poll_event(), None, "nothing is heard after that");
    }
    let mut long = client();
    long.receive(at(0), [0x10u8, 0xff, 0xff, 0xff].as_slice().into());
    assert!(matches!(long.poll_event(), Some(AttachEvent::Lost(Lost::Violated(_)))));
    let mut refused = client();
    let error = ErrorFrame { refusal: Refusal::TicketExpired, retry_after_ms: 0 };
    refused.receive(at(0), bytes(&[ControlFrame::Error(error)]));
    let Some(AttachEvent::Lost(lost)) = refused.poll_event() else { panic!() };
    assert_eq!(lost.fatal(), Some(Refusal::TicketExpired));
}

/// Frames may come in any pieces.
#[test]
fn frames_are_read_across_chunks() {
    let mut data = Vec::new();
    header(TrafficClass::Interactive, Destination::All)
        .put(&mut data, |out| out.extend_from_slice(b"packet"));
    let mut stream = bytes(&[attached(TicketKind::Member)]).to_vec();
    stream.extend_from_slice(&data);
    let mut client = client();
    for byte in stream {
        client.receive(at(0), [byte].as_slice().into());
    }
    assert!(matches!(client.poll_event(), Some(AttachEvent::Attached(_))));
    let Some(AttachEvent::Data { header, packet }) = client.poll_event() else { panic!() };
    assert_eq!((header.class, &packet[..]), (TrafficClass::Interactive, &b"packet"[..]));
}

/// \[ATT-7\] \[ATT-13\]: a standby says so, is activated under a higher sequence, and renews as what it is.
#[test]
fn a_standby_is_activated() {
    let mut client =
        AttachClient::new(at(0), [9; 32], AttachSeq(4), true, Some(number(1)), "v4.public.x", &key());
    client.receive(at(1), bytes(&[attached(TicketKind::Member), credit(TrafficClass::Control, 1 << 20)]));
    client.present("v4.public.y", &key());
    client.activate(AttachSeq(6));
    client.activate(AttachSeq(7));
    client.send(header(TrafficClass::Control, Destination::All), Bytes::from_static(b"p"));
    client.present("v4.public.z", &key());
    let tickets = |frames: &[(FrameType, Vec<u8>)]| {
        let ticket = |(frame_type, body): &(FrameType, Vec<u8>)| match ControlFrame::decode(*frame_type, body)
        {
            Ok(ControlFrame::Ticket(frame)) => Some((frame.attach_seq, frame.standby)),
            _ => None,
        };
        frames.iter().filter_map(ticket).collect::<Vec<_>>()
    };
    let sent = frames(&mut client);
    assert_eq!(
        tickets(&sent),
        [(AttachSeq(4), true), (AttachSeq(4), true), (AttachSeq(6), false)],
        "each is what the node knows it as when it comes there"
    );
    let order: Vec<_> = sent.iter().map(|(frame_type, _)| *frame_type).collect();
    assert_eq!(order.iter().filter(|of| **of == FrameType::Activate).count(), 1);
    assert_eq!(order.last(), Some(&FrameType::Data), "data goes behind the activation");
    // The answer to the ticket before the activation may come after it.
    while client.poll_event().is_some() {}
    client.receive(at(2), bytes(&[attached(TicketKind::Member)]));
    assert!(matches!(client.poll_event(), Some(AttachEvent::Attached(_))));
}

/// \[SES-18\]: a ping measures the round trip, and any byte counts as heard.
#[test]
fn round_trips_are_measured() {
    let mut client = client();
    client.receive(at(1), bytes(&[attached(TicketKind::Member)]));
    client.ping(at(10));
    let heard = client.heard();
    client.receive(at(25), bytes(&[ControlFrame::Pong(Ping { token: 99 })]));
    assert_eq!((client.round_trip(), client.heard()), (None, heard + 1));
    client.receive(at(30), bytes(&[ControlFrame::Pong(Ping { token: 1 })]));
    assert_eq!(client.round_trip(), Some(Duration::from_millis(20)));
}

/// \[SES-17\]: what waits in the small classes is taken along.
#[test]
fn what_waits_is_given_back() {
    let mut client = client();
    client.receive(at(1), bytes(&[attached(TicketKind::Member)]));
    for class in [TrafficClass::Bulk, TrafficClass::Interactive, TrafficClass::Control] {
        client.send(header(class, Destination::All), Bytes::from_static(b"p"));
    }
    let classes: Vec<_> = client.take_waiting().into_iter().map(|(header, _)| header.class).collect();
    assert_eq!(classes, [TrafficClass::Control, TrafficClass::Interactive]);
    assert_eq!(client.queued_bytes(TrafficClass::Control), 0);
}

/// \[FRM-6\]: versions, refusals and strangers in the greeting.
#[test]
fn a_greeting_finds_a_node() {
    let greet = |frame: &ControlFrame| Greeting::new("test").receive(&bytes(std::slice::from_ref(frame)));
    assert!(greet(&ControlFrame::Hello(Hello::ours("node"))).unwrap().is_some());
    let newer = Hello { version_min: 9, version_max: 9, software: String::new() };
    assert_eq!(greet(&ControlFrame::Hello(newer)), Err(GreetError::Version));
    let full = ErrorFrame { refusal: Refusal::NodeFull, retry_after_ms: 0 };
    assert_eq!(greet(&ControlFrame::Error(full)), Err(GreetError::Refused(Refusal::NodeFull)));
    assert!(matches!(greet(&ControlFrame::Detach), Err(GreetError::NotANode(_))));
    assert!(matches!(Greeting::new("test").receive(b"HTTP/1.1 400"), Err(GreetError::NotANode(_))));
    let mut greeting = Greeting::new("test");
    let mut answer = bytes(&[ControlFrame::Hello(Hello::ours("node")), attached(TicketKind::Lobby)]);
    let rest = answer.split_off(7);
    assert_eq!(greeting.receive(&answer), Ok(None));
    let greeted = greeting.receive(&rest).unwrap().unwrap();
    assert_eq!(greeted.rest, bytes(&[attached(TicketKind::Lobby)]));
}
