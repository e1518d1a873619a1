//! From the hellos to the end: hears what the other end says, gets the data connection, watches for silence \[TRK-10\],
//! and tells the overlay that the link is up and down \[TRK-14\].

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::AsyncRead;
use proto_spec::Now;
use proto_spec::trunk::{Heartbeat, TrunkFrame, TrunkHello, TrunkRefusal};
use sealcast_mesh::Input;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::End;
use super::write::{Echo, Say};
use crate::tls::mesh::Purpose;
use crate::trunk::config::{HEARTBEAT, RTT_INTERVAL, SILENCE_MAX, TURN_TIME, UP_TIME};
use crate::trunk::data;
use crate::trunk::dial::connect;
use crate::trunk::hub::{DataStream, Hub, Neighbor, Turn};
use crate::trunk::protocol::FrameReader;

/// Whether the overlay has been told that the link is up. Told to be down exactly once.
pub(super) struct Linked<'a> {
    hub: &'a Hub,
    neighbor: &'a Arc<Neighbor>,
    turn: Turn,
    /// Held while it is up.
    held: Option<OwnedMutexGuard<()>>,
    was_up: bool,
}

impl<'a> Linked<'a> {
    pub(super) fn new(hub: &'a Hub, neighbor: &'a Arc<Neighbor>, turn: Turn) -> Linked<'a> {
        Linked { hub, neighbor, turn, held: None, was_up: false }
    }

    pub(super) fn was_up(&self) -> bool {
        self.was_up
    }

    /// Tells that the link is up, after an earlier trunk of the pair has told that its link is down.
    async fn begin(&mut self) -> Result<(), End> {
        let turn = tokio::time::timeout(TURN_TIME, Arc::clone(&self.turn).lock_owned()).await;
        self.held = Some(turn.map_err(|_| End::Ours(TrunkRefusal::TooSlow))?);
        let up = Input::LinkUp { peer: self.neighbor.signer() };
        if self.hub.inputs.send(up).await.is_err() {
            return Err(End::Ours(TrunkRefusal::Leaving));
        }
        self.was_up = true;
        self.hub.publish(self.neighbor);
        tracing::info!(node = %self.neighbor.number(), rtt_us = self.neighbor.rtt_us.load(Relaxed), "trunk up");
        Ok(())
    }

    /// Tells that it is down, if it was up.
    pub(super) async fn end(&mut self) {
        if self.held.is_some() && self.was_up {
            self.hub.withdraw(self.neighbor);
            // The overlay ends with the node; nobody is left to care then.
            let _ = self.hub.inputs.send(Input::LinkDown { peer: self.neighbor.number() }).await;
        }
        self.held = None;
    }
}

/// The part of a trunk's task that decides when it is up and when it ends.
pub(super) struct Conduct<'a> {
    pub(super) hub: &'a Arc<Hub>,
    pub(super) neighbor: &'a Arc<Neighbor>,
    pub(super) echo: &'a Echo,
    pub(super) say: mpsc::Sender<Say>,
    pub(super) hello: TrunkHello,
    pub(super) met_at: Now,
}

/// What has to be there before the link is up.
#[derive(Default)]
struct Progress {
    data: bool,
    clock_good: bool,
    up_said: bool,
    up_heard: bool,
}

