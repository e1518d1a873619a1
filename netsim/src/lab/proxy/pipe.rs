//! One connection's two ways. Bytes are read, given a time at which they are due, kept in order, and written when they
//! are due and the way is open. Ends and resets travel as bytes do.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::World;
use super::weather::{Party, Way};

/// What one read takes at most, and so what comes as one.
const READ_BYTES: usize = 16 * 1024;
/// What may be under way on a line without a limit: a window of TCP as systems tune it by themselves.
const WINDOW_BYTES: usize = 1024 * 1024;
/// Reads that wait to be written: more than a window of small ones never does.
const SEGMENTS_MAX: usize = 1_024;
/// A segment of TCP, of which a share is lost.
const SEGMENT_BYTES: usize = 1_448;
/// When TCP sends a lost segment again at the earliest (Linux' shortest timeout), doubled each time.
const RETRANSMIT: Duration = Duration::from_millis(200);
/// Doublings at most.
const RETRANSMITS_MAX: u32 = 6;

/// The connection is to be reset at both ends.
struct Reset;

/// Whether bytes could still be written when the way ended.
#[derive(PartialEq, Eq)]
enum Ended {
    Politely,
    Unheard,
}

/// Carries a connection to its end.
pub(super) async fn join(
    a: TcpStream,
    b: TcpStream,
    from: Party,
    to: Party,
    world: watch::Receiver<Arc<World>>,
    seed: u64,
) {
    for stream in [&a, &b] {
        // A refusal changes nothing but the delay.
        let _ = stream.set_nodelay(true);
    }
    let ended = tokio::select! {
        ended = async {
            tokio::try_join!(
                pipe(&a, &b, (from, to), world.clone(), seed),
                pipe(&b, &a, (to, from), world.clone(), !seed),
            )
        } => ended,
        () = asked_to_reset(world.clone(), from, to) => Err(Reset),
    };
    if !matches!(ended, Ok((Ended::Politely, Ended::Politely))) {
        reset(&a);
        reset(&b);
    }
}

/// Lets the stream end with a reset when it is dropped.
pub(super) fn reset(stream: &TcpStream) {
    // One that is gone needs none.
    let _ = stream.set_zero_linger();
}

/// Until the pair's connections are reset once more, or the network is gone.
async fn asked_to_reset(mut world: watch::Receiver<Arc<World>>, from: Party, to: Party) {
    let before = world.borrow().weather.resets(from, to);
    // An error says that the network is gone, and all connections with it.
    let _ = world.wait_for(|world| world.weather.resets(from, to) != before).await;
}

enum What {
    Bytes(Bytes),
    Fin,
    Reset,
}

struct Segment {
    due: Instant,
    what: What,
}

/// What is under way.
#[derive(Default)]
struct Window {
    bytes: AtomicUsize,
    room: Notify,
}

async fn pipe(
    from: &TcpStream,
    to: &TcpStream,
    parties: (Party, Party),
    world: watch::Receiver<Arc<World>>,
    seed: u64,
) -> Result<Ended, Reset> {
    let (segments, waiting) = mpsc::channel(SEGMENTS_MAX);
    let window = Window::default();
    let read = take_in(from, segments, &window, parties, world.clone(), Dice(seed));
    let write = give_out(to, waiting, &window, parties, world);
    // Whoever writes ends last, or for both: nobody reads for an end that hears nothing.
    tokio::pin!(write);
    tokio::select! {
        ended = &mut write => ended,
        () = read => write.await,
    }
}

async fn take_in(
    from: &TcpStream,
    segments: mpsc::Sender<Segment>,
    window: &Window,
    (a, b): (Party, Party),
    world: watch::Receiver<Arc<World>>,
    mut dice: Dice,
) {
    let way = || world.borrow().way(a, b);
    let mut clock = Clock::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        while window.bytes.load(Ordering::Relaxed) >= room(&way()) {
            window.room.notified().await;
        }
        let read = loop {
            if let Err(error) = from.readable().await {
                break Err(error);
            }
            match from.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => break read,
            }
        };
        let (what, length) = match read {
            Ok(0) => (What::Fin, 0),
            Ok(length) => (What::Bytes(Bytes::copy_from_slice(&buffer[..length])), length),
            Err(_) => (What::Reset, 0),
        };
        let last = length == 0;
        window.bytes.fetch_add(length, Ordering::Relaxed);
        let due = clock.due(Instant::now(), length, &way(), &mut dice);
        if segments.send(Segment { due, what }).await.is_err() || last {
            return;
        }
    }
}

