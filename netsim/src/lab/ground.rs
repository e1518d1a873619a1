//! Where the lab's programs stand: all on loopback, or each node and each group of endpoints in a network namespace of
//! its own.
//!
//! ```text
//!  namespace of node 1         the lab's own namespace                 namespace of node 2
//!  10.1.0.1 endpoints  eth0 ==veth== n1   fronts 10.4.0.x    n2 ==veth== eth0  10.1.0.2
//!  10.2.0.1 trunk              on behalf of node 1: 10.6.0.1               10.2.0.2
//!  127.0.0.3 health            of line 5: 10.7.0.5                         127.0.0.3
//!  namespace of a driver               nftables: silence and losses
//!  10.5.0.x, a line each  eth0 ==veth== d1   tbf: thin lines
//! ```
//!
//! Namespaces have no names: each lives as long as this program holds it or a program stands in it, so that nothing is
//! left behind, not even by `kill -9`. Each run makes all of them anew, the lab's own too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, ensure};
use proto_spec::NodeNumber;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::proxy::{Party, Weather};

/// What a thin line's bucket holds: some segments, or it would never be filled.
const BUCKET_BYTES: u32 = 8 * 1024;
/// What may wait before a thin line, as its modem would hold it.
const THIN_QUEUE: &str = "250ms";
/// The lab's own address, for what it asks by itself.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// What a node listens for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Service {
    /// Endpoints, and calls of other nodes.
    Endpoints,
    /// Other nodes' trunks.
    Trunk,
    /// Health and metrics.
    Ops,
}

/// Everybody's addresses. Each purpose has its own, so that the kernel can be asked which port is which, and the lines
/// who dials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addresses {
    /// All on loopback: endpoints have an address each; nodes are told apart by their processes.
    Loopback,
    /// Each party has its own.
    Namespaces,
}

impl Addresses {
    /// Where a node listens itself.
    pub const fn listens(self, node: NodeNumber, service: Service) -> Ipv4Addr {
        match (self, service) {
            (Addresses::Loopback, Service::Endpoints) => Ipv4Addr::new(127, 0, 0, 1),
            (Addresses::Loopback, Service::Trunk) => Ipv4Addr::new(127, 0, 0, 2),
            // Health and metrics are for a node's own machine alone.
            (_, Service::Ops) => Ipv4Addr::new(127, 0, 0, 3),
            (Addresses::Namespaces, Service::Endpoints) => numbered([10, 1], node.value()),
            (Addresses::Namespaces, Service::Trunk) => numbered([10, 2], node.value()),
        }
    }

    /// Where all others reach it.
    pub const fn front(self, node: NodeNumber) -> Ipv4Addr {
        match self {
            Addresses::Loopback => Ipv4Addr::LOCALHOST,
            Addresses::Namespaces => numbered([10, 4], node.value()),
        }
    }

    /// Where a line's endpoint has to connect from: up to 65,536 of them.
    pub fn line(self, line: usize) -> Ipv4Addr {
        let line = u16::try_from(line).unwrap_or(u16::MAX);
        match self {
            Addresses::Loopback => numbered([127, 64], line),
            Addresses::Namespaces => numbered([10, 5], line),
        }
    }

    /// Where the lab connects from on somebody's behalf, so that a node sees each of them; `None` for any address.
    pub fn behalf(self, party: Party) -> Option<Ipv4Addr> {
        match (self, party) {
            (Addresses::Loopback, Party::Line(line)) => Some(self.line(line)),
            (Addresses::Namespaces, Party::Node(node)) => Some(numbered([10, 6], node.value())),
            (Addresses::Namespaces, Party::Line(line)) => {
                Some(numbered([10, 7], u16::try_from(line).unwrap_or(u16::MAX)))
            }
            _ => None,
        }
    }

    /// Who connects from there, as far as an address tells.
    pub fn party(self, address: IpAddr) -> Option<Party> {
        let IpAddr::V4(address) = address else { return None };
        let [a, b, high, low] = address.octets();
        let number = u16::from_be_bytes([high, low]);
        match (self, [a, b]) {
            (Addresses::Loopback, [127, 64]) | (Addresses::Namespaces, [10, 5]) => {
                Some(Party::Line(usize::from(number)))
            }
            (Addresses::Namespaces, [10, 1]) => NodeNumber::new(number).map(Party::Node),
            _ => None,
        }
    }
}

