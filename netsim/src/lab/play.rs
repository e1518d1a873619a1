//! A scenario with real programs: sets the stage, waits for its time 0, brings about what stands in the file, and writes
//! down what happened. Decides nothing about good or bad: that is the report's.
//!
//! One thread waits for what comes next: a line to say, a fault, an event of a program, a node to look after.

mod stage;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use proto_spec::NodeNumber;

use super::converge::Converging;
use super::measure::{Gap, Lines};
use super::mesh::{Crash, NodeState};
use super::people::Told;
use super::programs::Programs;
use crate::scenario::{Fault, LoadKind, Scenario};
use crate::state::EndState;
use sealcast_process::Hub;
use stage::Stage;
pub(super) use stage::playable;

/// How long what is under way at the end is waited for.
const LATE: Duration = Duration::from_secs(60);
/// How often nodes that start or drain are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How often all others are.
const GLANCE: Duration = Duration::from_millis(500);
/// How often the nodes' memory is.
const SAMPLE: Duration = Duration::from_secs(5);

/// What happened in one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// Lines of chat.
    pub(super) lines: Lines,
    /// To whom each sender's lines go.
    pub(super) receivers: Vec<Vec<usize>>,
    /// Names of everybody.
    pub(super) names: Vec<String>,
    /// Gaps of all flows after all faults.
    pub(super) gaps: Vec<Gap>,
    /// The times of faults with their names; faults of one moment are one.
    pub(super) faults: Vec<(Duration, String)>,
    /// Files that should have come, and that did.
    pub(super) files: (u64, u64),
    /// Who is no member in the end, and why.
    pub(super) departed: Vec<String>,
    /// Who moved although no fault named its node.
    pub(super) moved_beyond: Vec<String>,
    /// How and for how long endpoints were cut off.
    pub(super) reattached: Vec<(usize, Duration, String)>,
    /// From the last change to agreement, for each change that was followed by one: its place among all of them.
    pub(super) converged: Vec<(usize, Duration)>,
    /// Changes that were not followed by agreement before the next one, or the end.
    pub(super) unconverged: u64,
    /// A program that ended or panicked although nothing asked it to.
    pub(super) crash: Option<String>,
    /// Resident memory of each node's process, in KiB, sample by sample from its start.
    pub(super) memory: BTreeMap<(NodeNumber, u32), Vec<u64>>,
    /// What else is to be known.
    pub(super) notes: BTreeSet<String>,
    /// Where everything is in the end, if that is wanted and nothing crashed.
    pub(super) state: Option<EndState>,
}

/// What one run is given.
pub(super) struct Run<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) programs: &'a Programs,
    pub(super) hub: &'a Hub,
    pub(super) folder: &'a Path,
    pub(super) seed: u64,
    /// Without faults, to compare.
    pub(super) undisturbed: bool,
    /// Endpoints reach no nodes but those that the scenario names for them, whatever happens.
    pub(super) kept: bool,
    /// Programs stand in network namespaces.
    pub(super) netns: bool,
    /// Whether they are asked in the end where everything is.
    pub(super) state: bool,
    pub(super) log_level: &'a str,
}

/// A line or file to come.
struct Task {
    who: usize,
    kind: LoadKind,
    /// When the next one is due; `None` while the file before it is under way.
    next: Option<Duration>,
    every: Duration,
    stop: Duration,
    /// Files: those that have begun.
    begun: u64,
    /// Files: the load's place in the scenario.
    load: usize,
}

