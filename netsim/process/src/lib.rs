//! Children that cannot outlive their owner, and the one place where all waiting happens: lines of children and the
//! wish to stop arrive in one channel, so that Ctrl-C ends any wait and everything is dropped on the way out.
//!
//! ```text
//! child 1 --stdout--> thread --.                         Process::line --> [LINES_MAX] --> thread --stdin--> child
//! child 2 --stdout--> thread --+--> [LINES_MAX] --> Hub::next, Hub::happening (owner's thread)
//! signals -----------> thread -'
//! ```
//!
//! A child has a process group of its own, which is killed when its handle is dropped; and the kernel kills the child
//! itself when the thread that started it ends for any reason, `kill -9` of the whole program among them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Lines that wait; when it is full the children wait.
const LINES_MAX: usize = 4_096;
/// Lines of a child's talk that are shown when it failed.
const TALK_LINES_SHOWN: usize = 15;
/// How often a child that should end is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// The user asked to stop.
#[derive(Debug)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

/// What a child did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happening {
    /// It wrote a line.
    Line {
        /// Its process id.
        process: u32,
        /// When the line was read.
        at: Instant,
        /// The line.
        text: String,
    },
    /// It closed its output: it has ended, or will.
    Closed {
        /// Its process id.
        process: u32,
    },
}

enum Arrival {
    Line(u32, Instant, String),
    Closed(u32),
    Stop,
}

/// Where everything arrives.
#[derive(Debug)]
pub struct Hub {
    sender: SyncSender<Arrival>,
    receiver: Receiver<Arrival>,
    waiting: RefCell<BTreeMap<u32, Inbox>>,
}

#[derive(Default, Debug)]
struct Inbox {
    lines: VecDeque<(Instant, String)>,
    closed: bool,
    /// Whether [`Hub::happening`] has told that it closed.
    told: bool,
}

impl Hub {
    /// Also takes over the signals that ask to stop.
    ///
    /// # Errors
    /// When the system lets no signal be caught.
    pub fn new() -> anyhow::Result<Hub> {
        let (sender, receiver) = sync_channel(LINES_MAX);
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be received")?;
        let stop = sender.clone();
        std::thread::spawn(move || {
            for _ in signals.forever() {
                if stop.send(Arrival::Stop).is_err() {
                    return;
                }
            }
        });
        Ok(Hub { sender, receiver, waiting: RefCell::default() })
    }

    /// Starts a child in a process group of its own, to be killed when the calling thread ends. Its talk goes into
    /// `talk`.
    ///
    /// # Errors
    /// When it cannot be started, or `talk` cannot be made.
    pub fn start(&self, name: &str, mut command: Command, talk: PathBuf) -> anyhow::Result<Process<'_>> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&talk)
            .with_context(|| format!("{} cannot be made", talk.display()))?;
        let talk_from = log.metadata()?.len();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);
        die_with_parent(&mut command);
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let id = child.id();
        let input = child.stdin.take().map(writer);
        let out = child.stdout.take().context("no output")?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(Arrival::Line(id, Instant::now(), line)).is_err() {
                    return;
                }
            }
            // Nobody may be there any more to hear it.
            let _ = sender.send(Arrival::Closed(id));
        });
        // Numbers of processes come again: what an earlier one left is not this one's.
        self.waiting.borrow_mut().insert(id, Inbox::default());
        Ok(Process { hub: self, name: name.to_owned(), child, input, talk, talk_from, ended: None })
    }

    /// What any child did next; `None` if nothing happened until the deadline.
    ///
    /// # Errors
    /// [`Stopped`] when the user asks for it.
    pub fn happening(&self, deadline: Instant) -> anyhow::Result<Option<Happening>> {
        loop {
            {
                let mut waiting = self.waiting.borrow_mut();
                for (process, inbox) in waiting.iter_mut() {
                    let process = *process;
                    if let Some((at, text)) = inbox.lines.pop_front() {
                        return Ok(Some(Happening::Line { process, at, text }));
                    }
                    if inbox.closed && !inbox.told {
                        inbox.told = true;
                        return Ok(Some(Happening::Closed { process }));
                    }
                }
            }
            if !self.take(Some(deadline))? {
                return Ok(None);
            }
        }
    }

    /// Waits for so long, keeping what children do meanwhile.
    ///
    /// # Errors
    /// [`Stopped`] when the user asks for it.
    pub fn pause(&self, time: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + time;
        while self.take(Some(deadline))? {}
        Ok(())
    }

    /// The next line of a child; `None` when it has closed its output.
    fn next(&self, id: u32, deadline: Option<Instant>) -> anyhow::Result<Option<String>> {
        loop {
            {
                let mut waiting = self.waiting.borrow_mut();
                let inbox = waiting.entry(id).or_default();
                if let Some((_, line)) = inbox.lines.pop_front() {
                    return Ok(Some(line));
                }
                if inbox.closed {
                    return Ok(None);
                }
            }
            ensure!(self.take(deadline)?, "it took too long");
        }
    }

    /// Takes in one arrival; `false` at the deadline.
    fn take(&self, deadline: Option<Instant>) -> anyhow::Result<bool> {
        let arrival = match deadline {
            None => self.receiver.recv().context("nothing can arrive any more")?,
            Some(deadline) => {
                match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(arrival) => arrival,
                    Err(RecvTimeoutError::Timeout) => return Ok(false),
                    Err(RecvTimeoutError::Disconnected) => bail!("nothing can arrive any more"),
                }
            }
        };
        let mut waiting = self.waiting.borrow_mut();
        // Of a child whose handle is gone nobody wants to hear.
        match arrival {
            Arrival::Line(id, at, line) => {
                if let Some(inbox) = waiting.get_mut(&id) {
                    inbox.lines.push_back((at, line));
                }
            }
            Arrival::Closed(id) => {
                if let Some(inbox) = waiting.get_mut(&id) {
                    inbox.closed = true;
                }
            }
            Arrival::Stop => return Err(Stopped.into()),
        }
        Ok(true)
    }
}

