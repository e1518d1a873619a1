//! `cargo xtask bench relay`: packets through one relayd on loopback, beside the bare reference relay in the same run.
//!
//! The same generator with the same window drives both, in turns, so that what else the machine does falls on both.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Figure, Target, median};
use crate::load::{Child, Desk, Dev, Flood, Latency, Link, Mesh, Seat, Side, flood, pace};

/// Packet sizes of the floods: an ordinary update, and a full record of TLS.
const PACKET_BYTES: [usize; 2] = [1_200, 16 * 1024];
/// Receivers of the floods.
const RECEIVERS: [usize; 2] = [1, 16];
/// What a relay may cost beside the bare one.
const CPU_RATIO_MAX: f64 = 1.5;
/// What an idle attachment may hold.
const IDLE_KIB_MAX: f64 = 20.0;
/// Idle sessions and their members; every member is attached twice, active and standby.
const IDLE_SESSIONS: usize = 20;
const IDLE_MEMBERS: usize = 25;

struct Plan {
    runs: usize,
    flood: Duration,
    pace: Duration,
}

/// Runs all of it and prints as it goes.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    let plan = if quick {
        Plan { runs: 1, flood: Duration::from_millis(700), pace: Duration::from_millis(700) }
    } else {
        Plan { runs: 3, flood: Duration::from_secs(4), pace: Duration::from_secs(4) }
    };
    let relayd = build_relayd()?;
    let dev = Dev::start(&relayd)?;
    let bare = start_bare(&dev)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&plan, &dev, &bare))
}

/// The two relays, and the seats at the real one.
struct Bench<'a> {
    dev: &'a Dev,
    bare: &'a Child,
    mesh: Mesh,
    bare_mesh: Mesh,
    seats: Vec<Seat>,
    attach_seq: u64,
}

async fn measure(plan: &Plan, dev: &Dev, bare: &Child) -> Result<Vec<Figure>> {
    let mesh = Mesh::from_invite(&dev.invite)?;
    let bare_port: u16 = bare.ready.trim().parse().context("the bare relay's port")?;
    let mut desk = Desk::log_in(&mesh, &dev.account, &dev.password).await?;
    let mut figures = Vec::new();
    println!("relayd on loopback, beside a bare tokio and rustls relay");

    let seats = desk.session(RECEIVERS[1] + 1).await?;
    let bare_mesh = mesh.at_port(bare_port);
    let mut bench = Bench { dev, bare, mesh, bare_mesh, seats, attach_seq: 0 };
    bench.idle(&mut desk, &mut figures).await?;
    for receivers in RECEIVERS {
        for packet_bytes in PACKET_BYTES {
            bench.flood(plan, receivers, packet_bytes, &mut figures).await?;
        }
    }
    for receivers in RECEIVERS {
        bench.latency(plan, receivers, &mut figures).await?;
    }
    Ok(figures)
}

