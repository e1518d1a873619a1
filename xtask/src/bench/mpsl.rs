//! `cargo xtask bench mpsl`: records beside the bare cipher, allocations for a record, whole handshakes a second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aes_gcm_siv::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use anyhow::{Context as _, Result, ensure};
use proto_spec::ticket::Role;
use proto_spec::{Now, SenderNumber, SessionId, SessionNumber, StreamId, TrafficClass};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use sealcast_mpsl::group::Identity;
use sealcast_mpsl::handshake::{Joiner, JoinerSetup, JoinerStep, ProofBudget};
use sealcast_mpsl::record::{Sealing, Shape};
use sealcast_mpsl::session::{Event, Session};
use sealcast_mpsl::{JoinCode, Suite};

use super::{Figure, Target, median};

/// Plaintext lengths in bytes: a chat line, a packet that fits an Ethernet frame, a TLS record.
const LENGTHS: [usize; 3] = [100, 1_200, 16 * 1024];
/// Plaintext sealed in one run.
const RUN_BYTES: usize = 64 * 1024 * 1024;
const RUN_RECORDS_MAX: usize = 100_000;
/// Plaintext sealed and opened in turn: with the bare cipher's copy of it, half of a usual second-level cache.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_RECORDS_MAX: usize = 256;
const STREAM: StreamId = StreamId(16);
const BULK: Sealing =
    Sealing { class: TrafficClass::Bulk, stream: STREAM, signed: false, shape: Shape::Exact };
/// At 16 KiB sealing and opening may take at most so much longer than the bare cipher.
const TARGET_RATIO: f64 = 1.15;

pub(super) fn run(quick: bool) -> Result<Vec<Figure>> {
    let runs = if quick { 3 } else { 9 };
    let mut figures = Vec::new();
    for length in LENGTHS {
        figures.extend(records(length, runs, if quick { 4 } else { 1 })?);
    }
    figures.push(handshakes(if quick { 5 } else { 25 })?);
    figures.iter().for_each(Figure::print);
    Ok(figures)
}

/// Seal and open in ns a record beside the bare cipher's, and the allocations of each.
///
/// A few records at a time, all four works in turn: the bytes stay in the cache, as those of a session do, so that the
/// cipher is measured and not the memory; and what else the machine does falls on all of them.
fn records(length: usize, runs: usize, divisor: usize) -> Result<Vec<Figure>> {
    let batch = (BATCH_BYTES / length).clamp(1, BATCH_RECORDS_MAX);
    let batches = (RUN_BYTES / length).min(RUN_RECORDS_MAX) / divisor / batch;
    let count = batches * batch;
    let (mut leader, mut member) = pair(7)?;
    let sender = leader.identity().number;
    let now = Now::default();
    let plaintext = vec![0x5a; length];
    let mut packets: Vec<Vec<u8>> = (0..batch).map(|_| Vec::with_capacity(length + 256)).collect();
    let mut spill = Vec::new();
    let bare = BareCipher::new();
    let mut buffers: Vec<Vec<u8>> = vec![plaintext.clone(); batch];
    let mut tags = vec![Tag::default(); batch];
    let mut runs_of: [Vec<f64>; 4] = Default::default();
    let (mut seal_allocations, mut open_allocations) = (0, 0);
    // The first round warms up and is not counted.
    for round in 0..=runs {
        let mut spent = [Duration::ZERO; 4];
        (seal_allocations, open_allocations) = (0, 0);
        for _ in 0..batches {
            packets.iter_mut().for_each(Vec::clear);
            let sealing = || {
                for packet in &mut packets {
                    black_box(leader.seal(now, &BULK, &plaintext, packet).expect("an epoch is installed"));
                }
            };
            spent[0] += timed(|| seal_allocations += allocation_counter::measure(sealing).count_total);
            spent[1] += timed(|| bare.seal(&mut buffers, &mut tags));
            let opening = || {
                for packet in &mut packets {
                    let opened = member.open(now, sender, TrafficClass::Bulk, packet, &mut spill);
                    black_box(opened.expect("our own record"));
                }
            };
            spent[2] += timed(|| open_allocations += allocation_counter::measure(opening).count_total);
            spent[3] += timed(|| bare.open(&mut buffers, &tags));
        }
        ensure!(buffers[batch - 1] == plaintext, "the bare cipher opens what it sealed");
        if round > 0 {
            for (runs, spent) in runs_of.iter_mut().zip(spent) {
                runs.push(spent.as_nanos() as f64 / count as f64);
            }
        }
    }
    let [seal, bare_seal, open, bare_open] = runs_of;
    let target = (length == 16 * 1024).then_some(Target::AtMost(TARGET_RATIO));
    let time = |what: &str, runs: Vec<f64>, bare: Vec<f64>| Figure {
        name: format!("mpsl {what} {length} B"),
        unit: "ns/record",
        value: median(runs),
        reference: Some(median(bare)),
        target,
    };
    let allocations = |what: &str, total: u64| Figure {
        name: format!("mpsl {what} {length} B: allocations"),
        unit: "a record",
        value: total as f64 / count as f64,
        reference: None,
        target: Some(Target::AtMost(0.0)),
    };
    Ok(vec![
        time("seal", seal, bare_seal),
        time("open", open, bare_open),
        allocations("seal", seal_allocations),
        allocations("open", open_allocations),
    ])
}

/// How long `work` takes.
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The cipher of the suite and nothing else.
struct BareCipher(Aes256GcmSiv);

