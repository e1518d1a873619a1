//! Relay processes under load: started, watched through `/proc`, ended.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader};

/// A child that is killed when dropped.
pub(crate) struct Child {
    child: std::process::Child,
    /// The line with which it said that it is ready.
    pub(crate) ready: String,
}

impl Child {
    /// Starts a program and waits for its first line on stdout.
    pub(crate) fn start(command: &mut Command) -> Result<Child> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("a piped stdout")?;
        let mut ready = String::new();
        let read = BufReader::new(stdout).read_line(&mut ready);
        let child = Child { child, ready };
        if read? == 0 {
            bail!("{} ended before it was ready", command.get_program().display());
        }
        Ok(child)
    }

    /// CPU time used so far, user and system, in seconds.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let stat = self.proc("stat")?;
        // The name in brackets may hold spaces; what follows is numbered from 3.
        let (_, fields) = stat.rsplit_once(") ").context("an unknown /proc/PID/stat")?;
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().context("an unknown /proc/PID/stat"))
            .sum::<Result<u64>>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS in /proc/PID/status")?;
        Ok(kib.trim().parse()?)
    }

    fn proc(&self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        fs::read_to_string(&path)
            .with_context(|| format!("{path}: the process has ended, or this is not Linux"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `relayd dev`.
pub(crate) struct Dev {
    pub(crate) child: Child,
    pub(crate) invite: String,
    pub(crate) account: String,
    pub(crate) password: String,
    /// Where endpoints reach it, on loopback.
    pub(crate) port: u16,
    /// Where it tells its metrics.
    pub(crate) ops: SocketAddr,
    folder: Rc<tempfile::TempDir>,
}

impl Dev {
    /// The first node of a mesh of its own.
    pub(crate) fn start(relayd: &Path) -> Result<Dev> {
        Dev::numbered(relayd, 1, Rc::new(tempfile::tempdir()?))
    }

    /// One more node of this one's mesh.
    pub(crate) fn another(&self, relayd: &Path, number: u16) -> Result<Dev> {
        let node = Dev::numbered(relayd, number, Rc::clone(&self.folder))?;
        Ok(Dev { account: self.account.clone(), password: self.password.clone(), ..node })
    }

    fn numbered(relayd: &Path, number: u16, folder: Rc<tempfile::TempDir>) -> Result<Dev> {
        let mut command = Command::new(relayd);
        command.args(["dev", "--json", "--port", "0", "--log-level", "error", "--node", &number.to_string()]);
        command.arg("--state").arg(folder.path());
        let child = Child::start(&mut command)?;
        let ready: serde_json::Value = serde_json::from_str(&child.ready).context("relayd's ready line")?;
        let text = |name: &str| -> Result<String> {
            Ok(ready[name].as_str().with_context(|| format!("no {name} in relayd's ready line"))?.to_owned())
        };
        let port = ready["ports"][0].as_u64().and_then(|port| u16::try_from(port).ok());
        let account = |name| if number == 1 { text(name) } else { Ok(String::new()) };
        Ok(Dev {
            invite: fs::read_to_string(text("invite")?)?,
            account: account("account")?,
            password: account("password")?,
            port: port.context("no port in relayd's ready line")?,
            ops: text("ops")?.parse().context("the address of relayd's metrics")?,
            child,
            folder,
        })
    }

    /// The node's certificate and key, which another TLS server may present as well.
    pub(crate) fn identity(&self) -> (PathBuf, PathBuf) {
        let pki = self.folder.path().join("pki");
        (pki.join("node-1.pem"), pki.join("node-1.key"))
    }

    /// The sum of a metric's samples that have all these labels, as `name="value"`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let (status, text) = netsim::lab::mesh::http(self.ops, "/metrics")?;
        if status != 200 {
            bail!("{}/metrics answers {status}", self.ops);
        }
        let mut sum = 0.0;
        for line in text.lines().filter(|line| line.starts_with(name)) {
            let rest = &line[name.len()..];
            let fits = rest.starts_with('{') || rest.starts_with(' ');
            if fits && labels.iter().all(|label| rest.contains(label)) {
                let value = rest.rsplit(' ').next().unwrap_or_default();
                sum += value.parse::<f64>().with_context(|| format!("{line}: no number"))?;
            }
        }
        Ok(sum)
    }
}
