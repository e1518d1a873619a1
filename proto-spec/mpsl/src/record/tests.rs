//! Records between members whose keys are at hand, without handshakes: what must open, and everything that must not.

use std::time::Duration;

use proto_spec::mpsl::Role;
use proto_spec::mpsl::epoch::ChannelBase;
use proto_spec::mpsl::roster::{Roster, RosterMember};
use proto_spec::packet::{RecordHeader, RecordKind};
use proto_spec::{EpochId, Reader, SenderNumber, SessionId, StreamId, Timestamp, TrafficClass, Wire};
use rand_core::SeedableRng;

use super::open::Opener;
use super::seal::{Sealer, put_prefix};
use super::*;
use crate::group::epoch::EpochKeys;
use crate::group::roster::HeldRoster;
use crate::keys::MemberKey;
use crate::suite::Suite;

const SESSION: SessionId = SessionId([4; 16]);
const CONTROL: Sealing =
    Sealing { class: TrafficClass::Control, stream: StreamId(1), signed: true, shape: Shape::Exact };
const BULK: Sealing =
    Sealing { class: TrafficClass::Bulk, stream: StreamId(16), signed: false, shape: Shape::Exact };

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(Duration::from_secs(seconds))
}

/// The signing key of a member in every group of these tests.
fn key(of: u16) -> MemberKey {
    MemberKey::generate(&mut rand_chacha::ChaCha20Rng::seed_from_u64(u64::from(of)))
}

/// A roster of members with their usual keys; number 1 leads.
fn roster(count: u32, members: &[u16]) -> HeldRoster {
    let members = members.iter().map(|value| RosterMember {
        number: number(*value),
        key: key(*value).public(),
        role: Role::Provider,
        name: String::new(),
    });
    let roster = Roster {
        epoch: EpochId { term: 0, leader: number(1), count },
        creator: key(1).public(),
        deputies: Vec::new(),
        members: members.collect(),
        commitment: [0; 32],
    };
    HeldRoster::new(SESSION, roster)
}

/// Keys of an epoch as `own` derives them; whoever holds the secret can do it for any number.
fn epoch_keys(suite: Suite, held: &HeldRoster, own: u16) -> EpochKeys {
    let secret = [held.roster.epoch.count as u8; 32];
    EpochKeys::derive(suite, SESSION, &held.roster, held.hash, &secret, number(own)).unwrap()
}

struct Member {
    number: u16,
    suite: Suite,
    key: MemberKey,
    sealer: Sealer,
    opener: Opener,
}

impl Member {
    fn new(suite: Suite, value: u16) -> Self {
        let sealer = Sealer::new(suite, number(value));
        Member { number: value, suite, key: key(value), sealer, opener: Opener::new(suite) }
    }

    fn install(&mut self, now: Timestamp, held: &HeldRoster, left_or_removed: bool) {
        let EpochKeys { id, roster_hash, own, others } = epoch_keys(self.suite, held, self.number);
        self.sealer.install(id, roster_hash, own);
        self.opener.install(now, id, roster_hash, others, left_or_removed);
    }

    fn seal(&mut self, sealing: &Sealing, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.sealer.seal(&self.key, sealing, text, &mut out).unwrap();
        out
    }

    fn carry(&mut self, old: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.sealer.carry(&self.key, old, &mut out).unwrap();
        out
    }

    /// Opens a packet whose data frame says what its header says.
    fn open(&mut self, now: Timestamp, packet: &[u8]) -> Result<Vec<u8>, OpenError> {
        let header = RecordHeader::decode(&mut Reader::new(&packet[1..])).unwrap();
        self.open_hop(now, header.sender, header.class, packet).map(|(_, text)| text)
    }

    fn open_hop(
        &mut self,
        now: Timestamp,
        sender: SenderNumber,
        class: TrafficClass,
        packet: &[u8],
    ) -> Result<(Opened, Vec<u8>), OpenError> {
        let (mut packet, mut spill) = (packet.to_vec(), Vec::new());
        let opened = self.opener.open(now, sender, class, &mut packet, &mut spill)?;
        let text = opened.plaintext(&packet, &spill).to_vec();
        Ok((opened, text))
    }