const fn numbered(net: [u8; 2], number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(net[0], net[1], high, low)
}

/// Where the programs stand.
#[derive(Debug, Default)]
pub enum Ground {
    /// All on loopback.
    #[default]
    Loopback,
    /// In namespaces.
    Namespaces(Namespaces),
}

/// The namespaces of one run.
#[derive(Debug)]
pub struct Namespaces {
    nodes: BTreeMap<NodeNumber, Arc<File>>,
    drivers: Vec<Arc<File>>,
    /// Of each driver with a thin line: the line, which it has for itself.
    thin: BTreeMap<usize, usize>,
    /// What the kernel was told last: the same is not told again.
    told: RefCell<Told>,
}

#[derive(PartialEq, Eq, Debug, Default)]
struct Told {
    faults: String,
    rates: BTreeMap<usize, Option<u64>>,
}

impl Ground {
    /// Namespaces for these nodes and for drivers with these lines; `thin` are those lines that may be thin. The calling
    /// thread, and those that it starts from now on, stand in the middle of them.
    ///
    /// # Errors
    /// Without root, `ip`, `tc` or `nft`.
    pub fn namespaces(
        nodes: &[NodeNumber],
        drivers: &[Vec<usize>],
        thin: impl Fn(usize) -> bool,
    ) -> anyhow::Result<Ground> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "--netns needs root: network namespaces are the kernel's"
        );
        alone().context("no network namespace for the lab")?;
        let mut own = format!("link set lo up\naddress add {OWN}/32 dev lo\n");
        for net in ["10.4.0.0/16", "10.6.0.0/16", "10.7.0.0/16"] {
            let _ = writeln!(own, "route add local {net} dev lo");
        }
        configure("ip", &["-batch", "-"], &own, None)?;
        let mut made = Namespaces {
            nodes: BTreeMap::new(),
            drivers: Vec::new(),
            thin: BTreeMap::new(),
            told: RefCell::default(),
        };
        let at = |node: NodeNumber, service| Addresses::Namespaces.listens(node, service);
        for node in nodes {
            let addresses = [Service::Endpoints, Service::Trunk].map(|service| at(*node, service));
            made.nodes.insert(*node, namespace(&format!("n{node}"), &addresses, &[])?);
        }
        for (driver, lines) in drivers.iter().enumerate() {
            let own = numbered([10, 8], u16::try_from(driver)?);
            let addresses: Vec<Ipv4Addr> =
                lines.iter().map(|line| Addresses::Namespaces.line(*line)).collect();
            made.drivers.push(namespace(&format!("d{driver}"), &[own], &addresses)?);
            made.thin.extend(lines.iter().find(|line| thin(**line)).map(|line| (driver, *line)));
        }
        Ok(Ground::Namespaces(made))
    }

    /// Everybody's addresses.
    pub const fn addresses(&self) -> Addresses {
        match self {
            Ground::Loopback => Addresses::Loopback,
            Ground::Namespaces(_) => Addresses::Namespaces,
        }
    }

    /// Lets a node's program start where it stands.
    pub fn place_node(&self, node: NodeNumber, command: &mut Command) {
        if let Ground::Namespaces(made) = self
            && let Some(namespace) = made.nodes.get(&node)
        {
            enter(command, Arc::clone(namespace));
        }
    }

    /// Does something where a node stands.
    ///
    /// # Errors
    /// The kernel's, and those of what is done.
    pub fn at_node<T: Send>(
        &self,
        node: NodeNumber,
        then: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let Ground::Namespaces(made) = self else { return then() };
        let namespace = made.nodes.get(&node).context("no such node")?;
        // A thread that has moved does not come back.
        std::thread::scope(|scope| {
            let moved = scope.spawn(|| {
                move_into(namespace)?;
                then()
            });
            moved.join().ok().context("a thread panicked")?
        })
    }

    /// Lets a driver start where it stands.
    pub fn place_driver(&self, driver: usize, command: &mut Command) {
        if let Ground::Namespaces(made) = self
            && let Some(namespace) = made.drivers.get(driver)
        {
            enter(command, Arc::clone(namespace));
        }
    }

    /// Brings about what is the kernel's of this weather: on loopback nothing.
    ///
    /// # Errors
    /// What the kernel's tools said.
    pub fn weather(&self, weather: &Weather) -> anyhow::Result<()> {
        let Ground::Namespaces(made) = self else { return Ok(()) };
        let nodes: Vec<NodeNumber> = made.nodes.keys().copied().collect();
        let faults = faults(weather, &nodes);
        let mut told = made.told.borrow_mut();
        if told.faults != faults {
            configure("nft", &["-f", "-"], &faults, None)?;
            told.faults = faults;
        }
        for (driver, line) in &made.thin {
            let rate = weather.lines.get(*line).and_then(|line| line.downstream);
            if told.rates.get(driver).copied().flatten() != rate {
                shape(*driver, rate)?;
                told.rates.insert(*driver, rate);
            }
        }
        Ok(())
    }
}

