use std::time::Duration;

use bytes::BytesMut;
use proto_spec::frame::{DataHeader, Destination, Replace, put_frame};
use proto_spec::ticket::Role;
use proto_spec::{SessionId, TrafficClass, WallTime};

use super::*;
use crate::ledger::NodeMemory;
use crate::run::Run;

fn at(ms: u64) -> Now {
    Now { mono: Timestamp(Duration::from_millis(ms)), wall: WallTime(1_000_000 + ms) }
}

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn claims(kind: TicketKind) -> Claims {
    Claims {
        mesh: "mesh".into(),
        session: SessionId([7; 16]),
        number: number(2),
        kind,
        role: Role::Customer,
        leader: number(1),
        attach_key: [9; 32],
        issued: WallTime(1_000_000),
        expires: WallTime(1_000_000 + 600_000),
        rate_bytes: 0,
        account: 0,
        nodes: Vec::new(),
    }
}

/// Drives one attachment as a shell would, with a registry that always says yes.
struct Harness {
    core: Attachment,
    ledger: Arc<Ledger>,
    buffer: BytesMut,
    sent: Vec<ControlFrame>,
    forwarded: Vec<Forward>,
    verdict: Result<Claims, Refusal>,
    /// What the registry says to a goodbye.
    grace: Option<Duration>,
}

impl Harness {
    fn new(change: impl FnOnce(&mut Limits)) -> Harness {
        let mut limits = Limits::default();
        change(&mut limits);
        let limits = Arc::new(limits);
        let memory = NodeMemory::new(limits.node_queue_bytes_max);
        let ledger = Ledger::new(&limits, memory, Box::new(|| {}));
        Harness {
            core: Attachment::new(limits, Arc::clone(&ledger), "test", at(0)),
            ledger,
            buffer: BytesMut::new(),
            sent: Vec::new(),
            forwarded: Vec::new(),
            verdict: Ok(claims(TicketKind::Member)),
            grace: None,
        }
    }

    fn member() -> Harness {
        let mut harness = Harness::new(|_| {});
        harness.attach(TicketKind::Member, false);
        harness
    }

    fn attach(&mut self, kind: TicketKind, standby: bool) {
        self.verdict = Ok(claims(kind));
        self.receive(at(1), &hello());
        self.receive(at(2), &ticket(1, standby));
        assert_eq!(self.core.close(), None);
        assert!(self.core.is_admitted());
    }

    fn receive(&mut self, now: Now, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let mut fresh = bytes.len();
        loop {
            let _ = self.core.handle_bytes(now, &mut self.buffer, fresh);
            self.drain(now);
            if !self.core.take_paused() {
                return;
            }
            fresh = 0;
        }
    }