async fn give_out(
    to: &TcpStream,
    mut segments: mpsc::Receiver<Segment>,
    window: &Window,
    (a, b): (Party, Party),
    mut world: watch::Receiver<Arc<World>>,
) -> Result<Ended, Reset> {
    while let Some(Segment { due, what }) = segments.recv().await {
        sleep_until(due).await;
        if world.wait_for(|world| !world.way(a, b).held).await.is_err() {
            return Err(Reset);
        }
        match what {
            What::Bytes(bytes) => {
                if write_all(to, &bytes).await.is_err() {
                    return Ok(Ended::Unheard);
                }
                window.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                window.room.notify_one();
            }
            What::Fin => {
                // It may be gone already.
                let _ = SockRef::from(to).shutdown(Shutdown::Write);
                return Ok(Ended::Politely);
            }
            What::Reset => return Err(Reset),
        }
    }
    Err(Reset)
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What may be under way.
fn room(way: &Way) -> usize {
    way.window().unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES)
}

/// When bytes are due: after the line, the distance, and whatever was before them.
#[derive(Default)]
struct Clock {
    line_free: Option<Instant>,
    last: Option<Instant>,
}

impl Clock {
    fn due(&mut self, now: Instant, length: usize, way: &Way, dice: &mut Dice) -> Instant {
        let mut sent = now;
        if let Some(rate) = way.bytes_s.filter(|_| way.paced) {
            let time = Duration::from_nanos((length as u64).saturating_mul(1_000_000_000) / rate.max(1));
            sent = self.line_free.map_or(now, |free| free.max(now)) + time;
            self.line_free = Some(sent);
        }
        let jitter = way.delay * u32::try_from(dice.below(way.jitter_percent * 10 + 1)).unwrap_or(0) / 1_000;
        let mut due = sent + way.delay + jitter;
        for _ in 0..length.div_ceil(SEGMENT_BYTES) {
            let mut again = 0;
            while dice.below(100) < way.loss_percent && again < RETRANSMITS_MAX {
                due += RETRANSMIT * 2u32.pow(again);
                again += 1;
            }
        }
        let due = self.last.map_or(due, |last| last.max(due));
        self.last = Some(due);
        due
    }
}

/// Randomness for jitter and losses: SplitMix64, equal from equal seeds.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_thin_line_takes_its_time_and_is_free_again() {
        let (mut clock, mut dice, now) = (Clock::default(), Dice(1), Instant::now());
        let way = Way { delay: ms(40), bytes_s: Some(10_000), paced: true, ..Way::default() };
        assert_eq!(clock.due(now, 1_000, &way, &mut dice), now + ms(140));
        assert_eq!(clock.due(now, 1_000, &way, &mut dice), now + ms(240));
        assert_eq!(clock.due(now + ms(500), 1_000, &way, &mut dice), now + ms(640));
    }

    #[test]
    fn nothing_overtakes() {
        let (mut clock, mut dice, now) = (Clock::default(), Dice(7), Instant::now());
        let way = Way { delay: ms(40), jitter_percent: 100, loss_percent: 20, ..Way::default() };
        let mut last = now;
        for at in 0..1_000 {
            let due = clock.due(now + ms(at), 100, &way, &mut dice);
            assert!(due >= last && due >= now + ms(at + 40));
            last = due;
        }
    }

    #[test]
    fn so_many_are_lost_as_the_weather_says() {
        let mut dice = Dice(3);
        let way = Way { loss_percent: 10, ..Way::default() };
        let now = Instant::now();
        let late = (0..10_000).filter(|_| Clock::default().due(now, 100, &way, &mut dice) > now).count();
        assert!((900..1_100).contains(&late), "{late} of 10000");
    }

    #[test]
    fn a_thin_line_has_a_small_window() {
        assert_eq!(room(&Way::default()), WINDOW_BYTES);
        assert_eq!(room(&Way { bytes_s: Some(32 * 1024), ..Way::default() }), 16 * 1024);
        assert_eq!(room(&Way { bytes_s: Some(1_000_000), ..Way::default() }), 250_000);
    }
}