impl BareCipher {
    fn new() -> Self {
        BareCipher(Aes256GcmSiv::new(&[7; 32].into()))
    }

    fn nonce(at: usize) -> Nonce {
        let mut nonce = [0u8; 12];
        nonce[4..].copy_from_slice(&(at as u64).to_be_bytes());
        nonce.into()
    }

    /// In a function of its own, as nothing around it may keep the compiler from its best.
    #[inline(never)]
    fn seal(&self, buffers: &mut [Vec<u8>], tags: &mut [Tag]) {
        for (at, (buffer, tag)) in buffers.iter_mut().zip(tags).enumerate() {
            let sealed =
                self.0.encrypt_inout_detached(&Self::nonce(at), &[0; 24], buffer.as_mut_slice().into());
            *tag = sealed.expect("a short buffer");
        }
    }

    #[inline(never)]
    fn open(&self, buffers: &mut [Vec<u8>], tags: &[Tag]) {
        for (at, (buffer, tag)) in buffers.iter_mut().zip(tags).enumerate() {
            let opened =
                self.0.decrypt_inout_detached(&Self::nonce(at), &[0; 24], buffer.as_mut_slice().into(), tag);
            opened.expect("our own seal");
        }
    }
}

/// Whole handshakes M1 to M4, both sides on one core.
fn handshakes(runs: usize) -> Result<Figure> {
    let mut rates = Vec::new();
    for run in 0..runs {
        let mut bench = HandshakeBench::new(run as u64)?;
        let start = Instant::now();
        bench.run()?;
        rates.push(1.0 / start.elapsed().as_secs_f64());
    }
    Ok(Figure {
        name: "mpsl handshake".into(),
        unit: "a second",
        value: median(rates),
        reference: None,
        target: None,
    })
}

/// A leader with one open code and a joiner who knows it.
struct HandshakeBench {
    leader: Session,
    code: JoinCode,
    rng: ChaCha20Rng,
}

impl HandshakeBench {
    fn new(seed: u64) -> Result<Self> {
        let identity = identity(number(1), Role::Provider);
        let mut leader = Session::create(Now::default(), identity, ChaCha20Rng::seed_from_u64(seed));
        let locator = SessionNumber::new(483_920_117).context("nine digits")?;
        let code = leader.open_code(Now::default(), locator, Role::Customer)?;
        Ok(HandshakeBench { leader, code, rng: ChaCha20Rng::seed_from_u64(seed + 1_000_000) })
    }

    /// M1 to M4.
    fn run(&mut self) -> Result<sealcast_mpsl::handshake::Established> {
        let now = Now::default();
        let setup = JoinerSetup {
            session: SESSION,
            number: number(2),
            leader: number(1),
            suite: Suite::Modern,
            display_name: "Joiner".into(),
        };
        let mut budget = ProofBudget::new();
        let (mut joiner, m1) = Joiner::start(now, setup, &self.code, budget, &mut self.rng)?;
        let mut packet = m1;
        loop {
            self.leader.handle_packet(now, number(2), &packet).map_err(|error| anyhow::anyhow!("{error}"))?;
            let reply = self.reply().context("the leader answers")?;
            match joiner.handle(now, number(1), &reply, &mut budget)? {
                JoinerStep::Reply(next) => packet = next,
                JoinerStep::Established(established) => return Ok(*established),
            }
        }
    }

    /// The leader's next packet to the joiner.
    fn reply(&mut self) -> Option<Vec<u8>> {
        std::iter::from_fn(|| self.leader.poll_event()).find_map(|event| match event {
            Event::Transmit { packet, .. } => Some(packet),
            _ => None,
        })
    }
}

const SESSION: SessionId = SessionId([9; 16]);

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).expect("not 0")
}

fn identity(number: SenderNumber, role: Role) -> Identity {
    Identity { session: SESSION, suite: Suite::Modern, number, role, name: "Bench".into() }
}

/// A leader and a member under one epoch.
fn pair(seed: u64) -> Result<(Session, Session)> {
    let now = Now::default();
    let mut bench = HandshakeBench::new(seed)?;
    let established = bench.run()?;
    let mut leader = bench.leader;
    let rng = ChaCha20Rng::seed_from_u64(seed + 2_000_000);
    let mut member = Session::joined(now, identity(number(2), Role::Customer), established, rng);
    leader.admit(now, number(2))?;
    // A few rounds of what each has to say to the other: epoch, heartbeats, base statements.
    for _ in 0..8 {
        exchange(now, &mut leader, &mut member)?;
        exchange(now, &mut member, &mut leader)?;
    }
    ensure!(leader.epoch() == member.epoch() && member.epoch().is_some(), "both are in one epoch");
    ensure!(leader.may_seal(now), "the leader may seal");
    Ok((leader, member))
}

/// Delivers everything that `from` has to say.
fn exchange(now: Now, from: &mut Session, to: &mut Session) -> Result<()> {
    let sender = from.identity().number;
    let mut spill = Vec::new();
    while let Some(event) = from.poll_event() {
        match event {
            Event::EpochInstalled { .. } => from.state_bases(now, &[])?,
            Event::Transmit { class, mut packet, .. } => match packet.first() {
                Some(3) => drop(to.open(now, sender, class, &mut packet, &mut spill)),
                _ => drop(to.handle_packet(now, sender, &packet)),
            },
            _ => {}
        }
    }
    Ok(())
}