/// Plays it.
///
/// # Errors
/// When the stage cannot be set, or the user asks to stop. What goes wrong later is in the record.
pub(super) fn play(run: &Run<'_>) -> anyhow::Result<Record> {
    let mut stage = Stage::set(run)?;
    let mut record = Record {
        receivers: stage.receivers(),
        names: stage.names(),
        notes: stage.notes.clone(),
        ..Record::default()
    };
    let mut playing = Playing {
        converging: Converging::new(),
        tasks: tasks(run.scenario, &stage),
        faults: Vec::new(),
        named: BTreeSet::new(),
        files_sent: Vec::new(),
        begun: Instant::now(),
    };
    // An undisturbed run has its gaps at the same times: what the load itself costs.
    for fault in &run.scenario.faults {
        let name = name_of(&fault.fault);
        match record.faults.last_mut() {
            Some((last, names)) if *last == fault.at => {
                names.push_str(" + ");
                names.push_str(&name);
            }
            _ => record.faults.push((fault.at, name)),
        }
    }
    if !run.undisturbed {
        playing.faults = run.scenario.faults.iter().map(|fault| (fault.at, fault.fault.clone())).collect();
    }
    let end = match playing.go(run, &mut stage, &mut record) {
        Ok(end) => end,
        Err(error) if error.is::<Crash>() => {
            record.crash = Some(format!("{error:#}"));
            playing.begun.elapsed()
        }
        Err(error) => return Err(error),
    };
    let times: Vec<Duration> = record.faults.iter().map(|(at, _)| *at).collect();
    record.gaps = record.lines.gaps(&times, end);
    playing.close(&stage, &mut record);
    if run.state && record.crash.is_none() {
        record.state = Some(state::end(&mut stage, run.scenario)?);
    }
    record.crash = record.crash.or_else(|| panicked(run.folder));
    Ok(record)
}

struct Playing<'h> {
    converging: Converging<'h>,
    tasks: Vec<Task>,
    /// Those to come, by time.
    faults: Vec<(Duration, Fault)>,
    /// Nodes that a fault has named.
    named: BTreeSet<NodeNumber>,
    /// Files that were offered: who, and its name.
    /// By whom, the name, and where it was before it had gone to all.
    files_sent: Vec<(usize, String, PathBuf)>,
    begun: Instant,
}

impl<'h> Playing<'h> {
    /// Until the end, and until what is under way then has arrived; when that was.
    fn go(&mut self, run: &Run<'h>, stage: &mut Stage<'h>, record: &mut Record) -> anyhow::Result<Duration> {
        let duration = run.scenario.duration;
        self.begun = Instant::now();
        let (mut look_at, mut sample_at) = (Duration::ZERO, Duration::ZERO);
        if run.scenario.nodes.len() > 1 && self.faults.is_empty() {
            self.converging.changed(self.begun);
        }
        loop {
            let now = self.begun.elapsed();
            self.bring_about(run, stage, record, now)?;
            self.send(run, stage, record, now)?;
            if now >= look_at {
                let busy = stage.mesh.tend()?;
                look_at = now + if busy { LOOK } else { GLANCE };
                self.converging.tend(run.hub, run.folder, &stage.mesh, &stage.cut())?;
            }
            if now >= sample_at {
                sample_at = now + SAMPLE;
                for node in stage.mesh.numbers() {
                    if let Some(process) = stage.mesh.process(node)
                        && let Some(kib) = resident_kib(process)
                    {
                        record.memory.entry((node, process)).or_default().push(kib);
                    }
                }
            }
            let over = now >= duration;
            if over && (now >= duration + LATE || self.complete(stage, record)) {
                return Ok(now);
            }
            let next = self.tasks.iter().filter_map(|task| task.next);
            let next = next.chain(self.faults.iter().map(|(at, _)| *at)).chain([look_at]);
            let next = next.chain((!over).then_some(duration)).min().unwrap_or(now + GLANCE);
            let Some(happening) = run.hub.happening(self.begun + next.max(now))? else { continue };
            if self.converging.hear(&happening) {
                continue;
            }
            for (who, at, told) in stage.people.hear(&happening) {
                self.hear(stage, record, who, at, told);
            }
        }
    }

