//! Each limit is tested at the limit and one past it.

use proto_spec::frame::{
    Attached, BODY_LENGTH_MAX, CONTROL_BODY_LENGTH_MAX, ControlFrame, DESTINATIONS_MAX, DataHeader,
    Destination, FRAME_LENGTH_MAX, FrameHeader, FrameType, Hello, attach_proof_message, ticket_call_message,
};
use proto_spec::packet::{PacketKind, RecordHeader};
use proto_spec::{
    AttachSeq, DecodeError, EpochId, NodeNumber, Reader, SenderNumber, SessionId, SessionNumber, Wire,
};

fn header(frame_type: FrameType, body_length: usize) -> Result<Option<FrameHeader>, DecodeError> {
    let length = (body_length as u32).to_be_bytes();
    FrameHeader::peek(&[frame_type as u8, length[1], length[2], length[3]])
}

/// [FRM-2], [FRM-4]: refused by the header alone.
#[test]
fn frame_lengths_end_where_the_clause_says() {
    assert_eq!(header(FrameType::Data, BODY_LENGTH_MAX).unwrap().unwrap().frame_length(), FRAME_LENGTH_MAX);
    assert!(matches!(header(FrameType::Data, BODY_LENGTH_MAX + 1), Err(DecodeError::TooLong { .. })));
    assert!(header(FrameType::Ticket, CONTROL_BODY_LENGTH_MAX).is_ok());
    assert!(matches!(
        header(FrameType::Ticket, CONTROL_BODY_LENGTH_MAX + 1),
        Err(DecodeError::TooLong { .. })
    ));
    assert_eq!(FrameHeader::peek(&[0x10, 0, 0]), Ok(None), "three bytes are no header yet");
}

/// [FRM-3]: every byte that the registry does not hold is refused.
#[test]
fn unknown_frame_types_are_refused() {
    for value in 0..=u8::MAX {
        let known = FrameType::ALL.iter().any(|kind| *kind as u8 == value);
        assert_eq!(FrameHeader::peek(&[value, 0, 0, 0]).is_ok(), known, "{value:#x}");
    }
}

/// [FRM-6]: the newest version that both ranges hold.
#[test]
fn versions_meet_at_the_newest_common_one() {
    let hello = |version_min, version_max| Hello { version_min, version_max, software: "test".into() };
    assert_eq!(hello(1, 3).common_version(&hello(2, 9)), Some(3));
    assert_eq!(hello(1, 1).common_version(&hello(1, 1)), Some(1));
    assert_eq!(hello(1, 1).common_version(&hello(2, 3)), None);
    assert_eq!(Hello::from_bytes(&hello(3, 2).to_bytes()), Err(DecodeError::Malformed("version range")));
}

/// [FRM-10], [FRM-11], [FRM-12]: lists of 1 to 50, replace keys on screen alone, no reserved bit, a packet.
#[test]
fn data_headers_outside_the_clause_are_refused() {
    let list = |count: usize| {
        let mut body = vec![0x18, 0, 1, count as u8];
        (0..count).for_each(|member| body.extend_from_slice(&(member as u16 + 1).to_be_bytes()));
        body.push(b'x');
        body
    };
    let (parsed, packet) = DataHeader::parse(&list(DESTINATIONS_MAX)).map(|(h, p)| (h, p.to_vec())).unwrap();
    assert!(matches!(parsed.destination, Destination::Members(members) if members.len() == DESTINATIONS_MAX));
    assert_eq!(packet, b"x");
    assert!(matches!(DataHeader::parse(&list(DESTINATIONS_MAX + 1)), Err(DecodeError::TooLong { .. })));
    assert!(DataHeader::parse(&list(0)).is_err(), "empty list");
    for (what, body) in [
        ("class 4", &[0x40, 0, 1, b'x'][..]),
        ("reserved bit", &[0x11, 0, 1, b'x']),
        ("sender 0", &[0x10, 0, 0, b'x']),
        ("no packet", &[0x10, 0, 1]),
        ("last without replace", &[0x12, 0, 1, b'x']),
        ("replace on chat", &[0x14, 0, 1, 0, 0, 0, 0, 0, 0, b'x']),
        ("screen without replace", &[0x20, 0, 1, b'x']),
        ("member 0", &[0x18, 0, 1, 1, 0, 0, b'x']),
        ("cut in the list", &[0x18, 0, 1, 2, 0, 5]),
    ] {
        assert!(DataHeader::parse(body).is_err(), "{what}");
    }
}

