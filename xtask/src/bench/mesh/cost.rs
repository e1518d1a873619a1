//! What it costs that packets cross nodes: one sender at node 1, receivers at nodes 2 and 3, and how many copies go over
//! each trunk.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::bench::{Figure, Target, median};
use crate::load::{Desk, Dev, Link, Mesh, Seat, flood, reach};

/// Receivers, half at each of two nodes.
const RECEIVERS: usize = 16;
/// Packet sizes, each with the CPU-seconds that a delivered GB may cost, summed over the three nodes.
const PACKETS: [(usize, f64); 2] = [(1_200, 1.3), (16 * 1024, 1.0)];
/// How long three nodes may take to link.
const LINK: Duration = Duration::from_secs(30);
/// From one look at them to the next.
const LOOK: Duration = Duration::from_millis(100);
/// Counters of frames pass what is under way between them by a little.
const COPIES_MAX: f64 = 1.001;

pub(super) fn run(quick: bool, relayd: &Path) -> Result<Vec<Figure>> {
    let (runs, duration) = if quick { (1, Duration::from_millis(700)) } else { (3, Duration::from_secs(4)) };
    let first = Dev::start(relayd)?;
    let nodes = [first.another(relayd, 2)?, first.another(relayd, 3)?];
    let nodes = [&first, &nodes[0], &nodes[1]];
    wait_linked(&nodes)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mesh = Mesh::from_invite(&first.invite)?.at_port(first.port);
        let mut desk = Desk::log_in(&mesh, &first.account, &first.password).await?;
        let seats = desk.session(RECEIVERS + 1).await?;
        let mut figures = Vec::new();
        let mut attach_seq = 0;
        for (packet_bytes, target) in PACKETS {
            let (mut costs, mut copies, mut rates) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..runs {
                attach_seq += 1;
                let mut links = attach(&mesh, &nodes, &seats, attach_seq).await?;
                let mut sender = Link::attach(&mesh, &seats[0], attach_seq, false).await?;
                reach(&mut sender, seats[0].number, &mut links).await?;
                let before = Counters::read(&nodes)?;
                let run = flood(sender, seats[0].number, links, packet_bytes, duration).await?;
                let used = Counters::read(&nodes)?.since(&before);
                let gigabytes = run.delivered_bytes as f64 / 1e9;
                costs.push(used.cpu_s / gigabytes);
                rates.push(gigabytes / run.elapsed.as_secs_f64());
                copies.push(used.trunk_out / 2.0 / used.frames_in);
            }
            let name = format!("mesh 1->{RECEIVERS} {packet_bytes} B");
            let spread = costs.iter().copied().fold(0.0, f64::max)
                - costs.iter().copied().fold(f64::INFINITY, f64::min);
            for figure in [
                Figure {
                    name: format!("{name} (spread {spread:.2})"),
                    unit: "CPU s/GB",
                    value: median(costs),
                    reference: None,
                    target: Some(Target::AtMost(target)),
                },
                Figure {
                    name: name.clone(),
                    unit: "GB/s",
                    value: median(rates),
                    reference: None,
                    target: None,
                },
                Figure {
                    name: format!("{name} copies a trunk"),
                    unit: "",
                    value: median(copies),
                    reference: None,
                    target: Some(Target::AtMost(COPIES_MAX)),
                },
            ] {
                figure.print();
                figures.push(figure);
            }
        }
        Ok(figures)
    })
}

async fn attach(mesh: &Mesh, nodes: &[&Dev; 3], seats: &[Seat], attach_seq: u64) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    for (at, seat) in seats[1..].iter().enumerate() {
        let node = nodes[1 + at / (RECEIVERS / 2)];
        links.push(Link::attach(&mesh.at_port(node.port), seat, attach_seq, false).await?);
    }
    Ok(links)
}

fn wait_linked(nodes: &[&Dev]) -> Result<()> {
    let deadline = Instant::now() + LINK;
    let linked = |node: &&Dev| node.metric("relayd_trunks", &[]).is_ok_and(|trunks| trunks >= 2.0);
    while !nodes.iter().all(linked) {
        if Instant::now() > deadline {
            bail!("three nodes have not linked in {} s", LINK.as_secs());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What three nodes have used and carried.
struct Counters {
    cpu_s: f64,
    /// Bulk frames from the sender.
    frames_in: f64,
    /// Bulk frames that its node sent to the two others.
    trunk_out: f64,
}

impl Counters {
    fn read(nodes: &[&Dev; 3]) -> Result<Counters> {
        let labels = |direction: &'static str| ["class=\"bulk\"", direction];
        let mut cpu_s = 0.0;
        for node in nodes {
            cpu_s += node.child.cpu_s()?;
        }
        Ok(Counters {
            cpu_s,
            frames_in: nodes[0]
                .metric("relayd_frames_total", &labels("direction=\"in\""))
                .context("frames")?,
            trunk_out: nodes[0].metric("relayd_trunk_frames_total", &labels("direction=\"out\""))?,
        })
    }

    fn since(&self, before: &Counters) -> Counters {
        Counters {
            cpu_s: self.cpu_s - before.cpu_s,
            frames_in: self.frames_in - before.frames_in,
            trunk_out: self.trunk_out - before.trunk_out,
        }
    }
}