    /// Takes the statement that `of` would make now.
    fn take_bases(&mut self, of: &Member) {
        let bases: Vec<_> = of
            .sealer
            .bases()
            .filter(|(_, counter)| *counter > 0)
            .map(|(stream, counter)| ChannelBase { stream, counter, sequence: 0 })
            .collect();
        assert!(self.opener.state_bases(number(of.number), self.opener.newest().unwrap(), &bases));
    }
}

/// Members 1, 2 and 3 in epoch 1.
fn three(suite: Suite) -> [Member; 3] {
    [1, 2, 3].map(|value| {
        let mut member = Member::new(suite, value);
        member.install(at(0), &roster(1, &[1, 2, 3]), false);
        member
    })
}

/// A record with any body, sealed as the rules for sealing would not allow.
fn seal_raw(member: &mut Member, kind: RecordKind, sealing: &Sealing, body: &[u8], sign: bool) -> Vec<u8> {
    let header = member.sealer.next_header(kind, sealing).unwrap();
    let header_bytes = header.to_array();
    let mut out = Vec::new();
    put_prefix(&header_bytes, &mut out);
    let start = out.len();
    out.extend_from_slice(body);
    if sign {
        member.sealer.sign(&member.key, &header_bytes, start, &mut out);
    }
    member.sealer.protect(&header, &header_bytes, &mut out, start);
    out
}

/// \[REC-1\] \[REC-3\] \[REC-6\] \[REC-7\]
#[test]
fn records_open_at_every_other_member() {
    for suite in Suite::ALL {
        let [mut one, mut two, mut three] = three(suite);
        let shapes = [Shape::Exact, Shape::Padded, Shape::Compressed];
        for (shape, signed) in shapes.into_iter().flat_map(|shape| [(shape, true), (shape, false)]) {
            let sealing = Sealing { signed, shape, ..BULK };
            for text in [&b""[..], b"hello", &[7; 5_000]] {
                let packet = one.seal(&sealing, text);
                for member in [&mut two, &mut three] {
                    let (opened, seen) = member.open_hop(at(1), number(1), BULK.class, &packet).unwrap();
                    assert_eq!(seen, text);
                    assert_eq!((opened.signed, opened.carried, opened.stream), (signed, false, BULK.stream));
                }
            }
        }
    }
}

/// \[REC-9\] The longest record fits a packet, and so does the longest record carried.
#[test]
fn the_longest_plaintext_leaves_room_for_one_carry() {
    for suite in Suite::ALL {
        let [mut one, mut two, _] = three(suite);
        let sealing = Sealing { signed: true, ..BULK };
        let text = vec![0x5a; PLAINTEXT_LENGTH_MAX];
        let packet = one.seal(&sealing, &text);
        let slack = 2 * (TAG_LENGTH_MAX - suite.tag_length());
        for member in [&mut one, &mut two] {
            member.install(at(1), &roster(2, &[1, 2, 3]), false);
        }
        let carried = one.carry(&packet);
        assert_eq!(carried.len(), PACKET_LENGTH_MAX - slack);
        two.take_bases(&one);
        assert_eq!(two.open(at(2), &carried), Ok(text));

        let mut out = Vec::new();
        let refused = one.sealer.seal(&one.key, &sealing, &vec![0; PLAINTEXT_LENGTH_MAX + 1], &mut out);
        assert_eq!(
            refused,
            Err(SealError::TooLong { length: PLAINTEXT_LENGTH_MAX + 1, limit: PLAINTEXT_LENGTH_MAX })
        );
        let padded = Sealing { shape: Shape::Padded, ..sealing };
        assert!(one.sealer.seal(&one.key, &padded, &vec![0; PADDED_PLAINTEXT_LENGTH_MAX], &mut out).is_ok());
        let refused = one.sealer.seal(&one.key, &padded, &vec![0; PADDED_PLAINTEXT_LENGTH_MAX + 1], &mut out);
        assert!(matches!(refused, Err(SealError::TooLong { .. })));
    }
}