    fn drain(&mut self, now: Now) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send(frame) => self.sent.push(frame),
                Output::Verify(_) => self.core.handle_verdict(now, self.verdict.clone()),
                Output::Join(request) | Output::Renew(request) => {
                    self.core.handle_joined(now, request.claims, Ok((Vec::new(), Vec::new())));
                }
                Output::Activate(seq) => self.core.handle_activated(seq, Ok(())),
                Output::Detach => self.core.handle_detached(now, self.grace),
                Output::Forward(forward) => self.forwarded.push(forward),
            }
        }
    }

    fn granted(&self, class: TrafficClass) -> u64 {
        let credits = self.sent.iter().filter_map(|frame| match frame {
            ControlFrame::Credit(credit) if credit.class == class => Some(credit.limit_bytes),
            _ => None,
        });
        credits.max().unwrap_or(0)
    }

    fn refusal(&self) -> Option<Refusal> {
        match self.core.close() {
            Some(Close::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

fn frame(frame: &ControlFrame) -> Vec<u8> {
    let mut out = Vec::new();
    frame.put(&mut out);
    out
}

fn hello() -> Vec<u8> {
    frame(&ControlFrame::Hello(Hello::ours("endpoint")))
}

fn ticket(seq: u64, standby: bool) -> Vec<u8> {
    frame(&ControlFrame::Ticket(TicketFrame {
        ticket: "v4.public.x".into(),
        attach_seq: AttachSeq(seq),
        standby,
        proof: [0; 64],
    }))
}

fn data(sender: u16, class: TrafficClass, destination: Destination, length: usize) -> Vec<u8> {
    let replace = (class == TrafficClass::Screen).then_some(Replace { key: 1, update: 1, last: true });
    let mut out = Vec::new();
    DataHeader { class, sender: number(sender), destination, replace }
        .put(&mut out, |out| out.resize(out.len() + length, 0xaa));
    out
}

/// [ATT-1] [ATT-6]: hello, ticket, attached, credit of every class, and ready when the session's nodes know.
#[test]
fn admission_in_order() {
    let mut harness = Harness::member();
    assert!(matches!(harness.sent[0], ControlFrame::Hello(_)));
    let ControlFrame::Attached(attached) = &harness.sent[1] else { panic!("{:?}", harness.sent) };
    assert_eq!((attached.number, attached.attach_seq, attached.ping_ms), (number(2), AttachSeq(1), 15_000));
    assert!(!harness.sent.iter().any(|frame| matches!(frame, ControlFrame::Ready(_))));
    harness.core.handle_ready(AttachSeq(0));
    harness.core.handle_ready(AttachSeq(1));
    harness.drain(at(3));
    let ready = harness.sent.iter().filter(|frame| matches!(frame, ControlFrame::Ready(_)));
    assert_eq!(ready.collect::<Vec<_>>(), [&ControlFrame::Ready(AttachSeq(1))]);
    for class in TrafficClass::ALL {
        assert_eq!(harness.granted(class), Limits::default().class(class).credit_bytes, "{class:?}");
    }
}

/// [ATT-1]: the same, byte by byte and all at once.
#[test]
fn segmentation_does_not_matter() {
    let mut pieces = Harness::new(|_| {});
    for byte in [hello(), ticket(1, false)].concat() {
        pieces.receive(at(1), &[byte]);
    }
    let mut whole = Harness::new(|_| {});
    whole.receive(at(1), &[hello(), ticket(1, false)].concat());
    assert_eq!(pieces.sent, whole.sent);
    assert!(whole.core.is_admitted());
}

/// [ATT-2]: every frame at a wrong moment is refused by its header alone.
#[test]
fn frames_out_of_order_are_refused() {
    let mut harness = Harness::new(|_| {});
    harness.receive(at(1), &ticket(1, false)[..4]);
    assert_eq!(harness.refusal(), Some(Refusal::OutOfOrder));
    for kind in [FrameType::Hello, FrameType::Attached, FrameType::Credit, FrameType::Move, FrameType::Ended]
    {
        let mut harness = Harness::member();
        let mut out = Vec::new();
        put_frame(&mut out, kind, |_| {});
        harness.receive(at(3), &out);
        assert_eq!(harness.refusal(), Some(Refusal::OutOfOrder), "{kind:?}");
    }
    let mut harness = Harness::new(|_| {});
    harness.receive(at(1), &hello());
    harness.receive(at(1), &data(2, TrafficClass::Bulk, Destination::All, 1));
    assert_eq!(harness.refusal(), Some(Refusal::OutOfOrder), "data before a ticket");
    assert!(harness.forwarded.is_empty());
}

/// [ATT-3] at the limit and one byte beyond.
#[test]
fn little_may_be_sent_before_a_ticket() {
    let mut harness = Harness::new(|_| {});
    harness.receive(at(1), &hello());
    let rest = ADMISSION_BYTES_MAX - hello().len();
    // The header of a ticket that would be just too long to be complete within the limit.
    let mut partial = vec![FrameType::Ticket as u8, 0, 0x10, 0];
    partial.resize(rest, b'x');
    harness.receive(at(1), &partial);
    assert_eq!(harness.refusal(), None);
    harness.receive(at(1), b"x");
    assert_eq!(harness.refusal(), Some(Refusal::TooLong));
}

/// [ATT-3]: ten seconds from the start, however busy the line.
#[test]
fn admission_has_a_deadline() {
    let mut harness = Harness::new(|_| {});
    harness.receive(at(9_000), &hello());
    assert_eq!(harness.core.deadline(), Some(at(10_000).mono));
    harness.core.handle_timeout(at(9_999));
    assert_eq!(harness.refusal(), None);
    harness.core.handle_timeout(at(10_000));
    assert_eq!(harness.refusal(), Some(Refusal::TooSlow));
}

/// [ATT-1]: no version in common is told as such, after our own hello.
#[test]
fn unknown_version_is_refused() {
    let mut harness = Harness::new(|_| {});
    let other = Hello { version_min: 900, version_max: 901, software: "later".into() };
    harness.receive(at(1), &frame(&ControlFrame::Hello(other)));
    assert_eq!(harness.refusal(), Some(Refusal::UnknownVersion));
    assert!(matches!(harness.sent[..], [ControlFrame::Hello(_)]));
}

/// [ATT-4]: a bad ticket ends the connection with its own reason; what follows it is never looked at.
#[test]
fn bad_tickets_end_the_connection() {
    for refusal in
        [Refusal::TicketExpired, Refusal::TicketForeign, Refusal::ProofWrong, Refusal::TicketMalformed]
    {
        let mut harness = Harness::new(|_| {});
        harness.verdict = Err(refusal);
        harness.receive(
            at(1),
            &[hello(), ticket(1, false), data(2, TrafficClass::Bulk, Destination::All, 9)].concat(),
        );
        assert_eq!(harness.refusal(), Some(refusal));
        assert!(harness.forwarded.is_empty() && !harness.core.is_admitted());
    }
}

/// [ATT-12]: the leader alone, 32 KiB in all, at the limit and one byte beyond.
#[test]
fn lobby_reaches_the_leader_alone_and_little() {
    let to_leader = || Destination::one(number(1));
    let mut harness = Harness::new(|_| {});
    harness.attach(TicketKind::Lobby, false);
    let length = data(2, TrafficClass::Control, to_leader(), 1).len() - 1;
    for _ in 0..4 {
        harness.receive(at(3), &data(2, TrafficClass::Control, to_leader(), 8 * 1024 - length));
    }
    assert_eq!(harness.refusal(), None);
    assert_eq!(harness.forwarded.len(), 4);
    harness.receive(at(3), &data(2, TrafficClass::Control, to_leader(), 1));
    assert_eq!(harness.refusal(), Some(Refusal::LobbyLimited));

    for destination in [Destination::All, Destination::one(number(3))] {
        let mut harness = Harness::new(|_| {});
        harness.attach(TicketKind::Lobby, false);
        harness.receive(at(3), &data(2, TrafficClass::Control, destination, 10));
        assert_eq!(harness.refusal(), Some(Refusal::LobbyLimited));
        assert!(harness.forwarded.is_empty());
    }
}

/// [ATT-13]: a second ticket turns the guest into a member; one for another place, or back to the lobby, is refused.
#[test]
fn second_ticket() {
    let mut harness = Harness::new(|_| {});
    harness.attach(TicketKind::Lobby, false);
    assert!(harness.core.is_guest());
    harness.verdict = Ok(claims(TicketKind::Member));
    harness.receive(at(5), &[ticket(1, false), data(2, TrafficClass::Bulk, Destination::All, 100)].concat());
    assert!(!harness.core.is_guest());
    assert_eq!(harness.forwarded.len(), 1, "what follows the ticket is sent as a member");

    harness.verdict = Ok(claims(TicketKind::Lobby));
    harness.receive(at(6), &ticket(1, false));
    assert_eq!(harness.refusal(), Some(Refusal::OutOfOrder));

    let mut harness = Harness::member();
    harness.verdict = Ok(Claims { number: number(3), ..claims(TicketKind::Member) });
    harness.receive(at(6), &ticket(1, false));
    assert_eq!(harness.refusal(), Some(Refusal::OutOfOrder));

    let mut harness = Harness::member();
    harness.receive(at(6), &ticket(2, false));
    assert_eq!(harness.refusal(), Some(Refusal::OutOfOrder), "another sequence is another attachment");
}

/// [ATT-13]: the attachment ends with its ticket, unless renewed.
#[test]
fn tickets_expire() {
    let mut harness = Harness::member();
    harness.verdict = Ok(Claims { expires: WallTime(1_000_000 + 700_000), ..claims(TicketKind::Member) });
    harness.receive(at(300_000), &ticket(1, false));
    for ms in [600_000, 610_000, 699_999] {
        harness.receive(at(ms), &frame(&ControlFrame::Ping(Ping { token: 1 })));
        harness.core.handle_timeout(at(ms));
    }
    assert_eq!(harness.refusal(), None);
    harness.core.handle_timeout(at(700_000));
    assert_eq!(harness.refusal(), Some(Refusal::TicketExpired));
}

/// [FWD-4]: a frame in another's name ends the connection; what came before it has gone on.
#[test]
fn another_senders_number_is_refused() {
    let mut harness = Harness::member();
    let bytes = [
        data(2, TrafficClass::Bulk, Destination::All, 10),
        data(3, TrafficClass::Bulk, Destination::All, 10),
    ];
    harness.receive(at(3), &bytes.concat());
    assert_eq!(harness.refusal(), Some(Refusal::WrongSender));
    assert_eq!(harness.forwarded.len(), 1);
}

/// [FWD-2]: frames of one class and destination travel as one run; another class, destination or update begins anew.
#[test]
fn frames_are_gathered_to_runs() {
    let mut harness = Harness::member();
    let bulk = data(2, TrafficClass::Bulk, Destination::All, 100);
    let one = data(2, TrafficClass::Bulk, Destination::one(number(4)), 100);
    let screen = data(2, TrafficClass::Screen, Destination::All, 100);
    let all = [&bulk[..], &bulk, &bulk, &one, &bulk, &screen, &screen].concat();
    harness.receive(at(3), &all);
    let frames: Vec<u32> = harness.forwarded.iter().map(|forward| forward.run.frames()).collect();
    assert_eq!(frames, [3, 1, 1, 1, 1], "a complete update ends its run");
    let joined: Vec<u8> = harness.forwarded.iter().flat_map(|forward| forward.run.bytes().to_vec()).collect();
    assert_eq!(joined, all, "relayed unchanged");
}

/// [FLW-1] at the limit and one byte beyond; [FLW-2]: queued bytes hold grants back, emptied queues release them.
#[test]
fn credit_follows_the_queues() {
    let share = Limits::default().bulk.credit_bytes;
    let mut harness = Harness::member();
    let packet = 16 * 1024 - (data(2, TrafficClass::Bulk, Destination::All, 1).len() - 1);
    for _ in 0..share / (16 * 1024) {
        harness.receive(at(3), &data(2, TrafficClass::Bulk, Destination::All, packet));
    }
    assert_eq!(harness.ledger.outstanding(TrafficClass::Bulk), share);
    assert_eq!(harness.granted(TrafficClass::Bulk), share, "everything waits: nothing more is granted");
    let half: Vec<Forward> = harness.forwarded.drain(..16).collect();
    drop(half);
    harness.core.grant(at(4));
    harness.drain(at(4));
    assert_eq!(harness.granted(TrafficClass::Bulk), share + share / 2);
    harness.forwarded.clear();
    harness.core.grant(at(5));
    harness.drain(at(5));
    assert_eq!(harness.granted(TrafficClass::Bulk), 2 * share);

    for _ in 0..share / (16 * 1024) {
        harness.receive(at(6), &data(2, TrafficClass::Bulk, Destination::All, packet));
    }
    assert_eq!(harness.refusal(), None);
    harness.receive(at(6), &data(2, TrafficClass::Bulk, Destination::All, 1));
    assert_eq!(harness.refusal(), Some(Refusal::CreditExceeded));
}

/// [FLW-4]: control is granted its burst and then its rate, whatever the endpoint does.
#[test]
fn control_keeps_to_its_rate() {
    let limits = Limits::default();
    let mut harness = Harness::member();
    let mut sent = 0u64;
    let mut send_all = |harness: &mut Harness, ms: u64| {
        while harness.granted(TrafficClass::Control) - sent >= 1_024 {
            let overhead = data(2, TrafficClass::Control, Destination::All, 1).len() - 1;
            harness.receive(at(ms), &data(2, TrafficClass::Control, Destination::All, 1_024 - overhead));
            harness.forwarded.clear();
            harness.core.grant(at(ms));
            harness.drain(at(ms));
            sent += 1_024;
        }
        sent
    };
    assert_eq!(send_all(&mut harness, 10), limits.control.burst_bytes);
    let mut ms = 10;
    while ms < 10_010 {
        ms = harness.core.deadline().unwrap().0.as_millis() as u64 + 1;
        harness.core.handle_timeout(at(ms));
        harness.drain(at(ms));
        send_all(&mut harness, ms);
    }
    let ten_seconds = send_all(&mut harness, ms) - limits.control.burst_bytes;
    assert!(ten_seconds <= limits.control.rate_bytes * (ms + 999) / 1_000, "{ten_seconds}");
    assert!(ten_seconds >= limits.control.rate_bytes * 8, "{ten_seconds}");
}

/// [FLW-4]: fan-out beyond a rate holds back droppable classes and nothing else.
#[test]
fn fan_out_debt_holds_grants_back() {
    let mut harness = Harness::new(|limits| limits.sender_fanout_rate_bytes = 1_000_000);
    harness.attach(TicketKind::Member, false);
    let before = harness.granted(TrafficClass::Bulk);
    let quarter = (before / 4) as usize;
    harness.core.charge(at(3), 200_000, 10);
    for _ in 0..4 {
        harness.receive(at(3), &data(2, TrafficClass::Bulk, Destination::All, quarter / 4));
    }
    harness.forwarded.clear();
    harness.core.grant(at(3));
    harness.drain(at(3));
    assert_eq!(harness.granted(TrafficClass::Bulk), before);
    harness.core.handle_timeout(at(1_100));
    harness.drain(at(1_100));
    assert!(harness.granted(TrafficClass::Bulk) > before);
}

/// [FLW-3]: pings are answered; silence is asked about, and three missed answers end the attachment.
#[test]
fn silence_is_asked_about() {
    let mut harness = Harness::member();
    harness.receive(at(3), &frame(&ControlFrame::Ping(Ping { token: 77 })));
    assert_eq!(harness.sent.last(), Some(&ControlFrame::Pong(Ping { token: 77 })));
    let mut pings = 0;
    while harness.refusal().is_none() {
        let due = harness.core.deadline().unwrap();
        let now = at(due.0.as_millis() as u64);
        harness.sent.clear();
        harness.core.handle_timeout(now);
        harness.drain(now);
        pings += harness.sent.iter().filter(|frame| matches!(frame, ControlFrame::Ping(_))).count();
    }
    assert_eq!((pings, harness.refusal()), (3, Some(Refusal::TooSlow)));
}

/// [FLW-6]: a frame that has begun must end in time, even when bytes trickle.
#[test]
fn a_trickling_frame_is_refused() {
    let mut harness = Harness::member();
    let bytes = data(2, TrafficClass::Bulk, Destination::All, 1_000);
    for second in 0..20u64 {
        harness.receive(at(1_000 + second * 1_000), &bytes[second as usize..second as usize + 1]);
        harness.core.handle_timeout(at(1_000 + second * 1_000));
    }
    assert_eq!(harness.refusal(), None);
    harness.core.handle_timeout(at(21_000));
    assert_eq!(harness.refusal(), Some(Refusal::TooSlow));
}

/// [FLW-6]: a socket that takes nothing for twenty seconds is given up, resumable.
#[test]
fn a_stuck_writer_is_given_up() {
    let mut harness = Harness::member();
    harness.core.handle_write(at(1_000), false, true);
    harness.core.handle_write(at(5_000), true, true);
    harness.core.handle_timeout(at(24_999));
    assert_eq!(harness.refusal(), None);
    harness.core.handle_timeout(at(25_000));
    assert_eq!(harness.refusal(), Some(Refusal::FellBehind));
    assert!(Refusal::FellBehind.resumable());
}

/// [ATT-7]: a standby sends nothing until it is activated.
#[test]
fn a_standby_waits() {
    let mut harness = Harness::new(|_| {});
    harness.attach(TicketKind::Member, true);
    assert!(!harness.sent.contains(&ControlFrame::Ready(AttachSeq(1))));
    harness.receive(
        at(3),
        &[frame(&ControlFrame::Activate(AttachSeq(2))), data(2, TrafficClass::Bulk, Destination::All, 9)]
            .concat(),
    );
    assert_eq!(harness.refusal(), None);
    assert!(
        !harness.sent.contains(&ControlFrame::Ready(AttachSeq(2))),
        "not before the session's nodes know"
    );
    harness.core.handle_ready(AttachSeq(2));
    harness.drain(at(4));
    assert!(harness.sent.contains(&ControlFrame::Ready(AttachSeq(2))));
    assert_eq!(harness.forwarded.len(), 1);

    let mut harness = Harness::new(|_| {});
    harness.attach(TicketKind::Member, true);
    harness.receive(at(3), &data(2, TrafficClass::Bulk, Destination::All, 9));
    assert_eq!(harness.refusal(), Some(Refusal::OutOfOrder));
}

/// [FLW-4]: a flood of pings is refused, an ordinary one is not.
#[test]
fn control_frames_are_rated() {
    let mut harness = Harness::member();
    let ping = frame(&ControlFrame::Ping(Ping { token: 1 }));
    let burst = CONTROL_FRAMES_BURST as usize / ping.len();
    harness.receive(at(3), &ping.repeat(burst - 10));
    assert_eq!(harness.refusal(), None);
    harness.receive(at(3), &ping.repeat(20));
    assert_eq!(harness.refusal(), Some(Refusal::RateExceeded));
}

#[test]
fn detach_is_polite_and_what_came_before_goes_on() {
    let mut harness = Harness::member();
    harness.receive(
        at(3),
        &[data(2, TrafficClass::Bulk, Destination::All, 9), frame(&ControlFrame::Detach)].concat(),
    );
    assert_eq!(harness.core.close(), Some(Close::Detached));
    assert_eq!(harness.forwarded.len(), 1);
}

/// [FWD-10]: a node short of memory takes nobody in.
#[test]
fn a_full_node_sheds_newcomers() {
    let mut harness = Harness::new(|limits| limits.node_queue_bytes_max = 1_000);
    let header = DataHeader {
        class: TrafficClass::Bulk,
        sender: number(9),
        destination: Destination::All,
        replace: None,
    };
    let _held = Run::new(&harness.ledger, &header, bytes::Bytes::from_static(&[0; 950]), 1, 950);
    harness.receive(at(1), &[hello(), ticket(1, false)].concat());
    assert_eq!(harness.refusal(), Some(Refusal::Shed));
}

proptest::proptest! {
    /// [FRM-2]: no input panics or makes more of a buffer than came.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600), attached: bool) {
        let mut harness = if attached { Harness::member() } else { Harness::new(|_| {}) };
        for chunk in bytes.chunks(7) {
            harness.receive(at(3), chunk);
        }
        proptest::prop_assert!(harness.buffer.len() <= bytes.len());
    }

    /// Frames cut anywhere give the same forwarded bytes.
    #[test]
    fn any_segmentation_forwards_the_same(cuts in proptest::collection::vec(1usize..400, 1..40)) {
        let all: Vec<u8> = (0..20usize)
            .flat_map(|index| data(2, TrafficClass::Bulk, Destination::All, 1 + index * 13))
            .collect();
        let mut harness = Harness::member();
        let mut rest = &all[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            harness.receive(at(3), piece);
            rest = behind;
        }
        let joined: Vec<u8> = harness.forwarded.iter().flat_map(|forward| forward.run.bytes().to_vec()).collect();
        proptest::prop_assert_eq!(joined, all);
    }
}

/// [ATT-15]: an endpoint that has moved is sent what comes for a while, sends nothing more, and is let go then.
#[test]
fn a_goodbye_after_a_move_leaves_time() {
    let mut harness = Harness::member();
    harness.receive(at(3), &frame(&ControlFrame::Detach));
    assert_eq!(harness.core.close(), Some(Close::Detached), "who is nowhere else leaves at once");

    let mut harness = Harness::member();
    harness.grace = Some(Duration::from_millis(300));
    let bytes = [frame(&ControlFrame::Detach), data(2, TrafficClass::Bulk, Destination::All, 10)].concat();
    harness.receive(at(3), &bytes);
    assert!(harness.core.is_leaving() && harness.forwarded.is_empty() && harness.buffer.is_empty());
    assert_eq!(harness.core.deadline(), Some(at(303).mono));
    harness.core.handle_timeout(at(302));
    assert_eq!(harness.core.close(), None);
    harness.core.handle_timeout(at(303));
    assert_eq!(harness.core.close(), Some(Close::Detached));
}

/// [ATT-9]: who cannot be taken is told where to go, before admission and instead of it.
#[test]
fn a_redirect_takes_the_place_of_admission() {
    let mut harness = Harness::new(|_| {});
    harness.receive(at(1), &hello());
    harness.buffer.extend_from_slice(&ticket(1, false));
    let fresh = harness.buffer.len();
    harness.core.handle_bytes(at(2), &mut harness.buffer, fresh).unwrap();
    let verify = harness.core.poll_output();
    assert!(matches!(verify, Some(Output::Verify(_))), "{verify:?}");
    harness.core.handle_verdict(at(2), harness.verdict.clone());
    assert!(matches!(harness.core.poll_output(), Some(Output::Join(_))));
    let addresses = vec!["other.example:8200".to_owned()];
    harness.core.handle_redirected(addresses.clone());
    harness.drain(at(2));
    assert_eq!(harness.sent.last(), Some(&ControlFrame::Redirect(Redirect { addresses: addresses.clone() })));
    assert_eq!(harness.core.close(), Some(Close::Redirected));
    assert!(!harness.core.is_admitted());

    let mut harness = Harness::member();
    let sent = harness.sent.len();
    harness.core.handle_redirected(addresses);
    harness.drain(at(3));
    assert_eq!((harness.core.close(), harness.sent.len()), (None, sent), "never once admitted");
}
