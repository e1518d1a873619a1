//! The lines between programs: every connection between nodes, and from endpoints to nodes, goes through here.
//!
//! ```text
//!  node 1 --connect--> front of node 2 --accept--> who dials? --connect--> node 2's own listener
//!                                                    |  pipe, each way: read, due when?, wait, write
//!                                            weather ' (what is between the two, now)
//! ```
//!
//! A node is known to all others by its **fronts**: ports of ours, which stay when it is killed and comes back. Endpoints
//! are told apart by the address they connect from, one for each line; nodes see it too, so that their limits for one
//! address hold. Which node dials is told by its address as well where it has one of its own; on loopback the kernel is
//! asked: the connection's other end is a socket, and /proc says which of our children holds it. So nothing in the nodes
//! is made for the lab, and addresses that they learn from each other are right for everybody.
//!
//! What TCP does is kept: bytes are late, never lost or out of order; silence holds them back, and the end of the
//! connection as well; a window bounds what is under way. In namespaces silence, losses and thin lines are the kernel's,
//! and TCP does it all by itself: distance alone is ours.

mod owner;
mod pipe;
mod weather;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use proto_spec::NodeNumber;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::ground::{Addresses, Ground, Service};

pub use owner::listening;
pub use weather::{Line, Party, Way, Weather};

/// Connections at once: 20 nodes with 16 links of two connections, both ends, and thousands of attachments.
const CONNECTIONS_MAX: usize = 8_192;
/// What the kernel takes in for one direction before we read it: small, so that what waits, waits in our window.
const RECEIVE_BYTES: usize = 32 * 1024;
/// How long a refused or dead node's listener may take to answer us.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a new connection's owner is looked for: its program may just be forking.
const OWNER_TRIES: usize = 5;

/// Everything that connections look at; replaced as a whole.
#[derive(Clone, Default, Debug)]
struct World {
    weather: Weather,
    /// Our children: who is who.
    parties: BTreeMap<u32, Party>,
    /// Where nodes listen now.
    targets: BTreeMap<(NodeNumber, Service), SocketAddr>,
    /// Silence, losses and thin lines are the kernel's.
    by_kernel: bool,
}

impl World {
    /// The way from one to the other, as far as it is ours to make.
    fn way(&self, from: Party, to: Party) -> Way {
        let way = self.weather.way(from, to);
        if self.by_kernel { Way { held: false, loss_percent: 0, paced: false, ..way } } else { way }
    }
}

/// All lines. Ends every connection when it is dropped.
#[derive(Debug)]
pub struct Network {
    ground: Ground,
    runtime: tokio::runtime::Runtime,
    world: watch::Sender<Arc<World>>,
    places: Arc<Semaphore>,
    carried: Carried,
    seed: u64,
}

/// Connections of endpoints that are open, by line and node. A lock, held for a count: connections come and go in
/// tasks of their own, and whoever asks wants no message back.
type Carried = Arc<Mutex<BTreeMap<(usize, NodeNumber), usize>>>;

impl Network {
    /// A network in this weather. `seed` decides jitter and losses.
    ///
    /// # Errors
    /// When the system gives no threads, or the kernel's tools refuse.
    pub fn new(weather: Weather, seed: u64, ground: Ground) -> anyhow::Result<Network> {
        ground.weather(&weather)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lab-lines")
            .enable_all()
            .build()
            .context("the lab's lines cannot be made")?;
        let by_kernel = ground.addresses() == Addresses::Namespaces;
        let world = World { weather, by_kernel, ..World::default() };
        let (world, _) = watch::channel(Arc::new(world));
        Ok(Network {
            ground,
            runtime,
            world,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            carried: Carried::default(),
            seed,
        })
    }

    /// Opens a node's front, on a port that the kernel picks; where it is.
    ///
    /// # Errors
    /// The system's.
    pub fn front(&self, node: NodeNumber, service: Service) -> anyhow::Result<SocketAddr> {
        let _inside = self.runtime.enter();
        let listener = std::net::TcpListener::bind((self.ground.addresses().front(node), 0))
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                // Taken over by what is accepted.
                SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BYTES)?;
                TcpListener::from_std(listener)
            })
            .context("no port for a front")?;
        let address = listener.local_addr()?;
        let front = Front {
            node,
            service,
            address,
            addresses: self.ground.addresses(),
            world: self.world.subscribe(),
            places: Arc::clone(&self.places),
            carried: Arc::clone(&self.carried),
            seed: self.seed ^ u64::from(address.port()) << 32,
        };
        self.runtime.spawn(front.serve(listener));
        Ok(address)
    }

    /// Says who a child is.
    pub fn introduce(&self, process: u32, party: Party) {
        self.change(|world| {
            world.parties.insert(process, party);
        });
    }

    /// Forgets a child that is gone.
    pub fn forget(&self, process: u32) {
        self.change(|world| {
            world.parties.remove(&process);
        });
    }

    /// Says where a node listens; nowhere when it is dead.
    pub fn target(&self, node: NodeNumber, service: Service, address: Option<SocketAddr>) {
        self.change(|world| {
            world.targets.remove(&(node, service));
            world.targets.extend(address.map(|address| ((node, service), address)));
        });
    }

    /// The way from one to another as it is now.
    pub fn way(&self, from: Party, to: Party) -> Way {
        self.world.borrow().weather.way(from, to)
    }

    /// The nodes to which a line has connections now, of whatever kind.
    pub fn reached(&self, line: usize) -> BTreeSet<NodeNumber> {
        let carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        let open = carried.iter().filter(|((of, _), count)| *of == line && **count > 0);
        open.map(|((_, node), _)| *node).collect()
    }

    /// Changes what is between the parties.
    ///
    /// # Errors
    /// What the kernel's tools said, where it is the kernel's.
    pub fn weather(&self, change: impl FnOnce(&mut Weather)) -> anyhow::Result<()> {
        self.change(|world| change(&mut world.weather));
        self.ground.weather(&self.world.borrow().weather)
    }

    /// Where everybody stands.
    pub const fn ground(&self) -> &Ground {
        &self.ground
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        self.world.send_modify(|world| change(Arc::make_mut(world)));
    }
}