impl Conduct<'_> {
    /// Runs until the trunk ends; says why.
    pub(super) async fn run<R: AsyncRead + Unpin>(
        self,
        reader: &mut FrameReader<R>,
        arrival: oneshot::Receiver<DataStream>,
        linked: &mut Linked<'_>,
        carrying: &mut Carrying,
    ) -> End {
        match self.go(reader, arrival, linked, carrying).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn go<R: AsyncRead + Unpin>(
        &self,
        reader: &mut FrameReader<R>,
        arrival: oneshot::Receiver<DataStream>,
        linked: &mut Linked<'_>,
        carrying: &mut Carrying,
    ) -> Result<Infallible, End> {
        let (hub, neighbor) = (self.hub, self.neighbor);
        let up_by = Instant::now() + UP_TIME;
        let mut progress = Progress::default();
        let mut rtt = RoundTrip::default();
        let mut watch = Watch::new();
        let mut connecting = std::pin::pin!(self.connect(arrival));
        self.say_now(Say::Beat);
        loop {
            tokio::select! {
                frame = reader.next(|| neighbor.hear(hub.now_us())) => match frame? {
                    TrunkFrame::Heartbeat(beat) => match self.beat(&beat, &mut rtt) {
                        Some(_) if linked.was_up() => self.report(&mut rtt),
                        Some(rtt_us) if !progress.clock_good => {
                            self.judge_clock(rtt_us).await?;
                            progress.clock_good = true;
                        }
                        Some(_) => {}
                        // Nothing of ours was there to echo yet: the sooner it hears ours, the sooner the link is up.
                        None => self.say_now(Say::Beat),
                    },
                    TrunkFrame::Up => progress.up_heard = true,
                    TrunkFrame::Message(bytes) if linked.was_up() => {
                        if self.hand_on(bytes).await? {
                            watch.forgive(hub);
                        }
                    }
                    TrunkFrame::Close(reason) => return Err(End::Theirs(reason)),
                    TrunkFrame::Hello(_) | TrunkFrame::Message(_) => {
                        return Err(End::Ours(TrunkRefusal::Malformed));
                    }
                },
                silent = watch.tick(hub, neighbor) => if silent {
                    return Err(End::Ours(TrunkRefusal::Silent));
                },
                stream = &mut connecting, if !progress.data => {
                    let carried = data::carry(Arc::clone(hub), Arc::clone(neighbor), stream?);
                    carrying.0 = Some(AbortOnDropHandle::new(tokio::spawn(carried)));
                    progress.data = true;
                }
                end = carrying.ended() => return Err(end),
                () = tokio::time::sleep_until(up_by), if !linked.was_up() => {
                    return Err(End::Ours(TrunkRefusal::TooSlow));
                }
                () = neighbor.closed.cancelled() => return Err(End::Ours(neighbor.closing())),
                () = hub.stop.cancelled() => return Err(End::Ours(TrunkRefusal::Leaving)),
            }
            if progress.data && progress.clock_good && !std::mem::replace(&mut progress.up_said, true) {
                self.say_now(Say::Up);
            }
            if progress.up_said && progress.up_heard && !linked.was_up() {
                linked.begin().await?;
                self.report(&mut rtt);
            }
        }
    }

    /// The data connection: dialled by the end that dialled control, awaited by the other.
    async fn connect(&self, arrival: oneshot::Receiver<DataStream>) -> Result<DataStream, End> {
        let neighbor = self.neighbor;
        if !neighbor.dialled {
            // Ends by the deadline of the whole, if nothing comes.
            return arrival.await.map_err(|_| End::Broken("no data connection".into()));
        }
        let dialled = connect(self.hub, &neighbor.address, Purpose::Data, Some(neighbor.number())).await;
        let mut dialled = dialled.map_err(|error| End::Broken(error.to_string()))?;
        if dialled.peer.identity.certificate != neighbor.peer.identity.certificate {
            // Replaced between the two connections: the next attempt meets the new one twice.
            return Err(End::Ours(TrunkRefusal::WrongNode));
        }
        let named = async {
            dialled.stream.write_u64(neighbor.trunk).await?;
            dialled.stream.flush().await
        };
        named.await.map_err(|error| End::Broken(error.to_string()))?;
        Ok(dialled.stream)
    }

    /// There is room for what is said a few times in a trunk's life; a heartbeat too many is none to wait for.
    fn say_now(&self, say: Say) {
        let _ = self.say.try_send(say);
    }

    fn beat(&self, beat: &Heartbeat, rtt: &mut RoundTrip) -> Option<u32> {
        let now_us = self.hub.now_us();
        self.echo.hear(beat.sent_us, now_us);
        let rtt_us = round_trip(beat, now_us)?;
        rtt.measure(rtt_us);
        self.neighbor.rtt_us.store(rtt_us.max(1), Relaxed);
        Some(rtt_us)
    }

    async fn judge_clock(&self, rtt_us: u32) -> Result<(), End> {
        let offset_ms = offset(&self.hello, self.met_at, rtt_us);
        self.neighbor.offset_ms.store(offset_ms, Relaxed);
        self.hub.judge_clock(self.neighbor.number(), offset_ms).await.map_err(End::Ours)
    }

    /// Tells the overlay the best round trip since it was last told, once a second.
    fn report(&self, rtt: &mut RoundTrip) {
        if let Some(rtt_us) = rtt.due() {
            // One of many samples: the next one says the same.
            let _ = self.hub.inputs.try_send(Input::LinkRtt { peer: self.neighbor.number(), rtt_us });
        }
    }

    /// Hands a message to the overlay; waits while it has no room, and says whether it had to. What this end says does not
    /// wait with it, so the other end goes on hearing heartbeats; its own messages are held back by the stream's window.
    async fn hand_on(&self, bytes: Vec<u8>) -> Result<bool, End> {
        let message = Input::Message { from: self.neighbor.number(), bytes: bytes.into() };
        let message = match self.hub.inputs.try_send(message) {
            Ok(()) => return Ok(false),
            Err(TrySendError::Closed(_)) => return Err(End::Ours(TrunkRefusal::Leaving)),
            Err(TrySendError::Full(message)) => message,
        };
        tokio::select! {
            sent = self.hub.inputs.send(message) => match sent {
                Ok(()) => Ok(true),
                Err(_) => Err(End::Ours(TrunkRefusal::Leaving)),
            },
            () = self.neighbor.closed.cancelled() => Err(End::Ours(self.neighbor.closing())),
            () = self.hub.stop.cancelled() => Err(End::Ours(TrunkRefusal::Leaving)),
        }
    }
}