/// \[REC-2\] \[REC-6\] What the rules do not allow is not sealed, and takes no counter.
#[test]
fn what_may_not_be_sealed_takes_no_counter() {
    let [mut one, ..] = three(Suite::Modern);
    let mut refused =
        |sealing: &Sealing| one.sealer.seal(&one.key, sealing, b"", &mut Vec::new()).unwrap_err();
    for class in [TrafficClass::Control, TrafficClass::Interactive] {
        assert_eq!(refused(&Sealing { class, ..BULK }), SealError::MustBeSigned(class));
    }
    for stream in [0, 64, u32::MAX] {
        assert_eq!(
            refused(&Sealing { stream: StreamId(stream), ..BULK }),
            SealError::Stream(StreamId(stream))
        );
    }
    let mut out = Vec::new();
    assert_eq!(one.sealer.seal(&one.key, &BULK, b"", &mut out), Ok(0));
    let mut fresh = Sealer::new(Suite::Modern, number(1));
    assert_eq!(fresh.seal(&one.key, &BULK, b"", &mut out), Err(SealError::NoEpoch));
}

/// \[REC-10\] Replay, and reordering up to the window's edge and one beyond.
#[test]
fn replays_are_refused_and_reordering_is_taken_up_to_the_windows_edge() {
    let [mut one, mut two, _] = three(Suite::Modern);
    let early: Vec<_> = (0..3).map(|_| one.seal(&BULK, b"early")).collect();
    for _ in 3..REPLAY_WINDOW_RECORDS {
        one.seal(&BULK, b"");
    }
    let newest = one.seal(&BULK, b"counter 8192");
    assert!(two.open(at(1), &newest).is_ok());
    assert_eq!(two.open(at(1), &newest), Err(OpenError::Replayed));
    assert_eq!(two.open(at(1), &early[0]), Err(OpenError::TooOld), "8,192 behind");
    assert!(two.open(at(1), &early[1]).is_ok(), "8,191 behind");
    assert!(two.open(at(1), &early[2]).is_ok(), "8,190 behind");
    assert_eq!(two.open(at(1), &early[1]), Err(OpenError::Replayed));
}

/// \[REC-10\] A relay that drops, duplicates, truncates or modifies: nothing but the record as sealed opens, and a
/// refused one spoils nothing.
#[test]
fn what_a_relay_alters_is_refused_and_moves_no_window() {
    for suite in Suite::ALL {
        let [mut one, mut two, _] = three(suite);
        let dropped = one.seal(&CONTROL, b"dropped");
        let packet = one.seal(&CONTROL, b"a few words");
        for length in 0..packet.len() {
            let (mut cut, mut spill) = (packet[..length].to_vec(), Vec::new());
            assert!(two.opener.open(at(1), number(1), CONTROL.class, &mut cut, &mut spill).is_err());
        }
        let mut long = packet.clone();
        long.push(0);
        assert_eq!(two.open(at(1), &long), Err(OpenError::Forged));
        for index in 0..packet.len() {
            for bit in 0..8 {
                let mut altered = packet.clone();
                altered[index] ^= 1 << bit;
                let (mut bytes, mut spill) = (altered.clone(), Vec::new());
                let result = two.opener.open(at(1), number(1), CONTROL.class, &mut bytes, &mut spill);
                assert!(result.is_err(), "byte {index}, bit {bit}");
            }
        }
        assert_eq!(two.open(at(1), &packet).unwrap(), b"a few words");
        assert_eq!(two.open(at(1), &packet), Err(OpenError::Replayed), "duplicated");
        assert_eq!(two.open(at(1), &dropped).unwrap(), b"dropped", "late is not lost");
    }
}

/// \[REC-13\] Inner sender unequal to the hop's; the same for the class.
#[test]
fn a_record_must_say_what_its_data_frame_says() {
    let [mut one, mut two, _] = three(Suite::Modern);
    let packet = one.seal(&BULK, b"text");
    let refused =
        |two: &mut Member, sender, class| two.open_hop(at(1), number(sender), class, &packet).unwrap_err();
    assert_eq!(refused(&mut two, 3, TrafficClass::Bulk), OpenError::HopMismatch("sender"));
    assert_eq!(refused(&mut two, 1, TrafficClass::Screen), OpenError::HopMismatch("class"));
    assert!(two.open(at(1), &packet).is_ok());
    let other_suite = Member::new(Suite::Classic, 1).suite.value();
    let mut foreign = one.seal(&BULK, b"text");
    foreign[1] = other_suite;
    assert_eq!(two.open(at(1), &foreign), Err(OpenError::Suite));
}