/// A port of ours that leads to a node.
struct Front {
    node: NodeNumber,
    service: Service,
    address: SocketAddr,
    addresses: Addresses,
    world: watch::Receiver<Arc<World>>,
    places: Arc<Semaphore>,
    carried: Carried,
    seed: u64,
}

/// Counts a connection for as long as it lasts.
struct Counted {
    carried: Carried,
    key: (usize, NodeNumber),
}

impl Counted {
    fn new(carried: Carried, line: usize, node: NodeNumber) -> Counted {
        let key = (line, node);
        *carried.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        Counted { carried, key }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = carried.get_mut(&self.key) {
            *count -= 1;
        }
    }
}

impl Front {
    async fn serve(self, listener: TcpListener) {
        let front = Arc::new(self);
        for serial in 0.. {
            let Ok(place) = Arc::clone(&front.places).acquire_owned().await else { return };
            let Ok((stream, peer)) = listener.accept().await else {
                // Out of files: those that end make room.
                tokio::time::sleep(CONNECT / 100).await;
                continue;
            };
            let front = Arc::clone(&front);
            tokio::spawn(async move {
                front.carry(stream, peer, serial).await;
                drop(place);
            });
        }
    }

    async fn carry(&self, stream: TcpStream, peer: SocketAddr, serial: u64) {
        let mut world = self.world.clone();
        let there = Party::Node(self.node);
        let from = self.owner(peer).await;
        let (forth, back) = {
            let world = world.borrow();
            (world.way(from, there), world.way(there, from))
        };
        if forth.refused {
            pipe::reset(&stream);
            return;
        }
        // The handshake of TCP: over there and back, when both are heard.
        tokio::time::sleep(forth.delay + back.delay).await;
        let heard = |world: &Arc<World>| !world.way(from, there).held && !world.way(there, from).held;
        if world.wait_for(heard).await.is_err() {
            return;
        }
        let target = world.borrow().targets.get(&(self.node, self.service)).copied();
        let connected = match target {
            Some(target) => tokio::time::timeout(CONNECT, connect(target, self.addresses.behalf(from))).await,
            None => Ok(Err(std::io::ErrorKind::ConnectionRefused.into())),
        };
        let Ok(Ok(onward)) = connected else {
            pipe::reset(&stream);
            return;
        };
        if !back.paced
            && let Some(window) = back.window()
        {
            // The kernel's buffer is what waits before the line. A refusal changes its depth alone.
            let _ = SockRef::from(&stream).set_send_buffer_size(window);
        }
        let _counted = match from {
            Party::Line(line) => Some(Counted::new(Arc::clone(&self.carried), line, self.node)),
            _ => None,
        };
        pipe::join(stream, onward, from, there, world, self.seed.wrapping_add(serial)).await;
    }

    /// Who dials: whoever has this address, or which of our children holds the other end.
    async fn owner(&self, peer: SocketAddr) -> Party {
        if let Some(party) = self.addresses.party(peer.ip()) {
            return party;
        }
        for _ in 0..OWNER_TRIES {
            let (world, front) = (self.world.borrow().clone(), self.address);
            let found =
                tokio::task::spawn_blocking(move || owner::of(peer, front, world.parties.keys().copied()))
                    .await;
            if let Ok(Some(process)) = found {
                let party = self.world.borrow().parties.get(&process).copied();
                return party.unwrap_or(Party::Outside);
            }
        }
        Party::Outside
    }
}

async fn connect(target: SocketAddr, from: Option<Ipv4Addr>) -> std::io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind(SocketAddr::from((from, 0)))?;
    }
    socket.set_recv_buffer_size(RECEIVE_BYTES as u32)?;
    socket.connect(target).await
}

#[cfg(test)]
mod tests;