/// What nftables are told: the whole table, which takes the place of the one before at once.
///
/// A connection of node A to node B has two halves, from A to B's front and from A's behalf to B. What silence holds back
/// is dropped on both; what is lost, is lost once, as it comes from its sender, whose kernel sends it again.
fn faults(weather: &Weather, nodes: &[NodeNumber]) -> String {
    let (mut arriving, mut leaving) = (String::new(), String::new());
    let addresses = Addresses::Namespaces;
    for from in nodes {
        for to in nodes.iter().filter(|to| *to != from) {
            let way = weather.way(Party::Node(*from), Party::Node(*to));
            let sender = format!(
                "{{ {}, {} }}",
                addresses.listens(*from, Service::Endpoints),
                addresses.listens(*from, Service::Trunk)
            );
            let receiver = format!(
                "{{ {}, {} }}",
                addresses.listens(*to, Service::Endpoints),
                addresses.listens(*to, Service::Trunk)
            );
            let behalf = |node: NodeNumber| numbered([10, 6], node.value());
            let inward =
                format!("ip saddr {sender} ip daddr {{ {}, {} }}", addresses.front(*to), behalf(*to));
            let outward =
                format!("ip saddr {{ {}, {} }} ip daddr {receiver}", addresses.front(*from), behalf(*from));
            if way.held {
                let _ = writeln!(arriving, "    {inward} drop");
                let _ = writeln!(leaving, "    {outward} drop");
            } else if way.loss_percent > 0 {
                let _ = writeln!(arriving, "    {inward} numgen random mod 100 < {} drop", way.loss_percent);
            }
        }
    }
    format!(
        "table ip lab\ndelete table ip lab\ntable ip lab {{\n  chain arriving {{\n    type filter hook prerouting priority \
         -300\n{arriving}  }}\n  chain leaving {{\n    type filter hook output priority -300\n{leaving}  }}\n}}\n"
    )
}

/// Gives a driver's line this rate, in bytes a second.
fn shape(driver: usize, rate: Option<u64>) -> anyhow::Result<()> {
    let device = format!("d{driver}");
    match rate {
        None => configure("tc", &["qdisc", "delete", "dev", &device, "root"], "", None),
        Some(rate) => {
            let (rate, bucket) = (format!("{}bit", rate.saturating_mul(8)), BUCKET_BYTES.to_string());
            let shape = ["tbf", "rate", &rate, "burst", &bucket, "latency", THIN_QUEUE];
            let mut arguments = vec!["qdisc", "replace", "dev", &device, "root"];
            arguments.extend(shape);
            configure("tc", &arguments, "", None)
        }
    }
}