/// [CON-2]: nothing after the last field, and every cut of a valid body is refused.
#[test]
fn bodies_have_exactly_one_length() {
    let attached = Attached::from_bytes(&{
        let mut body = vec![7; 16];
        body.extend_from_slice(&[0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 58, 152, 1, 0, 1, 1]);
        body
    })
    .unwrap();
    let bytes = attached.to_bytes();
    for cut in 0..bytes.len() {
        assert!(Attached::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut long = bytes.clone();
    long.push(0);
    assert_eq!(Attached::from_bytes(&long), Err(DecodeError::Trailing(1)));
    assert!(ControlFrame::decode(FrameType::Detach, &[0]).is_err());
}

/// [CON-3]: a length above its limit is refused although the bytes are missing: nothing waited, nothing allocated.
#[test]
fn lengths_are_refused_before_the_bytes_are_there() {
    let too_long = (Hello::SOFTWARE_LENGTH_MAX as u16 + 1).to_be_bytes();
    let hello = [&[0, 1, 0, 1][..], &too_long].concat();
    assert!(matches!(Hello::from_bytes(&hello), Err(DecodeError::TooLong { .. })));
    let at_limit = [&[0, 1, 0, 1, 0, 64][..], &[b'a'; 64]].concat();
    assert!(Hello::from_bytes(&at_limit).is_ok());
}

/// [CON-4]: control characters and broken UTF-8 are refused.
#[test]
fn text_is_clean() {
    for bad in [&b"\x1b[2J"[..], b"a\nb", b"\xff\xfe", "\u{85}".as_bytes()] {
        let bytes = [&(bad.len() as u16).to_be_bytes()[..], bad].concat();
        assert_eq!(Reader::new(&bytes).text("name", 64), Err(DecodeError::Malformed("name")), "{bad:?}");
    }
}

/// [ID-1], [ID-2], [ID-3]: 0 is no number, and ids read back as they print.
#[test]
fn identifiers_refuse_what_they_cannot_be() {
    assert!(SenderNumber::new(0).is_none() && NodeNumber::new(0).is_none());
    assert!(SenderNumber::from_bytes(&[0, 0]).is_err() && NodeNumber::from_bytes(&[0, 0]).is_err());
    assert_eq!(NodeNumber::from_bytes(&[255, 255]).unwrap().value(), u16::MAX);
    let session = SessionId(*b"0123456789abcdef");
    assert_eq!(session.to_string().parse(), Ok(session));
    for bad in ["", "00", &"0".repeat(33), &"g".repeat(32), &"é".repeat(16)] {
        assert!(bad.parse::<SessionId>().is_err(), "{bad}");
    }
    assert!(SessionNumber::new(99_999_999).is_none() && SessionNumber::new(1_000_000_000).is_none());
    assert_eq!(SessionNumber::new(483_920_017).unwrap().to_string(), "483-920-017");
}

/// [PKT-2], [CON-1]: kinds outside the registry are none, and a record header is big-endian, field by field.
#[test]
fn packet_and_record_headers() {
    for value in 0..=u8::MAX {
        assert_eq!(PacketKind::from_u8(value).is_some(), (1..=3).contains(&value));
    }
    let bytes: [u8; RecordHeader::LENGTH] =
        [1, 0x11, 0, 5, 0, 2, 0, 3, 0, 0, 0, 9, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 1, 0];
    let header = RecordHeader::from_bytes(&bytes).unwrap();
    assert_eq!(header.sender, SenderNumber::new(5).unwrap());
    assert_eq!(header.epoch, EpochId { term: 2, leader: SenderNumber::new(3).unwrap(), count: 9 });
    assert_eq!((header.stream.0, header.counter), (16, 256));
    assert_eq!(header.to_array(), bytes);
    for (at, value) in [(1, 0x41), (1, 0x13), (3, 0), (7, 0)] {
        let mut bad = bytes;
        bad[at] = value;
        assert!(RecordHeader::from_bytes(&bad).is_err(), "byte {at} as {value:#x}");
    }
}

/// Proof messages bind label, connection, ticket and sequence: no two inputs share one.
#[test]
fn proof_messages_differ_in_every_input() {
    let messages = [
        attach_proof_message(&[1; 32], &[2; 32], AttachSeq(3)),
        attach_proof_message(&[2; 32], &[2; 32], AttachSeq(3)),
        attach_proof_message(&[1; 32], &[1; 32], AttachSeq(3)),
        attach_proof_message(&[1; 32], &[2; 32], AttachSeq(4)),
        ticket_call_message(&[1; 32], &[2; 32]),
    ];
    for (at, message) in messages.iter().enumerate() {
        assert!(!messages[at + 1..].contains(message));
    }
}
