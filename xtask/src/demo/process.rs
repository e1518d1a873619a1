//! Children that cannot outlive the demo, and the one place where all waiting happens: lines of children and the wish
//! to stop arrive in one channel, so that Ctrl-C ends any wait and everything is dropped on the way out.
//!
//! ```text
//! child 1 --stdout--> thread --.
//! child 2 --stdout--> thread --+--> [LINES_MAX] --> Hub::wait (main thread)
//! signals -----------> thread -'
//! ```

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
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
pub(crate) struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

enum Arrival {
    Line(u32, String),
    Closed(u32),
    Stop,
}

/// Where everything arrives.
pub(crate) struct Hub {
    sender: SyncSender<Arrival>,
    receiver: Receiver<Arrival>,
    waiting: RefCell<HashMap<u32, Inbox>>,
}

#[derive(Default)]
struct Inbox {
    lines: VecDeque<String>,
    closed: bool,
}

impl Hub {
    /// Also takes over the signals that ask to stop.
    pub(crate) fn new() -> anyhow::Result<Hub> {
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

    /// Starts a child in a process group of its own. Its talk goes into `talk`.
    pub(crate) fn start(
        &self,
        name: &str,
        mut command: Command,
        talk: PathBuf,
    ) -> anyhow::Result<Process<'_>> {
        let log = File::create(&talk).with_context(|| format!("{} cannot be made", talk.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let stdin = child.stdin.take();
        let out = child.stdout.take().context("no output")?;
        let id = child.id();
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(Arrival::Line(id, line)).is_err() {
                    return;
                }
            }
            // Nobody may be there any more to hear it.
            let _ = sender.send(Arrival::Closed(id));
        });
        Ok(Process { hub: self, name: name.to_owned(), child, stdin, talk, ended: None })
    }

    /// The next line of a child; `None` when it has closed its output.
    fn next(&self, id: u32, deadline: Option<Instant>) -> anyhow::Result<Option<String>> {
        loop {
            {
                let mut waiting = self.waiting.borrow_mut();
                let inbox = waiting.entry(id).or_default();
                if let Some(line) = inbox.lines.pop_front() {
                    return Ok(Some(line));
                }
                if inbox.closed {
                    return Ok(None);
                }
            }
            self.take(deadline)?;
        }
    }

    /// Takes in one arrival, or fails at the deadline.
    fn take(&self, deadline: Option<Instant>) -> anyhow::Result<()> {
        let arrival = match deadline {
            None => self.receiver.recv().context("nothing can arrive any more")?,
            Some(deadline) => {
                match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(arrival) => arrival,
                    Err(RecvTimeoutError::Timeout) => bail!("it took too long"),
                    Err(RecvTimeoutError::Disconnected) => bail!("nothing can arrive any more"),
                }
            }
        };
        let mut waiting = self.waiting.borrow_mut();
        match arrival {
            Arrival::Line(id, line) => waiting.entry(id).or_default().lines.push_back(line),
            Arrival::Closed(id) => waiting.entry(id).or_default().closed = true,
            Arrival::Stop => return Err(Stopped.into()),
        }
        Ok(())
    }
}

/// A child; dropping it kills its whole process group.
pub(crate) struct Process<'a> {
    hub: &'a Hub,
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    talk: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process<'_> {
    /// The next line it writes.
    pub(crate) fn next(&self, deadline: Option<Instant>) -> anyhow::Result<Option<String>> {
        self.hub.next(self.child.id(), deadline)
    }

    /// Writes a line to it.
    pub(crate) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .with_context(|| format!("{} does not listen any more", self.name))
    }

    /// Closes its input.
    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, without a chance to say or save anything, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL);
        self.ended = Some(self.child.wait()?);
        Ok(())
    }

    /// Waits for its end; it has to have succeeded.
    pub(crate) fn wait_success(&mut self, within: Duration) -> anyhow::Result<()> {
        let status = self.wait_status(within)?;
        ensure!(status.success(), "{} failed ({status}){}", self.name, self.talk());
        Ok(())
    }

    /// Waits for its end, with this exit code.
    pub(crate) fn wait_code(&mut self, within: Duration, code: i32) -> anyhow::Result<()> {
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
    pub(crate) fn talk(&self) -> String {
        let text = std::fs::read_to_string(&self.talk).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TALK_LINES_SHOWN)..];
        if last.is_empty() { String::new() } else { format!("; it said:\n    {}", last.join("\n    ")) }
    }

    fn signal(&self, signal: Signal) {
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
    }
}

/// Refuses to begin what the disk cannot hold.
pub(crate) fn check_space(folder: &Path, bytes_min: u64) -> anyhow::Result<()> {
    let space = rustix::fs::statvfs(folder).context("the temporary folder cannot be looked at")?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    ensure!(
        free >= bytes_min,
        "{} has {} MiB free, and the demo needs {} MiB: point TMPDIR to a larger place",
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

    #[test]
    fn lines_of_many_children_arrive_each_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::new().unwrap();
        let deadline = Some(Instant::now() + Duration::from_secs(30));
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
    fn a_dropped_child_takes_its_children_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::new().unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        let deadline = Some(end);
        let parent = hub.start("sh", shell("sleep 1000 & echo $!; wait"), folder.path().join("1")).unwrap();
        let id: i32 = parent.next(deadline).unwrap().unwrap().parse().unwrap();
        drop(parent);
        // Whoever inherits the killed child reaps it; until then it is a zombie, which holds nothing.
        let stat = Path::new("/proc").join(id.to_string()).join("stat");
        let gone = || std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "));
        while !gone() {
            assert!(Instant::now() < end, "it lives on");
            std::thread::yield_now();
        }
    }
}