    fn bring_about(
        &mut self,
        run: &Run<'h>,
        stage: &mut Stage<'h>,
        record: &mut Record,
        now: Duration,
    ) -> anyhow::Result<()> {
        let due = self.faults.iter().take_while(|(at, _)| *at <= now).count();
        if due == 0 {
            return Ok(());
        }
        for (at, fault) in self.faults.drain(..due).collect::<Vec<_>>() {
            self.named.extend(nodes_of(&fault));
            stage
                .apply(run.scenario, &fault)
                .with_context(|| format!("{} at {} s", name_of(&fault), at.as_secs_f32()))?;
        }
        if run.scenario.nodes.len() > 1 && self.converging.changed(Instant::now()) {
            record.unconverged += 1;
        }
        Ok(())
    }

    fn send(
        &mut self,
        run: &Run<'h>,
        stage: &mut Stage<'h>,
        record: &mut Record,
        now: Duration,
    ) -> anyhow::Result<()> {
        self.tasks.retain(|task| task.next.is_none_or(|next| next < task.stop));
        for task in &mut self.tasks {
            let Some(due) = task.next.filter(|next| *next <= now) else { continue };
            match task.kind {
                LoadKind::Chat { bytes, .. } => {
                    // Those that were missed while something else took its time are not made up for.
                    let missed = (now - due).as_nanos() / task.every.as_nanos().max(1);
                    task.next = Some(due + task.every * (u32::try_from(missed).unwrap_or(0) + 1));
                    if stage.seats[task.who].over.is_some() {
                        continue;
                    }
                    let number = record.lines.hand_over(task.who, self.begun.elapsed());
                    if let Err(error) = stage.people.say(task.who, &line(task.who, number, bytes)) {
                        record.notes.insert(format!("{error:#}"));
                    }
                }
                LoadKind::File { bytes, count } => {
                    // The next one when this one is done, by the sender's word.
                    let name = format!("f{}-{}-{}", task.load, task.who, task.begun);
                    task.begun += 1;
                    task.next = (task.begun == count).then_some(task.stop);
                    let content = format!("content-{}-{}", task.load, task.who);
                    let path = offered(run.folder, &name, &content, bytes)?;
                    stage.people.send(task.who, &path)?;
                    self.files_sent.push((task.who, name, path));
                }
                LoadKind::Packets { .. } => task.next = Some(task.stop),
            }
        }
        Ok(())
    }

    fn hear(&mut self, stage: &mut Stage<'h>, record: &mut Record, who: usize, at: Instant, told: Told) {
        let since = at.saturating_duration_since(self.begun);
        match &told {
            Told::Chat { text, .. } => {
                if let Some((sender, number)) = number_of(text)
                    && sender != who
                {
                    record.lines.deliver(sender, who, number, since);
                }
            }
            // What has arrived whole is of no more use, and a long run would fill the disk.
            Told::File { received: Some(path), .. } => discard(path, record),
            Told::File { name, received: None } => {
                if let Some((_, _, path)) = self.files_sent.iter().find(|(_, sent, _)| sent == name) {
                    discard(path, record);
                }
                let offered = |task: &&mut Task| {
                    task.who == who && name.starts_with(&format!("f{}-{}-", task.load, task.who))
                };
                if let Some(task) = self.tasks.iter_mut().find(offered) {
                    task.next.get_or_insert(since);
                }
            }
            Told::Refused(reason) => {
                record.notes.insert(format!("{} was refused: {reason}", stage.people.name(who)));
            }
            Told::FileFailed(reason) => {
                record.notes.insert(format!("a file of {}: {reason}", stage.people.name(who)));
            }
            Told::Reattached { gap, how, node } => {
                record.reattached.push((who, *gap, how.clone()));
                let to = node.and_then(|front| stage.mesh.node_at(front));
                let from = stage.seats[who].node;
                let elsewhere = from.is_some() && to != from;
                if elsewhere && from.is_some_and(|from| !self.named.contains(&from)) {
                    record.moved_beyond.push(stage.people.name(who).to_owned());
                }
                stage.seats[who].node = to;
            }
            _ => {}
        }
        stage.hear(who, told);
    }