/// Lets the kernel kill the child when its parent is gone.
#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended in between.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(std::io::Error::from_raw_os_error(3)) // ESRCH
        }
    };
    // SAFETY: between fork and exec two system calls alone are made: nothing is allocated, no lock is taken.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// A thread that writes lines to a child, so that one that does not read holds nobody up.
fn writer(mut stdin: ChildStdin) -> SyncSender<String> {
    let (sender, lines) = sync_channel::<String>(LINES_MAX);
    std::thread::spawn(move || {
        while let Ok(mut line) = lines.recv() {
            line.push('\n');
            if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                return;
            }
        }
    });
    sender
}

/// A child; dropping it kills its whole process group.
#[derive(Debug)]
pub struct Process<'a> {
    hub: &'a Hub,
    name: String,
    child: Child,
    input: Option<SyncSender<String>>,
    talk: PathBuf,
    /// What is before is an earlier child's.
    talk_from: u64,
    ended: Option<ExitStatus>,
}

impl Process<'_> {
    /// The next line it writes; `None` when it has closed its output.
    ///
    /// # Errors
    /// At the deadline, and when the user asks to stop.
    pub fn next(&self, deadline: Option<Instant>) -> anyhow::Result<Option<String>> {
        self.hub.next(self.child.id(), deadline)
    }

    /// Writes a line to it, without waiting for it to read.
    ///
    /// # Errors
    /// When it is gone, or has read nothing for too many lines.
    pub fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_ref().context("its input is closed")?;
        match input.try_send(line.to_owned()) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => bail!("{} reads nothing: {LINES_MAX} lines wait", self.name),
            Err(TrySendError::Disconnected(_)) => bail!("{} does not listen any more", self.name),
        }
    }

    /// Closes its input, once it has read what waits.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Makes it stand still.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Kills it, without a chance to say or save anything, and waits until it is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL);
        self.ended = Some(self.child.wait()?);
        Ok(())
    }

    /// Waits for its end; it has to have succeeded.
    ///
    /// # Errors
    /// With the last lines of its talk.
    pub fn wait_success(&mut self, within: Duration) -> anyhow::Result<()> {
        let status = self.wait_status(within)?;
        ensure!(status.success(), "{} failed ({status}){}", self.name, self.talk());
        Ok(())
    }

    /// Waits for its end, with this exit code.
    ///
    /// # Errors
    /// With the last lines of its talk.
    pub fn wait_code(&mut self, within: Duration, code: i32) -> anyhow::Result<()> {
        let status = self.wait_status(within)?;
        ensure!(status.code() == Some(code), "{}: not {code}, but {status}{}", self.name, self.talk());
        Ok(())
    }

    fn wait_status(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        // It may have more to say first; a full pipe would hold it up.
        while self.next(Some(deadline))?.is_some() {}
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(LOOK);
        };
        self.ended = Some(status);
        Ok(status)
    }

    /// The last lines of its talk, for the message of a failure.
    pub fn talk(&self) -> String {
        let text = std::fs::read(&self.talk).unwrap_or_default();
        let own = text.get(usize::try_from(self.talk_from).unwrap_or(0)..).unwrap_or_default();
        let text = String::from_utf8_lossy(own);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TALK_LINES_SHOWN)..];
        if last.is_empty() { String::new() } else { format!("; it said:\n    {}", last.join("\n    ")) }
    }

    fn signal(&self, signal: Signal) {
        if self.ended.is_some() {
            // Its number may be another's by now.
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // A group that is gone already is what is wanted.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        self.hub.waiting.borrow_mut().remove(&self.child.id());
    }
}

