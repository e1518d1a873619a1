//! What the demo says: a line for each step with its time, and a summary.

use std::time::{Duration, Instant};

use super::canary::Found;

/// The words of the demo.
pub(super) struct Report {
    started: Instant,
    step_started: Instant,
    transfers: Vec<Transfer>,
    found: Option<Found>,
}

/// A file that arrived.
pub(super) struct Transfer {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) bytes: u64,
    /// From the command to the checked and stored file.
    pub(super) took: Duration,
    /// From the receiver's first sign of it to the same.
    pub(super) streamed: Duration,
    pub(super) hash: blake3::Hash,
}

impl Report {
    pub(super) fn new(started: Instant) -> Report {
        Report { started, step_started: Instant::now(), transfers: Vec::new(), found: None }
    }

    /// A step is done.
    pub(super) fn step(&mut self, what: &str) {
        println!("{:>7.2} s  {what}", self.step_started.elapsed().as_secs_f64());
        self.step_started = Instant::now();
    }

    /// A file arrived, and is what was sent.
    pub(super) fn transfer(&mut self, transfer: Transfer) {
        self.step(&format!(
            "{} sent {} {} MiB; BLAKE3 {}… there as here",
            transfer.from,
            transfer.to,
            transfer.bytes >> 20,
            &transfer.hash.to_hex()[..16]
        ));
        self.transfers.push(transfer);
    }

    /// The search is over, and found what it should.
    pub(super) fn search(&mut self, found: Found) {
        self.step(&format!(
            "searched {} MiB that the node saw after TLS: the mark in the clear {} times, of {} secrets none",
            found.bytes >> 20,
            found.planted,
            found.secrets
        ));
        self.found = Some(found);
    }

    /// The summary.
    pub(super) fn print(&self) {
        println!();
        for transfer in &self.transfers {
            let rate = |span: Duration| transfer.bytes as f64 / 1e6 / span.as_secs_f64().max(1e-6);
            println!(
                "{} -> {}: {} MiB in {:.2} s, {:.0} MB/s from the command to the checked file ({:.0} MB/s while it moved)",
                transfer.from,
                transfer.to,
                transfer.bytes >> 20,
                transfer.took.as_secs_f64(),
                rate(transfer.took),
                rate(transfer.streamed)
            );
        }
        if let Some(found) = &self.found {
            println!("Seen by the node: {} MiB, nothing of it readable.", found.bytes >> 20);
        }
        println!("All of it in {:.1} s.", self.started.elapsed().as_secs_f64());
    }
}
