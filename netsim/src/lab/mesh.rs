//! A mesh of real nodes: keys and configurations in a folder, `relayd run` for each, their lines, and what can be done
//! to them. Knows nothing of sessions or scenarios.
//!
//! ```text
//!  start: pki init, pki issue ... -> fronts -> node-N/relayd.toml -> relayd run -> listening? -> targets -> /readyz
//!  Up --kill--> Down --restart--> Starting --tend--> Up
//!  Up --drain--> Draining --(it ends)--> Down                 Up --stop--> Standing --go_on--> Up
//!  Up --revoke--> Revoked                                     Starting --(it says so)--> Revoked
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use proto_spec::NodeNumber;
use proto_spec::invite::{Invite, InviteNode};

use super::config::{self, Common, Fronts, NodeSpec};
use super::ground::{Addresses, Ground, Service};
use super::programs::Programs;
use super::proxy::{Network, Party, Weather, listening};
use sealcast_process::{Hub, Process};

/// How long `relayctl` may take: it starts, reads keys, calls once.
const CONTROL: Duration = Duration::from_secs(30);
/// How long a node may take until it is ready.
const READY: Duration = Duration::from_secs(30);
/// How often a node that starts is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long health may take to answer.
const HEALTH: Duration = Duration::from_secs(2);
/// Nodes that each node is told to begin with, as an operator would.
const SEEDS: usize = 3;
/// Live sessions of one account: a broker's own limit is a little higher.
pub const ACCOUNT_SESSIONS: usize = 50;
const PASSWORD: &str = "4-broken-Umbrellas-walk-home";

/// What a mesh is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeshPlan {
    /// Its nodes, ascending.
    pub nodes: Vec<NodeSpec>,
    /// The level of their logs.
    pub log_level: String,
    /// Accounts of support providers: one for each [`ACCOUNT_SESSIONS`] sessions.
    pub accounts: usize,
}

/// What a node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeState {
    /// It runs, and is not yet ready.
    Starting,
    /// It is ready.
    Up,
    /// It was told to go out of service.
    Draining,
    /// It stands still.
    Standing,
    /// It runs, and its certificate is revoked: nobody takes it.
    Revoked,
    /// It does not run, as it should be.
    Down,
}

#[derive(Debug)]
struct Seat<'h> {
    spec: NodeSpec,
    fronts: Fronts,
    folder: PathBuf,
    process: Option<Process<'h>>,
    state: NodeState,
    ops: Option<SocketAddr>,
    starts: usize,
}

/// A running mesh; dropping it ends it.
#[derive(Debug)]
pub struct Mesh<'h> {
    hub: &'h Hub,
    programs: &'h Programs,
    folder: PathBuf,
    network: Network,
    seats: BTreeMap<NodeNumber, Seat<'h>>,
    log_level: String,
    accounts: usize,
    controls: usize,
}

