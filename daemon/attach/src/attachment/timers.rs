//! Deadlines of one attachment: admission \[ATT-3\], an unfinished frame and writing \[FLW-6\], silence \[FLW-3\], the
//! ticket's end \[ATT-13\].

use std::time::Duration;

use proto_spec::{Now, Refusal, Timestamp, WallTime};

use crate::config::PINGS_MISSED_MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    Ping(u64),
    Refuse(Refusal),
    /// The grace of an endpoint that has moved is over.
    Leave,
}

#[derive(Debug)]
pub(super) struct Timers {
    /// Until a valid ticket.
    admission_by: Option<Timestamp>,
    /// Until the frame that has begun is complete.
    frame_by: Option<Timestamp>,
    /// Until the socket takes more bytes.
    write_by: Option<Timestamp>,
    /// When the next ping is due; moves on with every byte received.
    ping_at: Option<Timestamp>,
    pings: u32,
    tokens: u64,
    ping: Duration,
    /// Until what is under way to an endpoint that has moved has come.
    leave_at: Option<Timestamp>,
    /// When the ticket ends: by the wall clock, and when to look at it.
    expires: Option<(WallTime, Timestamp)>,
}

impl Timers {
    pub(super) fn new(now: Timestamp, admission: Duration) -> Timers {
        Timers {
            admission_by: Some(now + admission),
            frame_by: None,
            write_by: None,
            ping_at: None,
            pings: 0,
            tokens: 0,
            ping: Duration::ZERO,
            leave_at: None,
            expires: None,
        }
    }

    pub(super) fn admitted(&mut self, now: Timestamp, ping: Duration) {
        self.admission_by = None;
        self.ping = ping;
        self.ping_at = Some(now + ping);
    }

    pub(super) fn leave(&mut self, at: Timestamp) {
        self.leave_at = Some(at);
    }

    pub(super) fn received(&mut self, now: Timestamp) {
        self.pings = 0;
        if let Some(ping_at) = &mut self.ping_at {
            *ping_at = now + self.ping;
        }
    }

    /// `open`: whether part of a frame has arrived. Its deadline counts from its first byte.
    pub(super) fn frame_begun(&mut self, now: Timestamp, open: bool, completed: bool, timeout: Duration) {
        if !open {
            self.frame_by = None;
        } else if completed || self.frame_by.is_none() {
            self.frame_by = Some(now + timeout);
        }
    }

    pub(super) fn written(&mut self, now: Timestamp, progress: bool, pending: bool, timeout: Duration) {
        if !pending {
            self.write_by = None;
        } else if progress || self.write_by.is_none() {
            self.write_by = Some(now + timeout);
        }
    }

    pub(super) fn set_expiry(&mut self, now: Now, expires: WallTime) {
        let left = Duration::from_millis(expires.0.saturating_sub(now.wall.0));
        self.expires = Some((expires, now.mono + left));
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let expiry = self.expires.map(|(_, at)| at);
        let timers = [self.admission_by, self.frame_by, self.write_by, self.ping_at, self.leave_at, expiry];
        timers.into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Now) -> Due {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now.mono);
        if due(self.leave_at) {
            return Due::Leave;
        }
        if due(self.admission_by) || due(self.frame_by) {
            return Due::Refuse(Refusal::TooSlow);
        }
        if due(self.write_by) {
            return Due::Refuse(Refusal::FellBehind);
        }
        if let Some((expires, at)) = self.expires
            && at <= now.mono
        {
            if now.wall >= expires {
                return Due::Refuse(Refusal::TicketExpired);
            }
            // The wall clock was set back meanwhile: look again when it says so.
            self.set_expiry(now, expires);
        }
        if due(self.ping_at) {
            if self.pings >= PINGS_MISSED_MAX {
                return Due::Refuse(Refusal::TooSlow);
            }
            self.pings += 1;
            self.tokens += 1;
            self.ping_at = Some(now.mono + self.ping);
            return Due::Ping(self.tokens);
        }
        Due::Nothing
    }
}