/// \[REC-6\] A member forging another's control or keystroke: it can derive the other's sender key, not its signature.
#[test]
fn a_member_cannot_forge_anothers_signed_record() {
    for class in [TrafficClass::Control, TrafficClass::Interactive] {
        let [mut one, mut two, _] = three(Suite::Modern);
        let sealing = Sealing { class, ..CONTROL };
        let mut forger = Member { key: key(3), ..Member::new(Suite::Modern, 1) };
        forger.install(at(0), &roster(1, &[1, 2, 3]), false);
        for _ in 0..20 {
            forger.seal(&sealing, b"skip ahead");
        }
        let forged = forger.seal(&sealing, b"rm -rf");
        assert_eq!(two.open(at(1), &forged), Err(OpenError::WrongSignature));
        let unsigned = seal_raw(&mut forger, RecordKind::Plain, &sealing, b"\0rm -rf", false);
        assert_eq!(two.open(at(1), &unsigned), Err(OpenError::Unsigned));
        let short = seal_raw(&mut forger, RecordKind::Signed, &sealing, b"\0", false);
        assert_eq!(two.open(at(1), &short), Err(OpenError::WrongSignature));
        assert!(two.open(at(1), &one.seal(&sealing, b"mine")).is_ok(), "the forgeries moved no window");
    }
}

/// \[REC-6\] A signature counts for its own header and roster alone.
#[test]
fn a_signature_is_bound_to_its_record() {
    let [mut one, mut two, _] = three(Suite::Modern);
    let genuine = one.seal(&CONTROL, b"yes");
    let mut forger = Member { key: key(3), ..Member::new(Suite::Modern, 1) };
    forger.install(at(0), &roster(1, &[1, 2, 3]), false);
    // Another member takes body and signature out of the seal and seals them anew under the next counter.
    let mut bytes = genuine.clone();
    let header = one.sealer.next_header(RecordKind::Signed, &CONTROL).unwrap();
    let old = RecordHeader { counter: 0, ..header }.to_array();
    let keys = epoch_keys(Suite::Modern, &roster(1, &[1, 2, 3]), 1);
    let body = keys.own.open_sealed(&nonce(&old), &old, &mut bytes[RECORD_PREFIX_LENGTH..]).unwrap().to_vec();
    forger.seal(&CONTROL, b"counter 0");
    let moved = seal_raw(&mut forger, RecordKind::Signed, &CONTROL, &body, false);
    assert_eq!(two.open(at(1), &moved), Err(OpenError::WrongSignature));
    assert!(two.open(at(1), &genuine).is_ok());
}

/// \[GRP-10\] Two endpoints on one number: their Ed25519 keys differ, so their sender keys do, and no nonce meets twice.
#[test]
fn two_endpoints_on_one_number_share_no_key() {
    let ours = roster(1, &[1, 2, 3]);
    let mut other = ours.roster.clone();
    other.members[2].key = key(9).public();
    let other = HeldRoster::new(SESSION, other);
    let mut second = Member { key: key(9), ..Member::new(Suite::Modern, 3) };
    second.install(at(0), &other, false);
    let [_, mut two, mut third] = three(Suite::Modern);
    let (theirs, genuine) = (second.seal(&BULK, b"same number"), third.seal(&BULK, b"same number"));
    assert_ne!(theirs[RECORD_PREFIX_LENGTH..], genuine[RECORD_PREFIX_LENGTH..]);
    assert_eq!(two.open(at(1), &theirs), Err(OpenError::Forged));
    assert!(two.open(at(1), &genuine).is_ok());
}

/// \[REC-3\] \[GRP-10\] A split group: who holds another roster for one epoch cannot open or be opened, even under one secret.
#[test]
fn a_split_group_shares_no_keys() {
    let mut split = roster(1, &[1, 2, 3]).roster;
    split.members[0].name = "another name".to_owned();
    let mut misled = Member::new(Suite::Modern, 3);
    misled.install(at(0), &HeldRoster::new(SESSION, split), false);
    let [mut one, mut two, _] = three(Suite::Modern);
    assert_eq!(misled.open(at(1), &one.seal(&BULK, b"")), Err(OpenError::Forged));
    assert_eq!(two.open(at(1), &misled.seal(&BULK, b"")), Err(OpenError::Forged));
}