/// Refuses to begin what the disk cannot hold.
///
/// # Errors
/// A sentence with what is free and what is needed.
pub fn check_space(folder: &Path, bytes_min: u64) -> anyhow::Result<()> {
    let space = rustix::fs::statvfs(folder).context("the temporary folder cannot be looked at")?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    ensure!(
        free >= bytes_min,
        "{} has {} MiB free, and {} MiB are needed: point TMPDIR to a larger place",
        folder.display(),
        free >> 20,
        bytes_min >> 20
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn deadline() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    /// Whoever inherits a killed child reaps it; until then it is a zombie, which holds nothing.
    fn wait_gone(id: i32) {
        let end = deadline();
        let stat = Path::new("/proc").join(id.to_string()).join("stat");
        while !std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z ")) {
            assert!(Instant::now() < end, "it lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn lines_of_many_children_arrive_each_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::new().unwrap();
        let deadline = Some(deadline());
        let mut cat = hub.start("cat", Command::new("cat"), folder.path().join("1")).unwrap();
        let mut fails =
            hub.start("sh", shell("echo out; echo talk >&2; exit 3"), folder.path().join("2")).unwrap();
        cat.line("one").unwrap();
        assert_eq!(fails.next(deadline).unwrap().as_deref(), Some("out"));
        assert_eq!(cat.next(deadline).unwrap().as_deref(), Some("one"));
        let error = fails.wait_success(Duration::from_secs(30)).unwrap_err().to_string();
        assert!(error.contains("talk") && error.contains('3'), "{error}");
        cat.close_input();
        cat.wait_success(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn the_talk_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::new().unwrap();
        for said in ["first", "second"] {
            let talk = folder.path().join("talk");
            let mut child = hub.start("sh", shell(&format!("echo {said} >&2")), talk).unwrap();
            child.wait_success(Duration::from_secs(30)).unwrap();
            assert_eq!(child.talk(), format!("; it said:\n    {said}"));
        }
    }

    #[test]
    fn whatever_happens_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::new().unwrap();
        let child = hub.start("sh", shell("echo one; echo two"), folder.path().join("1")).unwrap();
        let mut texts = Vec::new();
        loop {
            match hub.happening(deadline()).unwrap().unwrap() {
                Happening::Line { process, text, .. } => {
                    assert_eq!(process, child.id());
                    texts.push(text);
                }
                Happening::Closed { process } => {
                    assert_eq!(process, child.id());
                    break;
                }
            }
        }
        assert_eq!(texts, ["one", "two"]);
        assert_eq!(hub.happening(Instant::now()).unwrap(), None);
    }

    #[test]
    fn a_child_that_stands_still_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::new().unwrap();
        let mut cat = hub.start("cat", Command::new("cat"), folder.path().join("1")).unwrap();
        cat.stop();
        let long = "x".repeat(1_000);
        for _ in 0..1_000 {
            cat.line(&long).unwrap();
        }
        cat.go_on();
        for _ in 0..1_000 {
            assert_eq!(cat.next(Some(deadline())).unwrap().as_deref(), Some(long.as_str()));
        }
    }

    #[test]
    fn a_dropped_child_takes_its_children_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::new().unwrap();
        let parent = hub.start("sh", shell("sleep 1000 & echo $!; wait"), folder.path().join("1")).unwrap();
        let id: i32 = parent.next(Some(deadline())).unwrap().unwrap().parse().unwrap();
        drop(parent);
        wait_gone(id);
    }

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let folder = tempfile::tempdir().unwrap();
        let talk = folder.path().join("1");
        let started = std::thread::spawn(move || {
            let hub = Hub::new().unwrap();
            let child = hub.start("sleep", shell("echo $$; exec sleep 1000"), talk).unwrap();
            let id: i32 = child.next(Some(deadline())).unwrap().unwrap().parse().unwrap();
            // As if the program were killed: no handle is dropped.
            std::mem::forget(child);
            id
        });
        wait_gone(started.join().unwrap());
    }
}
