//! Screen updates that wait for one receiver \[FWD-7\]. A complete newer update of a sender's key takes the place of
//! older ones that have not begun to leave; an update that has begun is never cut, one that does not fit is dropped
//! whole.

use std::collections::{BTreeMap, VecDeque};

use proto_spec::{SenderNumber, Timestamp};

use super::{Entry, Item, Push, settle};
use crate::config::SCREEN_KEYS_MAX;
use crate::counters::DropReason;
use crate::run::Run;

/// What is being updated, by whom.
type Key = (SenderNumber, u16);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The update whose first frames have been taken and whose last has not.
    begun: Option<u32>,
    /// The update whose frames are being dropped until its last.
    refused: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct ScreenQueue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Only keys with something to remember.
    states: BTreeMap<Key, State>,
}

impl ScreenQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, now: Timestamp, run: Run, queue_bytes: usize) -> Push {
        let Some(replace) = run.replace() else {
            unreachable!("screen frames without a replace key are refused when parsed")
        };
        let key = (run.sender(), replace.key);
        let state = self.states.get(&key).copied().unwrap_or_default();
        if state.refused == Some(replace.update) {
            return Push::Dropped { reason: DropReason::QueueFull, frames: self.refuse(&run) };
        }
        if state.refused.is_some() {
            // A newer update has begun; the refused one's tail will not come any more.
            self.change(key, |state| state.refused = None);
        }
        // Only a complete update replaces: one that might still lose its tail must not cost the older one.
        let outdated = |other: Key, update: u32| {
            replace.last && other == key && is_newer(replace.update, update) && state.begun != Some(update)
        };
        let freed: usize = self.entries.iter().filter(|entry| entry.belongs(outdated)).map(Entry::cost).sum();
        if self.bytes - freed + run.cost() > queue_bytes || self.states.len() >= SCREEN_KEYS_MAX {
            return Push::Dropped { reason: DropReason::QueueFull, frames: self.refuse(&run) };
        }
        let replaced = if freed > 0 { self.remove(outdated) } else { 0 };
        self.bytes += run.cost();
        self.entries.push_back(Entry { item: Item::Run(run), queued_at: now, settled: false });
        Push::Queued { replaced }
    }

    /// Drops a run and the rest of its update, queued or to come, unless its beginning has already left: then what is
    /// queued still goes. Returns the frames dropped.
    pub(super) fn refuse(&mut self, run: &Run) -> u32 {
        let Some(replace) = run.replace() else { return run.frames() };
        let key = (run.sender(), replace.key);
        let begun = self.states.get(&key).and_then(|state| state.begun);
        let mut dropped = run.frames();
        if begun != Some(replace.update) {
            dropped += self.remove(|other, update| other == key && update == replace.update);
        }
        let fits = self.states.contains_key(&key) || self.states.len() < SCREEN_KEYS_MAX;
        if fits {
            self.change(key, |state| state.refused = (!replace.last).then_some(replace.update));
        }
        dropped
    }

    pub(super) fn pop(&mut self, bytes_max: usize, alone: bool) -> Option<Item> {
        let item = super::pop(&mut self.entries, &mut self.bytes, bytes_max, alone)?;
        if let Some((run, replace)) = item.run().and_then(|run| Some((run, run.replace()?))) {
            let begun = (!replace.last).then_some(replace.update);
            let known = self.states.contains_key(&(run.sender(), replace.key));
            if known || (begun.is_some() && self.states.len() < SCREEN_KEYS_MAX) {
                self.change((run.sender(), replace.key), |state| state.begun = begun);
            }
        }
        Some(item)
    }

    pub(super) fn settle(&mut self) {
        settle(&mut self.entries);
    }

    /// The copies that others get too press on their senders no longer.
    pub(super) fn release(&mut self) {
        for entry in &mut self.entries {
            if let Item::Run(run) = &mut entry.item
                && run.is_shared()
            {
                run.release();
            }
        }
    }

    fn remove(&mut self, matches: impl Fn(Key, u32) -> bool) -> u32 {
        let (mut frames, mut bytes) = (0, 0);
        self.entries.retain(|entry| {
            let goes = entry.belongs(&matches);
            if goes {
                frames += entry.item.run().map_or(0, Run::frames);
                bytes += entry.cost();
            }
            !goes
        });
        self.bytes -= bytes;
        frames
    }

    fn change(&mut self, key: Key, change: impl FnOnce(&mut State)) {
        let state = self.states.entry(key).or_default();
        change(state);
        if state.begun.is_none() && state.refused.is_none() {
            self.states.remove(&key);
        }
    }
}

impl Entry {
    fn cost(&self) -> usize {
        self.item.cost()
    }

    /// Whether the entry is of an update that `matches`.
    fn belongs(&self, matches: impl Fn(Key, u32) -> bool) -> bool {
        self.item
            .run()
            .and_then(|run| Some(matches((run.sender(), run.replace()?.key), run.replace()?.update)))
            .unwrap_or(false)
    }
}

/// Update numbers wrap around.
fn is_newer(update: u32, than: u32) -> bool {
    update != than && update.wrapping_sub(than) < 1 << 31
}