/// \[GRP-11\] An old epoch opens during its grace and not after it; at once not after a leave or removal.
#[test]
fn an_old_epoch_opens_for_its_grace_alone() {
    let [mut one, mut two, _] = three(Suite::Modern);
    let packets: Vec<_> = (0..4).map(|_| one.seal(&BULK, b"old")).collect();
    two.install(at(100), &roster(2, &[1, 2, 3, 4]), false);
    assert!(two.open(at(100), &packets[0]).is_ok());
    assert!(two.open(Timestamp(Duration::from_millis(109_999)), &packets[1]).is_ok());
    assert_eq!(two.open(at(110), &packets[2]), Err(OpenError::OldEpoch));

    let [mut one, mut two, _] = three(Suite::Modern);
    let packet = one.seal(&BULK, b"old");
    two.install(at(100), &roster(2, &[1, 2, 3, 4]), false);
    two.install(at(101), &roster(3, &[1, 2, 4]), true);
    assert_eq!(
        two.open(at(101), &packet),
        Err(OpenError::OldEpoch),
        "a removal ends the grace of all before it"
    );
}

/// \[REC-11\] \[REC-14\] Older records come carried once: re-wrapped afresh at each change, by any of their wrappings.
#[test]
fn carried_records_open_exactly_once() {
    for suite in Suite::ALL {
        let [mut one, mut two, _] = three(suite);
        let old: Vec<_> = (0..4u8).map(|n| one.seal(&CONTROL, &[n])).collect();
        assert!(two.open(at(0), &old[0]).is_ok());
        for member in [&mut one, &mut two] {
            member.install(at(1), &roster(2, &[1, 2, 3, 4]), false);
        }
        let (first, second) = (one.carry(&old[1]), one.carry(&old[2]));
        let unknown = OpenError::Carried(CarriedRefusal::BaseUnknown);
        assert_eq!(two.open(at(2), &first), Err(unknown));
        two.take_bases(&one);
        assert_eq!(two.open(at(2), &first), Ok(vec![1]), "the same bytes again, after the statement");
        assert_eq!(two.open(at(2), &first), Err(OpenError::Replayed));
        let missing = OpenError::Carried(CarriedRefusal::NotMissing);
        assert_eq!(two.open(at(2), &one.carry(&old[1])), Err(missing), "in another wrapping");
        assert_eq!(two.open(at(2), &old[1]), Err(OpenError::Replayed), "directly, in the grace");
        assert!(two.open(at(2), &old[2]).is_ok(), "directly first");
        assert_eq!(two.open(at(2), &second), Err(missing));
        let already = one.carry(&old[0]);
        assert_eq!(two.open(at(2), &already), Err(missing), "opened before the change");

        for member in [&mut one, &mut two] {
            member.install(at(30), &roster(3, &[1, 2, 3, 4]), false);
        }
        two.take_bases(&one);
        assert_eq!(two.open(at(41), &old[3]), Err(OpenError::OldEpoch));
        let (opened, text) = two.open_hop(at(41), number(1), CONTROL.class, &one.carry(&old[3])).unwrap();
        assert_eq!(text, [3]);
        assert_eq!((opened.counter, opened.carried, opened.signed), (3, true, true));
        assert_eq!(two.open(at(41), &one.carry(&old[1])), Err(missing), "still known two epochs later");
    }
}