    fn complete(&self, stage: &Stage<'h>, record: &Record) -> bool {
        let receivers = |sender: usize| -> Vec<usize> {
            let all = record.receivers[sender].iter();
            all.copied().filter(|receiver| stage.seats[*receiver].over.is_none()).collect()
        };
        let files = self.files_sent.iter().all(|(who, name, _)| {
            receivers(*who).into_iter().all(|receiver| stage.seats[receiver].files.contains(name))
        });
        let members = stage.seats.iter().all(|seat| seat.over.is_some() || seat.member());
        let quiet = self.tasks.iter().all(|task| task.next.is_some());
        quiet && files && members && !self.converging.is_open() && record.lines.complete(receivers)
    }

    /// What can be said only in the end.
    fn close(&mut self, stage: &Stage<'h>, record: &mut Record) {
        for (who, name, _) in &self.files_sent {
            for receiver in &record.receivers[*who] {
                record.files.0 += 1;
                record.files.1 += u64::from(stage.seats[*receiver].files.contains(name));
            }
        }
        for (who, seat) in stage.seats.iter().enumerate() {
            if let Some(why) = &seat.over {
                record.departed.push(format!("{}: {why}", stage.people.name(who)));
            } else if !seat.member() {
                record.departed.push(format!("{}: {}", stage.people.name(who), seat.state));
            }
        }
        record.converged = self.converging.times();
        record.unconverged += u64::from(self.converging.is_open());
        for node in stage.mesh.numbers() {
            if stage.mesh.state(node) == NodeState::Draining {
                record.notes.insert(format!("node {node} was still draining at the end"));
            }
        }
    }
}

/// A process's resident memory.
fn resident_kib(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// What endpoints are to send, each with its first time: alike ones are spread over their period.
fn tasks(scenario: &Scenario, stage: &Stage<'_>) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (at, load) in scenario.workload.iter().enumerate() {
        let meant = scenario.meant(load.session.as_deref(), load.from.as_deref());
        let every = match load.kind {
            LoadKind::Chat { per_s, .. } | LoadKind::Packets { per_s, .. } => {
                Duration::from_nanos(1_000_000_000 / per_s)
            }
            LoadKind::File { .. } => Duration::ZERO,
        };
        let count = u32::try_from(meant.len()).unwrap_or(u32::MAX).max(1);
        for (place, (session, endpoint)) in (0u32..).zip(&meant) {
            tasks.push(Task {
                who: stage.who(*session, *endpoint),
                kind: load.kind,
                next: Some(load.start + every * place / count),
                every,
                stop: load.stop,
                begun: 0,
                load: at,
            });
        }
    }
    tasks
}

/// A line that tells whose it is and its number, as long as it should be.
fn line(who: usize, number: u64, bytes: usize) -> String {
    let mut text = format!("{who:05}.{number:09}.");
    text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len())));
    text
}

fn number_of(text: &str) -> Option<(usize, u64)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A file to offer. Its content is made once and has many names, so that one file after the other costs the lab no time in
/// which it should listen.
fn offered(folder: &Path, name: &str, content: &str, bytes: u64) -> anyhow::Result<PathBuf> {
    let folder = folder.join("files");
    std::fs::create_dir_all(&folder)?;
    let (content, path) = (folder.join(content), folder.join(name));
    if !content.exists() {
        write_file(&content, bytes)?;
    }
    std::fs::hard_link(&content, &path).with_context(|| format!("{}", path.display()))?;
    Ok(path)
}

/// Bytes that nothing can make shorter, equal for equal names.
fn write_file(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let name = path.file_name().context("a path without a name")?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_encoded_bytes());
    let mut file = std::fs::File::create(path).with_context(|| format!("{}", path.display()))?;
    std::io::copy(&mut std::io::Read::take(hasher.finalize_xof(), bytes), &mut file)?;
    Ok(())
}

