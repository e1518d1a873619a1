//! What the demo says: a line for each step with its time, and a summary.

use std::time::{Duration, Instant};

use super::canary::Found;

/// The words of the demo.
pub(super) struct Report {
    started: Instant,
    step_started: Instant,
    transfers: Vec<Transfer>,
    gaps: Vec<(String, u64, String)>,
    picture: String,
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
        Report {
            started,
            step_started: Instant::now(),
            transfers: Vec::new(),
            gaps: Vec::new(),
            picture: String::new(),
            found: None,
        }
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

    /// Something happened to somebody's node, and this event told of being back.
    pub(super) fn gap(&mut self, what: &str, event: &serde_json::Value) {
        let gap_ms = event["gap_ms"].as_u64().unwrap_or_default();
        let how = match event["how"].as_str() {
            Some("standby") => "the standby took over",
            Some("moved") => "moved to another node first",
            _ => "attached anew",
        };
        self.step(&format!("{what} in the middle of the file: {how}, {gap_ms} ms"));
        self.gaps.push((what.to_owned(), gap_ms, how.to_owned()));
    }

    /// The mesh, drawn.
    pub(super) fn picture(&mut self, picture: String) {
        self.picture = picture;
    }

    /// The search is over, and found what it should.
    pub(super) fn search(&mut self, found: Found) {
        self.step(&format!(
            "searched {} MiB that the nodes saw after TLS: the mark in the clear {} times, of {} secrets none",
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
        for (what, gap_ms, how) in &self.gaps {
            println!("{what}: {how}; cut off for {gap_ms} ms, nothing lost.");
        }
        println!("\nThe mesh, as node 1 saw it before:\n\n{}", self.picture);
        if let Some(found) = &self.found {
            println!("Seen by the nodes: {} MiB, nothing of it readable.", found.bytes >> 20);
        }
        println!("All of it in {:.1} s.", self.started.elapsed().as_secs_f64());
    }
}