/// \[REC-11\] What may not be carried is not, by our own hands.
#[test]
fn a_sender_carries_only_its_own_older_records() {
    let [mut one, mut two, _] = three(Suite::Modern);
    let (own, other) = (one.seal(&BULK, b"own"), two.seal(&BULK, b"other"));
    let mut session = Vec::new();
    one.sealer.seal_any(&one.key, &Sealing { stream: SESSION_STREAM, ..CONTROL }, b"", &mut session).unwrap();
    let refused = |one: &mut Member, packet: &[u8]| {
        let mut out = Vec::new();
        let error = one.sealer.carry(&one.key, packet, &mut out).unwrap_err();
        assert!(out.is_empty());
        matches!(error, SealError::NotCarriable(_))
    };
    assert!(refused(&mut one, &own), "of this epoch");
    one.install(at(1), &roster(2, &[1, 2, 3]), false);
    let carried = one.carry(&own);
    assert!(refused(&mut one, &carried), "nested");
    assert!(refused(&mut one, &other), "another sender's");
    assert!(refused(&mut one, &session), "the session's own");
    assert!(refused(&mut one, b""));
    assert!(refused(&mut one, &own[..20]));
    one.install(at(2), &roster(3, &[1, 2, 3]), false);
    assert!(refused(&mut one, &carried), "nested, an epoch later");
}