fn discard(path: &Path, record: &mut Record) {
    if let Err(error) = std::fs::remove_file(path) {
        record.notes.insert(format!("{}: {error}", path.display()));
    }
}

/// A panic in a node's log.
fn panicked(folder: &Path) -> Option<String> {
    let entries = std::fs::read_dir(folder).ok()?;
    let logs = entries.filter_map(|entry| Some(entry.ok()?.path()));
    logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")).find_map(|path| {
        let text = std::fs::read_to_string(&path).ok()?;
        let line = text.lines().find(|line| line.contains("panicked at"))?;
        Some(format!("{}: {line}", path.file_name()?.to_string_lossy()))
    })
}

/// A fault as the report calls it.
pub(super) fn name_of(fault: &Fault) -> String {
    let list = |nodes: &[NodeNumber]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match fault {
        Fault::Kill(nodes) => format!("kill {}", list(nodes)),
        Fault::Stop(nodes) => format!("stop {}", list(nodes)),
        Fault::Continue(nodes) => format!("continue {}", list(nodes)),
        Fault::Restart(nodes) => format!("restart {}", list(nodes)),
        Fault::Drain { nodes, .. } => format!("drain {}", list(nodes)),
        Fault::Undrain(nodes) => format!("undrain {}", list(nodes)),
        Fault::Revoke(nodes) => format!("revoke {}", list(nodes)),
        Fault::Partition(sides) => {
            format!("partition {}", sides.iter().map(|side| list(side)).collect::<Vec<_>>().join("|"))
        }
        Fault::Silence { from, to } => format!("silence {}>{}", list(from), list(to)),
        Fault::Heal => "heal".into(),
        Fault::Reset(a, b) => format!("reset {a},{b}"),
        Fault::Loss { between, percent } => format!("loss {percent}% {}", list(between)),
        Fault::Delay { between, by } => format!("delay {} ms {}", by.as_millis(), list(between)),
        Fault::Slow { endpoint, .. } => format!("slow {endpoint}"),
        Fault::SlowNode { nodes, times } => format!("slow {times} times {}", list(nodes)),
        Fault::Lie { nodes, load_percent } => format!("lie {load_percent}% {}", list(nodes)),
        Fault::Clock { nodes, .. } => format!("clock {}", list(nodes)),
    }
}

/// The nodes that a fault names.
fn nodes_of(fault: &Fault) -> Vec<NodeNumber> {
    match fault {
        Fault::Kill(nodes)
        | Fault::Stop(nodes)
        | Fault::Continue(nodes)
        | Fault::Restart(nodes)
        | Fault::Undrain(nodes)
        | Fault::Revoke(nodes)
        | Fault::Drain { nodes, .. }
        | Fault::Clock { nodes, .. }
        | Fault::SlowNode { nodes, .. }
        | Fault::Lie { nodes, .. }
        | Fault::Loss { between: nodes, .. }
        | Fault::Delay { between: nodes, .. } => nodes.clone(),
        Fault::Partition(sides) => sides.concat(),
        Fault::Silence { from, to } => [from.as_slice(), to.as_slice()].concat(),
        Fault::Reset(a, b) => vec![*a, *b],
        Fault::Heal | Fault::Slow { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_it_is() {
        let text = line(7, 12, 64);
        assert_eq!(text.len(), 64);
        assert_eq!(number_of(&text), Some((7, 12)));
        assert_eq!(number_of("good morning"), None);
    }

    #[test]
    fn a_panic_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(panicked(folder.path()), None);
        std::fs::write(folder.path().join("node-2.log"), "fine\nthread 'main' panicked at x.rs\n").unwrap();
        assert!(panicked(folder.path()).unwrap().starts_with("node-2.log: thread"));
    }
}