/// The task of the data connection. Outlives the conduct, so that the last word on control is not overtaken by the end of
/// data.
#[derive(Default)]
pub(super) struct Carrying(Option<AbortOnDropHandle<End>>);

impl Carrying {
    /// Waits for its end; for ever while there is none.
    async fn ended(&mut self) -> End {
        match &mut self.0 {
            Some(task) => task.await.unwrap_or_else(|error| End::Broken(error.to_string())),
            None => std::future::pending().await,
        }
    }
}

/// The wall clock of the other end less ours \[TRK-11\].
fn offset(hello: &TrunkHello, met_at: Now, rtt_us: u32) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let there = signed(hello.wall.0).saturating_add(i64::from(rtt_us / 2_000));
    there.saturating_sub(signed(met_at.wall.0))
}

/// The round trip that a heartbeat tells of, if it echoes one of ours \[TRK-9\].
fn round_trip(beat: &Heartbeat, now_us: u64) -> Option<u32> {
    if beat.echo_us == 0 {
        return None;
    }
    let since = now_us.checked_sub(beat.echo_us)?.checked_sub(beat.held_us.into())?;
    u32::try_from(since).ok()
}

/// Samples since the overlay was last told.
#[derive(Default)]
struct RoundTrip {
    best_us: Option<u32>,
    told_at: Option<Instant>,
}

impl RoundTrip {
    fn measure(&mut self, rtt_us: u32) {
        self.best_us = Some(self.best_us.map_or(rtt_us, |best_us| best_us.min(rtt_us)));
    }

    fn due(&mut self) -> Option<u32> {
        if self.told_at.is_some_and(|at| at.elapsed() < RTT_INTERVAL) {
            return None;
        }
        self.told_at = Some(Instant::now());
        self.best_us.take()
    }
}

/// Looks for silence at every heartbeat.
struct Watch {
    ticks: tokio::time::Interval,
    last: Instant,
    /// Up to here silence may be this process's own.
    forgiven_us: u64,
}

impl Watch {
    fn new() -> Watch {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Watch { ticks, last: Instant::now(), forgiven_us: 0 }
    }

    /// Nothing was read up to now: what was not heard is this end's own doing.
    fn forgive(&mut self, hub: &Hub) {
        self.forgiven_us = hub.now_us();
    }

    /// Whether the other end has been silent for too long. A process that was itself held up does not blame others.
    async fn tick(&mut self, hub: &Hub, neighbor: &Neighbor) -> bool {
        self.ticks.tick().await;
        let now_us = hub.now_us();
        if self.last.elapsed() > 2 * HEARTBEAT {
            self.forgive(hub);
        }
        self.last = Instant::now();
        let own = Duration::from_micros(now_us.saturating_sub(self.forgiven_us));
        neighbor.silence(now_us).min(own) > SILENCE_MAX
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::{NodeNumber, Timestamp, WallTime};

    use super::*;

    /// \[TRK-9\]: time since the echo less what it was held; nothing from one without an echo, or an impossible one.
    #[test]
    fn round_trips_are_what_is_left_of_the_echo() {
        let beat = |echo_us, held_us| Heartbeat { sent_us: 1, echo_us, held_us };
        assert_eq!(round_trip(&beat(1_000, 400), 5_400), Some(4_000));
        assert_eq!(round_trip(&beat(0, 0), 5_400), None);
        assert_eq!(round_trip(&beat(6_000, 0), 5_400), None, "an echo from the future");
        assert_eq!(round_trip(&beat(5_000, 500), 5_400), None, "held longer than it can have been");
    }

    /// \[TRK-11\]
    #[test]
    fn offsets_count_half_the_way() {
        let hello = |wall| TrunkHello {
            version_min: 1,
            version_max: 1,
            node: NodeNumber::new(1).unwrap(),
            wall: WallTime(wall),
            trunk: 0,
            mesh: String::new(),
            software: String::new(),
        };
        let met_at = Now { mono: Timestamp::ZERO, wall: WallTime(10_000) };
        assert_eq!(offset(&hello(9_990), met_at, 20_000), 0);
        assert_eq!(offset(&hello(0), met_at, 0), -10_000);
        assert_eq!(offset(&hello(u64::MAX), met_at, 0), i64::MAX - 10_000);
    }

    /// The overlay is told the best of a second, once a second at most.
    #[test]
    fn the_best_round_trip_is_told() {
        let mut rtt = RoundTrip::default();
        rtt.measure(300);
        rtt.measure(200);
        assert_eq!(rtt.due(), Some(200));
        rtt.measure(900);
        assert_eq!(rtt.due(), None, "too soon");
    }
}