impl Bench<'_> {
    /// Sender and receivers at the relayd, freshly attached.
    async fn attach(&mut self, receivers: usize) -> Result<(Link, Vec<Link>)> {
        self.attach_seq += 1;
        let mut links = Vec::new();
        for seat in &self.seats[1..=receivers] {
            links.push(Link::attach(&self.mesh, seat, self.attach_seq, false).await?);
        }
        Ok((Link::attach(&self.mesh, &self.seats[0], self.attach_seq, false).await?, links))
    }

    async fn connect_bare(&self, receivers: usize) -> Result<(Link, Vec<Link>)> {
        let mut links = Vec::new();
        for _ in 0..receivers {
            links.push(Link::bare(&self.bare_mesh, Side::Receiver).await?);
        }
        Ok((Link::bare(&self.bare_mesh, Side::Sender).await?, links))
    }

    async fn flood(
        &mut self,
        plan: &Plan,
        receivers: usize,
        packet_bytes: usize,
        figures: &mut Vec<Figure>,
    ) -> Result<()> {
        let number = self.seats[0].number;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..plan.runs {
            let (sender, links) = self.attach(receivers).await?;
            let before = self.dev.child.cpu_s()?;
            let run = flood(sender, number, links, packet_bytes, plan.flood).await?;
            ours.push((run, self.dev.child.cpu_s()? - before));

            let (sender, links) = self.connect_bare(receivers).await?;
            let before = self.bare.cpu_s()?;
            let run = flood(sender, number, links, packet_bytes, plan.flood).await?;
            theirs.push((run, self.bare.cpu_s()? - before));
        }
        let name = format!("relay 1->{receivers} {packet_bytes} B");
        let gigabytes = |run: &Flood| run.delivered_bytes as f64 / 1e9;
        let cost =
            |runs: &[(Flood, f64)]| median(runs.iter().map(|(run, cpu_s)| cpu_s / gigabytes(run)).collect());
        let rate = |runs: &[(Flood, f64)]| {
            median(runs.iter().map(|(run, _)| gigabytes(run) / run.elapsed.as_secs_f64()).collect())
        };
        for figure in [
            Figure {
                name: name.clone(),
                unit: "CPU s/GB",
                value: cost(&ours),
                reference: Some(cost(&theirs)),
                target: Some(Target::AtMost(CPU_RATIO_MAX)),
            },
            Figure { name, unit: "GB/s", value: rate(&ours), reference: Some(rate(&theirs)), target: None },
        ] {
            figure.print();
            figures.push(figure);
        }
        Ok(())
    }

    async fn latency(&mut self, plan: &Plan, receivers: usize, figures: &mut Vec<Figure>) -> Result<()> {
        let number = self.seats[0].number;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..plan.runs {
            let (sender, links) = self.attach(receivers).await?;
            ours.push(pace(sender, number, links, PACKET_BYTES[0], plan.pace).await?);
            let (sender, links) = self.connect_bare(receivers).await?;
            theirs.push(pace(sender, number, links, PACKET_BYTES[0], plan.pace).await?);
        }
        for (what, pick) in [
            ("p50", (|latency: &Latency| latency.p50_us) as fn(&Latency) -> f64),
            ("p99", |latency| latency.p99_us),
        ] {
            let figure = Figure {
                name: format!("relay 1->{receivers} 1,000/s {what}"),
                unit: "us",
                value: median(ours.iter().map(pick).collect()),
                reference: Some(median(theirs.iter().map(pick).collect())),
                target: None,
            };
            figure.print();
            figures.push(figure);
        }
        Ok(())
    }

    /// A thousand attachments that say nothing, beside as many bare connections.
    async fn idle(&mut self, desk: &mut Desk, figures: &mut Vec<Figure>) -> Result<()> {
        let mut sessions = Vec::new();
        for _ in 0..IDLE_SESSIONS {
            sessions.push(desk.session(IDLE_MEMBERS).await?);
        }
        let count = IDLE_SESSIONS * IDLE_MEMBERS * 2;
        let before = self.dev.child.resident_kib()?;
        let mut links = Vec::new();
        for seat in sessions.iter().flatten() {
            links.push(Link::attach(&self.mesh, seat, 1, false).await?);
            links.push(Link::attach(&self.mesh, seat, 2, true).await?);
        }
        let ours = (self.dev.child.resident_kib()? - before) / count as f64;
        drop(links);

        let before = self.bare.resident_kib()?;
        let mut links = Vec::new();
        for _ in 0..count {
            links.push(Link::bare(&self.bare_mesh, Side::Receiver).await?);
        }
        let theirs = (self.bare.resident_kib()? - before) / count as f64;
        drop(links);
        let figure = Figure {
            name: format!("relay idle attachment of {count}"),
            unit: "KiB",
            value: ours,
            reference: None,
            target: Some(Target::AtMost(IDLE_KIB_MAX)),
        };
        figure.print();
        figures.push(figure);
        let figure = Figure {
            name: format!("bare idle connection of {count}"),
            unit: "KiB",
            value: theirs,
            reference: None,
            target: None,
        };
        figure.print();
        figures.push(figure);
        Ok(())
    }
}

/// The relayd that users run: release, built now.
fn build_relayd() -> Result<PathBuf> {
    let built = crate::cargo()
        .args(["build", "--release", "--quiet", "--package", "relayd", "--bin", "relayd"])
        .status();
    if !built.context("cannot start cargo")?.success() {
        bail!("relayd does not build");
    }
    // This very program is of the same build: relayd lies beside it.
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("relayd");
    if !beside.is_file() {
        bail!("{}: not there after the build: run this by `cargo xtask bench`", beside.display());
    }
    Ok(beside)
}

fn start_bare(dev: &Dev) -> Result<Child> {
    let (certificate, key) = dev.identity();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare-relay").arg("--certificate").arg(certificate).arg("--key").arg(key);
    Child::start(&mut command)
}