/// A namespace with a way to the lab's over `device`: `addresses` are its interface's, the first the one it is known by;
/// `local` are taken as its own besides.
fn namespace(device: &str, addresses: &[Ipv4Addr], local: &[Ipv4Addr]) -> anyhow::Result<Arc<File>> {
    let made = std::thread::spawn(|| -> anyhow::Result<File> {
        alone()?;
        Ok(File::open("/proc/thread-self/ns/net")?)
    });
    let made = made.join().ok().context("a thread panicked")?.context("no network namespace")?;
    let made = Arc::new(made);
    // This thread stands in the lab's: its id says which namespace the other end belongs to.
    let lab = rustix::thread::gettid();
    let own = addresses.first().context("an address is wanted")?;
    let mut inside = format!("link set lo up\nlink add eth0 type veth peer name {device} netns {lab}\n");
    for address in addresses {
        let _ = writeln!(inside, "address add {address}/32 dev eth0");
    }
    let _ = writeln!(inside, "link set eth0 up\nroute add default via {OWN} dev eth0 onlink src {own}");
    for address in local {
        let _ = writeln!(inside, "route add local {address}/32 dev lo");
    }
    configure("ip", &["-batch", "-"], &inside, Some(Arc::clone(&made)))?;
    let mut outside = format!("link set {device} up\nroute add {own}/32 dev {device} src {OWN}\n");
    for address in addresses.iter().skip(1).chain(local) {
        let _ = writeln!(outside, "route add {address}/32 via {own} dev {device} onlink src {OWN}");
    }
    configure("ip", &["-batch", "-"], &outside, None)?;
    Ok(made)
}

/// Runs one of the kernel's tools, with this to read.
fn configure(tool: &str, arguments: &[&str], input: &str, inside: Option<Arc<File>>) -> anyhow::Result<()> {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(namespace) = inside {
        enter(&mut command, namespace);
    }
    let mut child = command.spawn().with_context(|| {
        format!("{tool} cannot be started: --netns needs the packages iproute2 and nftables")
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{tool} {}: {}: {}", arguments.join(" "), output.status, said.trim());
    Ok(())
}

/// Moves the calling thread into a network namespace of its own.
#[allow(unsafe_code)]
fn alone() -> std::io::Result<()> {
    // SAFETY: the network namespace alone is left; file descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Moves the calling thread.
fn move_into(namespace: &File) -> std::io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Lets a program start in a namespace.
#[allow(unsafe_code)]
fn enter(command: &mut Command, namespace: Arc<File>) {
    let prepare = move || move_into(&namespace);
    // SAFETY: between fork and exec one system call is made: nothing is allocated, no lock is taken.
    unsafe {
        command.pre_exec(prepare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    #[test]
    fn an_address_tells_who_dials() {
        for addresses in [Addresses::Loopback, Addresses::Namespaces] {
            assert_eq!(addresses.party(addresses.line(300).into()), Some(Party::Line(300)));
        }
        let dials = Addresses::Namespaces.listens(node(258), Service::Endpoints);
        assert_eq!(dials, Ipv4Addr::new(10, 1, 1, 2));
        assert_eq!(Addresses::Namespaces.party(dials.into()), Some(Party::Node(node(258))));
        assert_eq!(Addresses::Loopback.party(Ipv4Addr::LOCALHOST.into()), None);
    }

    #[test]
    fn silence_drops_both_halves_and_a_loss_one() {
        let mut weather = Weather::default();
        weather.regions = [(node(1), 0), (node(2), 0)].into();
        let fair = faults(&weather, &[node(1), node(2)]);
        assert!(!fair.contains("drop"), "{fair}");
        weather.silence(&[node(1)], &[node(2)]);
        weather.lose(&[node(1), node(2)], 7);
        let text = faults(&weather, &[node(1), node(2)]);
        let rules: Vec<&str> = text.lines().map(str::trim).filter(|line| line.ends_with("drop")).collect();
        assert_eq!(
            rules,
            [
                "ip saddr { 10.1.0.1, 10.2.0.1 } ip daddr { 10.4.0.2, 10.6.0.2 } drop",
                "ip saddr { 10.1.0.2, 10.2.0.2 } ip daddr { 10.4.0.1, 10.6.0.1 } numgen random mod 100 < 7 drop",
                "ip saddr { 10.4.0.1, 10.6.0.1 } ip daddr { 10.1.0.2, 10.2.0.2 } drop",
            ]
        );
    }
}