impl<'h> Mesh<'h> {
    /// Makes keys, starts every node, and waits until all are ready and brokers have an account. The nodes need not have
    /// found each other yet. Their logs are `node-N.log` in the folder.
    ///
    /// # Errors
    /// What a program said when it failed, or that a node is not ready in time.
    pub fn start(
        hub: &'h Hub,
        programs: &'h Programs,
        folder: &Path,
        plan: &MeshPlan,
        ground: Ground,
        mut weather: Weather,
        seed: u64,
    ) -> anyhow::Result<Mesh<'h>> {
        weather.regions = plan.nodes.iter().map(|node| (node.number, node.region_index)).collect();
        let network = Network::new(weather, seed, ground)?;
        let mut seats = BTreeMap::new();
        for spec in &plan.nodes {
            let fronts = Fronts {
                endpoints: network.front(spec.number, Service::Endpoints)?,
                trunk: network.front(spec.number, Service::Trunk)?,
            };
            let seat = Seat {
                spec: spec.clone(),
                fronts,
                folder: folder.join(format!("node-{}", spec.number)),
                process: None,
                state: NodeState::Down,
                ops: None,
                starts: 0,
            };
            seats.insert(spec.number, seat);
        }
        let log_level = plan.log_level.clone();
        let folder = folder.to_owned();
        let accounts = plan.accounts;
        let mut mesh = Mesh { hub, programs, folder, network, seats, log_level, accounts, controls: 0 };
        mesh.make_keys()?;
        mesh.write_configurations()?;
        for node in mesh.numbers() {
            mesh.launch(node)?;
        }
        mesh.wait_ready()?;
        for node in mesh.brokers() {
            for number in 1..=mesh.accounts {
                mesh.add_account(node, number)?;
            }
        }
        Ok(mesh)
    }

    /// The nodes' numbers, ascending.
    pub fn numbers(&self) -> Vec<NodeNumber> {
        self.seats.keys().copied().collect()
    }

    /// Those with a broker.
    pub fn brokers(&self) -> Vec<NodeNumber> {
        self.seats.values().filter(|seat| seat.spec.broker).map(|seat| seat.spec.number).collect()
    }

    /// What a node is doing.
    pub fn state(&self, node: NodeNumber) -> NodeState {
        self.seats.get(&node).map_or(NodeState::Down, |seat| seat.state)
    }

    /// A node's process, while it runs.
    pub fn process(&self, node: NodeNumber) -> Option<u32> {
        self.seats.get(&node)?.process.as_ref().map(Process::id)
    }

    /// The node with this front.
    pub fn node_at(&self, front: SocketAddr) -> Option<NodeNumber> {
        self.seats.values().find(|seat| seat.fronts.endpoints == front).map(|seat| seat.spec.number)
    }

    /// Where endpoints reach a node.
    pub fn front(&self, node: NodeNumber) -> Option<SocketAddr> {
        self.seats.get(&node).map(|seat| seat.fronts.endpoints)
    }

    /// The lines between everybody.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// So many accounts of support providers, which every broker has, each with its password.
    pub fn accounts(&self) -> Vec<(String, &'static str)> {
        (1..=self.accounts).map(|number| (email(number), PASSWORD)).collect()
    }

    /// Writes an invite to these nodes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn invite(&self, nodes: &[NodeNumber], path: &Path) -> anyhow::Result<()> {
        let ca = fs::read_to_string(self.pki().join("ca.pem"))?;
        let seats = nodes.iter().filter_map(|node| self.seats.get(node));
        let nodes = seats
            .map(|seat| InviteNode {
                host: seat.fronts.endpoints.ip().to_string(),
                ports: vec![seat.fronts.endpoints.port()],
            })
            .collect();
        let invite = Invite { version: 1, mesh: config::MESH.into(), nodes, ca };
        fs::write(path, invite.to_text()).with_context(|| format!("{} cannot be written", path.display()))
    }

    // ---- what can be done to it ------------------------------------------------------------------------------

    /// Kills a node as a power cut would.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        let seat = self.seat(node)?;
        if let Some(mut process) = seat.process.take() {
            process.kill()?;
            let id = process.id();
            drop(process);
            self.gone(node, id);
        }
        Ok(())
    }

    /// Makes a node stand still.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn stop(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        let seat = self.seat(node)?;
        if let Some(process) = &seat.process {
            process.stop();
            seat.state = NodeState::Standing;
        }
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn go_on(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        let seat = self.seat(node)?;
        if let (Some(process), NodeState::Standing) = (&seat.process, seat.state) {
            process.go_on();
            seat.state = NodeState::Up;
        }
        Ok(())
    }

    /// Starts a node anew on its state, killing it first if it runs; [`Mesh::tend`] sees when it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        self.kill(node)?;
        self.launch(node)
    }

    /// Sends a node out of service; [`Mesh::tend`] sees when it has ended.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn drain(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        let seat = self.seat(node)?;
        if let Some(process) = &seat.process {
            process.terminate();
            seat.state = NodeState::Draining;
        }
        Ok(())
    }

    /// Keeps a node in service after all.
    ///
    /// # Errors
    /// What `relayctl` said.
    pub fn undrain(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        let socket = self.socket(node)?;
        self.control(&["node", "undrain", "--yes", "--socket", &socket], None)?;
        self.seat(node)?.state = NodeState::Up;
        Ok(())
    }

    /// Revokes a node's certificate, and publishes that at the first other node that is up.
    ///
    /// # Errors
    /// What `relayctl` said.
    pub fn revoke(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        let pki = self.pki().display().to_string();
        let certificate = self.pki().join(format!("node-{node}.pem")).display().to_string();
        let other = self.numbers().into_iter().find(|other| {
            *other != node && matches!(self.state(*other), NodeState::Up | NodeState::Draining)
        });
        let other = other.context("no other node is up to be told of the revocation")?;
        let socket = self.socket(other)?;
        self.control(&["pki", "revoke", &certificate, "--dir", &pki, "--yes", "--socket", &socket], None)?;
        let seat = self.seat(node)?;
        if seat.state == NodeState::Up {
            seat.state = NodeState::Revoked;
        }
        Ok(())
    }

    /// Nodes of one side hear nothing of those on another.
    ///
    /// # Errors
    /// As [`Network::weather`].
    pub fn partition(&self, sides: &[Vec<NodeNumber>]) -> anyhow::Result<()> {
        self.network.weather(|weather| weather.partition(sides))
    }

    /// All faults of the lines are over.
    ///
    /// # Errors
    /// As [`Network::weather`].
    pub fn heal(&self) -> anyhow::Result<()> {
        self.network.weather(Weather::heal)
    }

    /// Looks after nodes that start or drain. `true` if any still does.
    ///
    /// # Errors
    /// When a node ended although nothing asked it to.
    pub fn tend(&mut self) -> anyhow::Result<bool> {
        let mut busy = false;
        for node in self.numbers() {
            let (alone, addresses) = (self.seats.len() == 1, self.addresses());
            let seat = self.seat(node)?;
            let Some(process) = &mut seat.process else { continue };
            if let Some(status) = process.ended()? {
                let (id, talk) = (process.id(), process.talk());
                let expected = seat.state == NodeState::Draining && status.success();
                seat.process = None;
                self.gone(node, id);
                ensure!(expected, Crash { node, how: format!("{status}{talk}") });
                continue;
            }
            match seat.state {
                NodeState::Draining => busy = true,
                NodeState::Starting => {
                    busy = true;
                    let found = listening(process.id());
                    let [endpoints, trunk, ops] =
                        [Service::Endpoints, Service::Trunk, Service::Ops].map(|service| {
                            let ip = addresses.listens(node, service);
                            found.iter().find(|found| found.ip() == ip).copied()
                        });
                    if ops.is_none() || endpoints.is_none() || (trunk.is_none() && !alone) {
                        continue;
                    }
                    seat.ops = ops;
                    self.network.target(node, Service::Endpoints, endpoints);
                    self.network.target(node, Service::Trunk, trunk);
                    if let Some(state) = self.health(node) {
                        self.seat(node)?.state = state;
                    }
                }
                _ => {}
            }
        }
        Ok(busy)
    }

    /// Waits until every node that starts is ready.
    ///
    /// # Errors
    /// Names the node that is not.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            self.tend()?;
            let starting = self.seats.values().find(|seat| seat.state == NodeState::Starting);
            let Some(seat) = starting else { return Ok(()) };
            if Instant::now() > deadline {
                let talk = seat.process.as_ref().map(Process::talk).unwrap_or_default();
                bail!("node {} is not ready after {} s{talk}", seat.spec.number, READY.as_secs());
            }
            // What children say meanwhile is kept; a wish to stop ends the wait.
            self.hub.pause(LOOK)?;
        }
    }

    /// What a node's `/metrics` or `/readyz` answers: the status line's number and the body.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ops(&self, node: NodeNumber, path: &str) -> anyhow::Result<(u16, String)> {
        let seat = self.seats.get(&node).context("no such node")?;
        let address = seat.ops.context("it does not listen")?;
        self.network.ground().at_node(node, || http(address, path))
    }

    /// What `relayctl` prints when it is asked of this node.
    ///
    /// # Errors
    /// What it said when it failed.
    pub fn ask(&mut self, node: NodeNumber, arguments: &[&str]) -> anyhow::Result<String> {
        let socket = self.socket(node)?;
        let mut all = vec!["--socket", &socket, "-o", "json"];
        all.extend(arguments);
        self.control(&all, None)
    }

    /// How `relayctl` asks this node, for whoever starts it by himself.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn asking(&self, node: NodeNumber, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.programs.relayctl);
        command.args(["--socket", &self.socket(node)?, "-o", "json"]).args(arguments);
        Ok(command)
    }

    // ---- how it is made --------------------------------------------------------------------------------------

    fn make_keys(&mut self) -> anyhow::Result<()> {
        let pki = self.pki().display().to_string();
        self.control(&["pki", "init", "--mesh", config::MESH, "--dir", &pki], None)?;
        for node in self.numbers() {
            let (number, name) = (node.to_string(), self.addresses().front(node).to_string());
            self.control(
                &["pki", "issue", "node", "--number", &number, "--name", &name, "--dir", &pki],
                None,
            )?;
        }
        for node in self.brokers() {
            let number = node.to_string();
            self.control(&["pki", "issue", "broker", "--number", &number, "--dir", &pki], None)?;
        }
        Ok(())
    }

    fn write_configurations(&self) -> anyhow::Result<()> {
        let (brokers, pki) = (self.brokers(), self.pki());
        let common = Common {
            addresses: self.addresses(),
            brokers: &brokers,
            pki: &pki,
            alone: self.seats.len() == 1,
            log_level: &self.log_level,
        };
        for (node, seat) in &self.seats {
            let allowed: Option<BTreeSet<NodeNumber>> =
                seat.spec.neighbors_allowed.as_ref().map(|nodes| nodes.iter().copied().collect());
            let others = self.seats.values().filter(|other| other.spec.number != *node);
            let seeds: Vec<SocketAddr> = others
                .filter(|other| allowed.as_ref().is_none_or(|allowed| allowed.contains(&other.spec.number)))
                .map(|other| other.fronts.trunk)
                .take(SEEDS)
                .collect();
            fs::create_dir_all(&seat.folder)?;
            let text = config::text(&seat.spec, seat.fronts, &seeds, common);
            fs::write(seat.folder.join("relayd.toml"), text)?;
        }
        Ok(())
    }

    fn launch(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        let log = self.folder.join(format!("node-{node}.log"));
        let (hub, programs) = (self.hub, self.programs);
        let seat = self.seat(node)?;
        let mut command = Command::new(&programs.relayd);
        command.arg("run").arg("--config").arg(seat.folder.join("relayd.toml"));
        for variable in
            ["RELAYD_CONFIG", "RELAYD_LOG", "RELAYD_STATE_DIR", "RELAYD_DRAIN_MS", "NOTIFY_SOCKET"]
        {
            command.env_remove(variable);
        }
        self.network.ground().place_node(node, &mut command);
        let process = hub.start(&format!("node {node}"), command, log)?;
        let seat = self.seat(node)?;
        seat.starts += 1;
        seat.state = NodeState::Starting;
        let id = process.id();
        seat.process = Some(process);
        self.network.introduce(id, Party::Node(node));
        Ok(())
    }

    fn add_account(&mut self, node: NodeNumber, number: usize) -> anyhow::Result<()> {
        let (socket, email) = (self.socket(node)?, email(number));
        let arguments =
            ["account", "add", &email, "--role", "provider", "--password-stdin", "--socket", &socket];
        self.control(&arguments, Some(PASSWORD))?;
        Ok(())
    }

    /// Runs `relayctl`; what it printed.
    fn control(&mut self, arguments: &[&str], input: Option<&str>) -> anyhow::Result<String> {
        self.controls += 1;
        let talk = self.folder.join(format!("relayctl-{}.log", self.controls));
        let mut command = Command::new(&self.programs.relayctl);
        command.args(arguments);
        let mut process = self.hub.start(&format!("relayctl {}", arguments.join(" ")), command, talk)?;
        if let Some(input) = input {
            process.line(input)?;
        }
        process.close_input();
        let deadline = Some(Instant::now() + CONTROL);
        let mut printed = String::new();
        while let Some(line) = process.next(deadline)? {
            printed.push_str(&line);
            printed.push('\n');
        }
        process.wait_success(CONTROL)?;
        Ok(printed)
    }

    fn gone(&mut self, node: NodeNumber, process: u32) {
        self.network.forget(process);
        self.network.target(node, Service::Endpoints, None);
        self.network.target(node, Service::Trunk, None);
        if let Some(seat) = self.seats.get_mut(&node) {
            seat.state = NodeState::Down;
            seat.ops = None;
        }
    }

    /// What a node that starts has become, by its own word; `None` as long as it starts.
    fn health(&self, node: NodeNumber) -> Option<NodeState> {
        let (status, says) = self.ops(node, "/readyz").ok()?;
        if status == 200 {
            return Some(NodeState::Up);
        }
        says.contains("certificate revoked").then_some(NodeState::Revoked)
    }

    const fn addresses(&self) -> Addresses {
        self.network.ground().addresses()
    }

    fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    fn socket(&self, node: NodeNumber) -> anyhow::Result<String> {
        let seat = self.seats.get(&node).with_context(|| format!("there is no node {node}"))?;
        Ok(seat.folder.join("state").join("admin.sock").display().to_string())
    }

    fn seat(&mut self, node: NodeNumber) -> anyhow::Result<&mut Seat<'h>> {
        self.seats.get_mut(&node).with_context(|| format!("there is no node {node}"))
    }
}

fn email(number: usize) -> String {
    format!("provider-{number}@lab.local")
}

/// A node ended although nothing asked it to.
#[derive(Debug)]
pub struct Crash {
    node: NodeNumber,
    how: String,
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {} ended although nothing asked it to: {}", self.node, self.how)
    }
}

impl std::error::Error for Crash {}

/// One GET, without what a client of HTTP would bring along: the status line's number and the body.
///
/// # Errors
/// When nobody answers in HTTP in time.
pub fn http(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    /// Metrics are below 100 KiB.
    const ANSWER_BYTES_MAX: u64 = 4 << 20;
    let mut stream = TcpStream::connect_timeout(&address, HEALTH)?;
    stream.set_read_timeout(Some(HEALTH))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no answer of HTTP")?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}