/// \[REC-11\] \[REC-14\] Carried records from a removed or other sender, to a joiner, nested, of another channel, above
/// the base, or once the keys are gone.
#[test]
fn carried_records_that_break_a_rule_are_refused() {
    let [mut one, mut two, mut third] = three(Suite::Modern);
    let old = one.seal(&BULK, b"of one");
    let of_third = third.seal(&BULK, b"of three");
    let next = roster(2, &[1, 2, 4]);
    let mut joiner = Member::new(Suite::Modern, 4);
    for member in [&mut one, &mut two, &mut joiner] {
        member.install(at(1), &next, true);
    }
    // To a joiner: it was no member of the inner epoch.
    let carried = one.carry(&old);
    joiner.take_bases(&one);
    let not_open = OpenError::Carried(CarriedRefusal::EpochNotOpen);
    assert_eq!(joiner.open(at(2), &carried), Err(not_open));
    assert_eq!(joiner.open(at(2), &old), Err(OpenError::OldEpoch), "a joiner on the past");

    // From a removed sender: it has no key in the new epoch, and nobody keeps its old one.
    let mut removed = Member { key: key(3), ..Member::new(Suite::Modern, 3) };
    let mut with_three = roster(2, &[1, 2, 3, 4]);
    with_three.hash = next.hash;
    removed.install(at(1), &with_three, false);
    let raw = seal_raw(&mut removed, RecordKind::Carried, &BULK, &of_third[1..], true);
    assert_eq!(two.open(at(2), &raw), Err(OpenError::NotAMember));

    // Of another sender, nested, of another channel, above the base: genuine wrappers by member 1 each time.
    two.take_bases(&one);
    let mut wrap =
        |sealing: &Sealing, inner: &[u8]| seal_raw(&mut one, RecordKind::Carried, sealing, inner, true);
    let refusal = |result: Result<Vec<u8>, OpenError>| match result.unwrap_err() {
        OpenError::Carried(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(two.open(at(2), &wrap(&BULK, &of_third[1..]))), CarriedRefusal::OtherSender);
    assert_eq!(refusal(two.open(at(2), &wrap(&BULK, &carried[1..]))), CarriedRefusal::Nested);
    let channel = Sealing { stream: StreamId(17), ..BULK };
    assert_eq!(refusal(two.open(at(2), &wrap(&channel, &old[1..]))), CarriedRefusal::OtherChannel);
    let mut above = old.clone();
    above[24] = 200;
    assert_eq!(refusal(two.open(at(2), &wrap(&BULK, &above[1..]))), CarriedRefusal::AboveBase);
    assert!(matches!(two.open(at(2), &wrap(&BULK, b"")), Err(OpenError::Malformed(_))));
    let mut altered = old.clone();
    altered[30] ^= 1;
    assert_eq!(two.open(at(2), &wrap(&BULK, &altered[1..])), Err(OpenError::Forged));

    // Wrapped by another member in the sender's name: the wrapper is signed, too.
    let mut forger = Member { key: key(4), ..Member::new(Suite::Modern, 1) };
    forger.install(at(0), &roster(1, &[1, 2, 3]), false);
    forger.seal(&BULK, b"moves the base up");
    forger.install(at(1), &next, true);
    for _ in 0..50 {
        forger.seal(&BULK, b"skip ahead");
    }
    let forged = forger.carry(&old);
    assert_eq!(two.open(at(2), &forged), Err(OpenError::WrongSignature));

    // Once the old keys are gone.
    two.opener.expire(at(120));
    let late = one.carry(&old);
    assert!(two.open(at(120), &late).is_ok(), "119 seconds after the change");
    let [mut one, mut two, _] = three(Suite::Modern);
    let old = one.seal(&BULK, b"of one");
    one.install(at(1), &roster(2, &[1, 2, 3]), false);
    two.install(at(1), &roster(2, &[1, 2, 3]), false);
    two.take_bases(&one);
    two.opener.expire(at(121));
    assert_eq!(two.open(at(121), &one.carry(&old)), Err(not_open));
}

/// \[REC-14\] Older keys go as soon as nothing is missing, after the grace.
#[test]
fn drained_keys_are_erased_early() {
    let [mut one, mut two, mut third] = three(Suite::Modern);
    let old = one.seal(&BULK, b"one record");
    for member in [&mut one, &mut two, &mut third] {
        member.install(at(1), &roster(2, &[1, 2, 3]), false);
    }
    two.take_bases(&one);
    two.opener.expire(at(11));
    assert_eq!(two.opener.epochs.len(), 2, "three has stated nothing yet, and one's record is missing");
    two.take_bases(&third);
    two.opener.expire(at(11));
    assert_eq!(two.opener.epochs.len(), 2, "one's record is missing");
    assert!(two.open(at(11), &one.carry(&old)).is_ok());
    assert_eq!(two.opener.expires_at(at(11)), Some(at(121)));
    two.opener.expire(at(11));
    assert_eq!(two.opener.epochs.len(), 1);
    assert_eq!(two.opener.expires_at(at(11)), None);
}

/// \[REC-12\] Under the new epoch's key no counter from below the base is taken.
#[test]
fn a_new_key_opens_nothing_below_the_base() {
    let [mut one, mut two, _] = three(Suite::Modern);
    for _ in 0..5 {
        one.seal(&BULK, b"");
    }
    one.install(at(1), &roster(2, &[1, 2, 3]), false);
    two.install(at(1), &roster(2, &[1, 2, 3]), false);
    two.take_bases(&one);
    let mut rolled_back = Member { key: key(1), ..Member::new(Suite::Modern, 1) };
    rolled_back.install(at(1), &roster(2, &[1, 2, 3]), false);
    assert_eq!(two.open(at(2), &rolled_back.seal(&BULK, b"")), Err(OpenError::BelowBase));
    assert!(two.open(at(2), &one.seal(&BULK, b"")).is_ok());
}

/// \[REC-8\] A decompression bomb by a member is refused, costs one record's worth of memory and spoils nothing.
#[test]
fn a_sealed_decompression_bomb_is_refused() {
    let [mut one, mut two, _] = three(Suite::Modern);
    let block = lz4_flex::block::compress(&vec![0u8; 10 << 20]);
    let mut body = vec![2, 0xff, 0xff];
    body.extend_from_slice(&block);
    let bomb = seal_raw(&mut one, RecordKind::Plain, &BULK, &body, false);
    let (mut packet, mut spill) = (bomb, Vec::new());
    let result = two.opener.open(at(1), number(1), BULK.class, &mut packet, &mut spill);
    assert_eq!(result, Err(OpenError::MalformedBody));
    assert!(spill.capacity() <= 2 * PLAINTEXT_LENGTH_MAX);
    assert!(two.open(at(1), &one.seal(&Sealing { shape: Shape::Compressed, ..BULK }, &[0; 9_000])).is_ok());
}

/// \[REC-2\] Stream 0 takes signed control records alone, and no stream is above 63.
#[test]
fn stream_0_is_the_sessions_own() {
    let [mut one, mut two, _] = three(Suite::Modern);
    let plain = Sealing { stream: SESSION_STREAM, ..BULK };
    let unsigned = seal_raw(&mut one, RecordKind::Plain, &plain, b"\0", false);
    assert_eq!(two.open(at(1), &unsigned), Err(OpenError::Unsigned));
    let mut beyond = one.seal(&BULK, b"");
    beyond[16] = 64;
    assert!(matches!(two.open(at(1), &beyond), Err(OpenError::Malformed(_))));
}
