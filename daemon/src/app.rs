//! A node's life: build (read, check, bind) -> start (serve) -> drain (hand over, close).
//!
//! Every port is bound before anything is served, so a node is there as a whole or not at all.
//!
//! ```text
//!  SIGTERM ─► health: draining ─► overlay: the mesh is told, the gateway's endpoints move or the deadline comes,
//!             neighbours route around the node ─► listeners, gRPC, store
//!  a second one ─► ends at once
//! ```

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use proto_spec::NodeNumber;
use proto_spec::lsa::Roles;
use proto_spec::mesh::{Chain, ChainKind};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sealcast_mesh::Input;
use sealcast_trust::{BrokerKey, key};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::{Gateway, Tap};
use crate::health::{Health, State};
use crate::http::{self, Operators};
use crate::listener::{self, AdminIntake, GRPC_QUEUE, Intake, Places, local};
use crate::logging::Levels;
use crate::material::Material;
use crate::metrics::{DataPlane, Metrics};
use crate::overlay::{self, Brokers, Driver, Overlay, next_incarnation};
use crate::revocations::{self, Revocations};
use crate::rpc::{self, Backend, BrokerParts, Meshed, NodeFacts, Parts};
use crate::state::StateFolder;
use crate::store::sled::SledStore;
use crate::tls;
use crate::tls::mesh::CurrentMesh;
use crate::trunk::{self, PeerConnection, Trunks};

/// Administrators at once on the socket, and as many on the port: whoever holds up the port must not lock out the machine
/// itself.
const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Longest path of a Unix socket (`sun_path` less its end).
const SOCKET_PATH_MAX: usize = 107;
/// Beyond a drain's deadline: how long the last endpoints and neighbours may take, the core's ten seconds among it.
const DRAIN_END: Duration = Duration::from_secs(15);
/// What is left after a drain may take this long to notice that it is over.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// A certificate that ends within this is worth a word.
const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 86_400);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// What differs between `run` and `dev`.
#[derive(Debug, Default)]
pub struct Options {
    /// Where every frame is written; `dev` alone.
    pub tap: Option<PathBuf>,
    /// Whether calls from one address are limited; `dev` has but one.
    pub limit_calls: bool,
    /// Changes the level of the log when the configuration is read anew.
    pub levels: Levels,
}

/// A node with its ports bound and its store open, serving nothing yet.
pub struct Node {
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    gateway: Arc<Gateway>,
    backend: Arc<Backend>,
    overlay: Overlay,
    driver: Driver,
    trunks: Trunks,
    peer_calls: mpsc::Receiver<PeerConnection>,
    trunk: Option<SocketAddr>,
    material: Swapped,
    endpoints: Vec<TcpListener>,
    ops: TcpListener,
    admin: Option<TcpListener>,
    local: UnixListener,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// A node that is never served ends what it has begun.
    _stopped: DropGuard,
    _state: StateFolder,
}

fn listeners(
    endpoints: &[TcpListener],
    admin: Option<&TcpListener>,
    trunk: Option<SocketAddr>,
) -> std::io::Result<Vec<String>> {
    let mut listeners = Vec::new();
    for socket in endpoints {
        listeners.push(socket.local_addr()?.to_string());
    }
    if let Some(socket) = admin {
        listeners.push(format!("{} (admin)", socket.local_addr()?));
    }
    listeners.extend(trunk.map(|address| format!("{address} (trunks)")));
    Ok(listeners)
}

/// What a reload of certificates swaps.
struct Swapped {
    endpoint_tls: crate::tls::Current,
    admin_tls: crate::tls::Current,
    mesh_tls: CurrentMesh,
    trust: Arc<ArcSwap<sealcast_trust::MeshTrust>>,
    brokers: Arc<Brokers>,
    /// The broker that runs: it signs until a restart, whatever its certificate's file holds by then.
    broker: Option<BrokerKey>,
    /// What none of the above may bring back.
    revocations: Arc<Revocations>,
    /// Who the node is between nodes, as long as it runs: its number and its key.
    node: (NodeNumber, [u8; 32]),
    /// In wall time, as operators are shown it.
    certificate_expires: Arc<AtomicU64>,
    levels: Levels,
}

/// Where a node listens, once bound.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For endpoints.
    pub endpoints: Vec<SocketAddr>,
    /// For operators.
    pub ops: SocketAddr,
    /// For administrators over TLS.
    pub admin: Option<SocketAddr>,
    /// For other nodes.
    pub trunk: Option<SocketAddr>,
    /// For administrators on this machine.
    pub admin_socket: PathBuf,
}

impl Node {
    /// Reads keys, takes the state folder, binds every port, opens the store.
    ///
    /// # Errors
    /// A sentence for the operator; nothing is left open.
    pub async fn build(config: Config, options: Options) -> anyhow::Result<Node> {
        let clock = Clock::start();
        let mut rng = seeded()?;
        let material = Material::read(&config, clock.now().wall)?;
        let state = StateFolder::take(&config.node.state_dir)?;

        let mut endpoints = Vec::new();
        for address in &config.listen.endpoints {
            endpoints
                .push(bind(*address).with_context(|| unbindable(&config, "listen.endpoints", *address))?);
        }
        let ops =
            bind(config.listen.ops).with_context(|| unbindable(&config, "listen.ops", config.listen.ops))?;
        let admin = match config.listen.admin {
            Some(address) => {
                Some(bind(address).with_context(|| unbindable(&config, "listen.admin", address))?)
            }
            None => None,
        };
        let trunk = match config.listen.trunk {
            Some(address) => {
                Some(bind(address).with_context(|| unbindable(&config, "listen.trunk", address))?)
            }
            None => None,
        };
        let trunk_address = trunk.as_ref().map(TcpListener::local_addr).transpose()?;
        let local = bind_socket(&config.admin_socket())?;
        let tap = options.tap.as_deref().map(Tap::create).transpose()?;
        let trust = Arc::new(ArcSwap::from_pointee(material.trust.clone()));
        let revocations = Revocations::open(state.path().join(revocations::FILE), Arc::clone(&trust), clock);
        let revocations = Arc::new(revocations);

        let metrics = Metrics::new();
        metrics.certificate_ends("node", material.node.not_after.seconds());
        if let Some(broker) = &material.broker {
            metrics.certificate_ends("broker", broker.identity.not_after.seconds());
        }
        let health = Arc::new(Health::default());
        let brokers = Brokers::new(material.verifier.clone());
        let gateway = Gateway::new(config.limits.clone(), brokers.verifier(), clock, tap);
        let public_ports = match config.node.public_ports.as_slice() {
            [] => endpoints
                .iter()
                .map(|socket| Ok(socket.local_addr()?.port()))
                .collect::<std::io::Result<_>>()?,
            ports => ports.to_vec(),
        };
        let certificate_expires = Arc::new(AtomicU64::new(material.node.not_after.0));
        let facts = NodeFacts {
            number: material.number,
            mesh: config.identity.mesh.clone(),
            host: config.node.public_host.clone(),
            ports: public_ports.clone(),
            failure_domain: config.mesh.failure_domain.clone(),
            listeners: listeners(&endpoints, admin.as_ref(), trunk_address)?,
            certificate_expires: Arc::clone(&certificate_expires),
            drain_within: config.drain_deadline(),
        };
        let swapped = Swapped {
            endpoint_tls: Arc::new(ArcSwap::new(Arc::clone(&material.endpoint_tls))),
            admin_tls: Arc::new(ArcSwap::new(Arc::clone(&material.admin_tls))),
            mesh_tls: Arc::new(ArcSwap::from_pointee(material.mesh_tls(revocations.shared())?)),
            trust,
            brokers: Arc::clone(&brokers),
            broker: material.broker.as_ref().map(|broker| BrokerKey::new(&broker.identity)).transpose()?,
            revocations: Arc::clone(&revocations),
            node: (material.number, material.node.key),
            certificate_expires,
            levels: options.levels,
        };
        let broker_chain = match &config.broker {
            None => None,
            Some(broker) => Some(tls::read_certificates(&broker.certificate, "broker.certificate")?),
        };
        let mut seed = [0u8; 32];
        rng.fill_bytes(&mut seed);
        let (overlay, mut driver) = Overlay::prepare(overlay::Parts {
            config: config.overlay(
                &public_ports,
                trunk_address.map(|address| address.port()),
                if material.broker.is_some() { Roles::GATEWAY.and(Roles::BROKER) } else { Roles::GATEWAY },
            ),
            identity: material.mesh_identity(),
            key: key::signing_key_from_pkcs8(material.node_files.key.secret_der())?,
            incarnation: next_incarnation(state.path())?,
            seed,
            clock,
            trust: Arc::clone(&swapped.trust),
            brokers: Arc::clone(&brokers),
            revocations: Arc::clone(&revocations),
            gateway: Arc::clone(&gateway),
            health: Arc::clone(&health),
            broker_chain: broker_chain.map(|chain| Chain {
                kind: ChainKind::Broker,
                certificates: chain.iter().map(|certificate| certificate.to_vec()).collect(),
            }),
            journal: config.mesh.journal.then(|| state.path().to_owned()),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (calls, peer_calls) = mpsc::channel(GRPC_QUEUE);
        let (limits, memory) = gateway.shared();
        let trunks = match trunk {
            None => Trunks::default(),
            Some(listener) => Trunks::start(trunk::Parts {
                settings: trunk::Settings::of(&config, listener.local_addr()?.port()),
                listener,
                tls: Arc::clone(&swapped.mesh_tls),
                number: material.number,
                mesh: config.identity.mesh.clone(),
                clock,
                metrics: Arc::clone(&metrics),
                inputs: overlay.inputs(),
                arrivals: Arc::clone(&gateway) as Arc<dyn trunk::Arrivals>,
                calls,
                limits,
                memory,
                stop: stop.clone(),
                tasks: tasks.clone(),
            })?,
        };
        let broker = match material.broker {
            None => None,
            Some(broker) => Some(BrokerParts {
                signer: broker.signer,
                store: SledStore::open(&state.path().join("store"))?,
                limit_calls: options.limit_calls,
            }),
        };
        let backend = Backend::start(Parts {
            broker,
            mesh: Arc::new(Meshed { overlay: overlay.clone(), trunks: trunks.clone() }),
            revocations,
            brokers,
            gateway: Arc::clone(&gateway),
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            clock,
            rng,
            facts,
        });
        let backend = Arc::new(backend.await?);
        if backend.has_broker() {
            driver.report_to(Arc::clone(&backend) as Arc<dyn overlay::LoadSink>);
        }
        let node = Node {
            backend,
            overlay,
            driver,
            trunks,
            peer_calls,
            trunk: trunk_address,
            config,
            clock,
            metrics,
            health,
            gateway,
            material: swapped,
            endpoints,
            ops,
            admin,
            local,
            tasks,
            _stopped: stop.clone().drop_guard(),
            stop,
            _state: state,
        };
        Ok(node)
    }

    /// Where the node listens.
    ///
    /// # Errors
    /// The system's.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            endpoints: self.endpoints.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?,
            ops: self.ops.local_addr()?,
            admin: self.admin.as_ref().map(TcpListener::local_addr).transpose()?,
            trunk: self.trunk,
            admin_socket: self.config.admin_socket(),
        })
    }

    /// The broker's calls, for what a node does itself before it serves.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Serves until told to end; returns when everything is closed.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn serve(self, mut signals: Signals) -> anyhow::Result<()> {
        let Node {
            mut config,
            clock,
            metrics,
            health,
            gateway,
            backend,
            overlay,
            driver,
            trunks,
            peer_calls,
            trunk: _,
            material,
            endpoints,
            ops,
            admin,
            local,
            tasks,
            stop,
            _stopped,
            _state,
        } = self;
        let stop_ops = CancellationToken::new();
        let connections = TaskTracker::new();
        tasks.spawn(driver.run(Arc::new(trunks), stop.clone()));

        let (endpoint_calls, endpoint_stream) = mpsc::channel(GRPC_QUEUE);
        let (admin_calls, admin_stream) = mpsc::channel(GRPC_QUEUE);
        let grpc = stop.child_token();
        tasks.spawn(rpc::serve_endpoints(
            endpoint_stream,
            Arc::clone(&backend),
            config.connections.clone(),
            http::page(&config.identity.mesh),
            grpc.clone(),
        ));
        tasks.spawn(rpc::serve_admins(
            admin_stream,
            Arc::clone(&backend),
            config.connections.clone(),
            grpc.clone(),
        ));
        tasks.spawn(rpc::serve_peers(peer_calls, Arc::clone(&backend), config.connections.clone(), grpc));
        tasks.spawn(rpc::housekeeping(Arc::clone(&backend), stop.clone()));

        let data_gateway = Arc::clone(&gateway);
        let operators = Operators {
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            data: Arc::new(move || data_plane(&data_gateway)),
        };
        tasks.spawn(http::serve(ops, operators, stop_ops.clone()));

        let intake = Arc::new(Intake {
            limits: config.connections.clone(),
            metrics: Arc::clone(&metrics),
            tls: Arc::clone(&material.endpoint_tls),
            gateway: Arc::clone(&gateway),
            grpc: endpoint_calls,
            grpc_places: Places::new(
                config.connections.grpc_connections_max,
                config.connections.grpc_address_connections_max,
            ),
            public_host: config.node.public_host.clone(),
            page: http::page(&config.identity.mesh),
            tasks: connections.clone(),
        });
        for socket in endpoints {
            tasks.spawn(listener::serve(socket, Arc::clone(&intake), stop.clone()));
        }
        let admin_intake = || {
            Arc::new(AdminIntake {
                limits: config.connections.clone(),
                clock,
                metrics: Arc::clone(&metrics),
                tls: Arc::clone(&material.admin_tls),
                trust: Arc::clone(&material.trust),
                revocations: Arc::clone(&material.revocations),
                grpc: admin_calls.clone(),
                permits: Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX)),
                tasks: connections.clone(),
            })
        };
        if let Some(socket) = admin {
            tasks.spawn(listener::serve_admin(socket, admin_intake(), stop.clone()));
        }
        tasks.spawn(local::serve(local, admin_intake(), stop.clone()));
        drop(admin_calls);
        tasks.spawn(watchdog(Arc::clone(&health), stop_ops.clone()));

        health.set(State::Ready);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");

        loop {
            match signals.next().await {
                Order::End => break,
                Order::Reload => config = reload(config, clock, &metrics, &material, &overlay).await,
            }
        }

        health.stop();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!(deadline_ms = config.drain.deadline_ms, "draining: a second signal ends at once");
        let drained = async {
            overlay.drain(config.drain_deadline()).await;
            tokio::time::timeout(config.drain_deadline() + DRAIN_END, overlay.drained()).await
        };
        tokio::select! {
            drained = drained => if drained.is_err() {
                tracing::warn!("the drain did not come to its end in time");
            },
            () = signals.ended() => {
                tracing::warn!("ended at once by a second signal");
                let _ = std::fs::remove_file(config.admin_socket());
                return Ok(());
            }
        }
        stop.cancel();
        stop_ops.cancel();
        tasks.close();
        connections.close();
        let closed = tokio::time::timeout(CLOSE_TIME, async {
            tasks.wait().await;
            connections.wait().await;
        });
        if closed.await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
        backend.close().await?;
        let _ = std::fs::remove_file(config.admin_socket());
        tracing::info!("ended");
        Ok(())
    }
}

/// What the process is told from outside.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Order {
    End,
    Reload,
}

impl Signals {
    /// Catches SIGTERM, SIGINT and SIGHUP from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn catch() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::End,
            _ = self.interrupt.recv() => Order::End,
            _ = self.hangup.recv() => Order::Reload,
        }
    }

    async fn ended(&mut self) {
        while !matches!(self.next().await, Order::End) {}
    }
}

/// Checks all that can be checked without serving: keys, certificates, the state folder's place, ports. Returns what an
/// operator may want to know.
///
/// # Errors
/// The first thing that would keep the node from starting.
pub fn check(config: &Config) -> anyhow::Result<Vec<String>> {
    let material = Material::read(config, Clock::start().now().wall)?;
    let mut notes = Vec::new();
    let left = material.node.not_after.0.saturating_sub(Clock::start().now().wall.0);
    if left < EXPIRY_WARNING.as_millis() as u64 {
        notes
            .push(format!("the node's certificate ends in {} days: issue a new one soon", left / 86_400_000));
    }
    let addresses = config.listen.endpoints.iter().map(|address| ("listen.endpoints", *address));
    let addresses = addresses.chain([("listen.ops", config.listen.ops)]);
    let addresses = addresses.chain(config.listen.admin.map(|address| ("listen.admin", address)));
    for (key, address) in addresses.chain(config.listen.trunk.map(|address| ("listen.trunk", address))) {
        match std::net::TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                notes.push(format!("{address} ({key}) is in use: by a relayd that runs already?"));
            }
            Err(error) => return Err(error).with_context(|| unbindable(config, key, address)),
        }
    }
    let socket = config.admin_socket();
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        bail!(config.wrong(
            "listen.admin_socket",
            format!(
                "{} is longer than the {SOCKET_PATH_MAX} bytes of a Unix socket's path",
                socket.display()
            )
        ));
    }
    Ok(notes)
}

/// Reads the configuration and the certificates anew; what cannot be used leaves what is in force. No connection is
/// touched.
async fn reload(
    config: Config,
    clock: Clock,
    metrics: &Metrics,
    swapped: &Swapped,
    overlay: &Overlay,
) -> Config {
    let newer = match config.read_anew() {
        Ok(newer) => newer,
        Err(error) => {
            tracing::error!(%error, "the configuration could not be read anew: the old one stays in force");
            return config;
        }
    };
    match Material::read(&newer, clock.now().wall) {
        Ok(material) => {
            match material.mesh_tls(swapped.revocations.shared()) {
                Ok(_) if (material.number, material.node.key) != swapped.node => tracing::warn!(
                    "the node's number or key is another one: endpoints are shown the new certificate at once, other nodes \
                     after a restart"
                ),
                Ok(mesh) => {
                    metrics.certificate_ends("node", material.node.not_after.seconds());
                    swapped.certificate_expires.store(material.node.not_after.0, Ordering::Relaxed);
                    swapped.mesh_tls.store(Arc::new(mesh));
                    overlay.input(Input::Renewed(material.mesh_identity())).await;
                }
                Err(error) => tracing::error!(%error, "trunks keep the old certificate"),
            }
            swapped.endpoint_tls.store(material.endpoint_tls);
            swapped.admin_tls.store(material.admin_tls);
            swapped.trust.store(Arc::new(material.trust));
            swapped.brokers.configure(match swapped.broker {
                Some(own) => material.verifier.and(own),
                None => material.verifier,
            });
            tracing::info!("certificates read anew; the broker's own key changes with a restart");
        }
        Err(error) => {
            tracing::error!(%error, "certificates could not be read anew: the old ones stay in force");
            return config;
        }
    }
    let waiting = config.needs_restart(&newer);
    if !waiting.is_empty() {
        tracing::warn!(
            sections = waiting.join(", "),
            "changed in the configuration, and in force after a restart"
        );
    }
    if newer.log.level != config.log.level && swapped.levels.set(&newer.log.level) {
        tracing::info!(level = newer.log.level, "the log has another level");
    }
    // What waits for a restart stays as the node runs.
    Config {
        identity: newer.identity,
        broker: newer.broker,
        drain: newer.drain,
        log: newer.log,
        source: newer.source,
        ..config
    }
}

fn data_plane(gateway: &Gateway) -> DataPlane {
    let status = gateway.status();
    DataPlane {
        attachments: status.attachments as u64,
        sessions: status.sessions as u64,
        queue_bytes: status.queue_bytes,
        traffic: status.traffic,
        refusals: status.refusals,
        drops: status.drops,
        hop_drops: status.hop_drops,
    }
}

/// A generator seeded by the operating system \[CON-8\].
///
/// # Errors
/// When the system gives no randomness: nothing starts without.
pub fn seeded() -> anyhow::Result<ChaCha20Rng> {
    seeded_by(getrandom::fill)
}

fn seeded_by(fill: impl FnOnce(&mut [u8]) -> Result<(), getrandom::Error>) -> anyhow::Result<ChaCha20Rng> {
    let mut seed = [0u8; 32];
    fill(&mut seed).map_err(|error| {
        anyhow::anyhow!(
            "the system gives no randomness ({error}): relayd does not start without; see random(7)"
        )
    })?;
    Ok(ChaCha20Rng::from_seed(seed))
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn unbindable(config: &Config, key: &'static str, address: SocketAddr) -> String {
    config
        .wrong(
            key,
            format!("{address} cannot be bound: another program has it (choose another port), or it needs CAP_NET_BIND_SERVICE"),
        )
        .to_string()
}

/// Binds the administrators' socket; one that a dead process left is replaced, as the state folder's lock is held.
fn bind_socket(path: &Path) -> anyhow::Result<UnixListener> {
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        bail!(
            "{}: longer than the {SOCKET_PATH_MAX} bytes of a Unix socket's path: set listen.admin_socket",
            path.display()
        );
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                bail!(
                    "{}: another process listens on this admin socket: set listen.admin_socket",
                    path.display()
                );
            }
            std::fs::remove_file(path)
                .with_context(|| format!("{}: the old admin socket cannot be removed", path.display()))?;
        }
        Ok(_) => bail!("{}: is there and is no socket: set listen.admin_socket", path.display()),
        Err(_) => {}
    }
    let socket = UnixListener::bind(path)
        .with_context(|| format!("{}: the admin socket cannot be made", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("{}: the admin socket's mode cannot be set", path.display()))?;
    Ok(socket)
}

/// Tells systemd that the runtime still turns, at half the interval it asks for.
async fn watchdog(health: Arc<Health>, stop: CancellationToken) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(interval / 2);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if health.state() != State::StoreFailed {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::NodeNumber;
    use sealcast_trust::CertificateRole;
    use sealcast_trust::issuing::{IssuingKey, file};

    use super::*;

    /// A broker goes on signing with the key it started with: its tickets are good after its files were replaced.
    #[tokio::test]
    async fn a_reload_keeps_the_running_brokers_tickets_good() {
        let folder = tempfile::tempdir().unwrap();
        let node = crate::dev::tests::node(folder.path()).await;
        let running = node.material.broker.unwrap().certificate();
        let pki = folder.path().join("pki");
        let read = |name: &str| std::fs::read(pki.join(name)).unwrap();
        let mesh = node.config.identity.mesh.parse().unwrap();
        let key = IssuingKey::load(&mesh, &read(file::CA), &read(file::ISSUING), &read(file::ISSUING_KEY));
        let role = CertificateRole::Broker(NodeNumber::new(1).unwrap());
        let issued = key.unwrap().issue(&role, &[], None, node.clock.now().wall).unwrap();
        for file in &issued.files {
            crate::state::write_file(&pki.join(&file.name), &file.contents, 0o600).unwrap();
        }
        reload(node.config.clone(), node.clock, &node.metrics, &node.material, &node.overlay).await;
        let verifier = node.material.brokers.verifier().load_full();
        assert_ne!(issued.identity.certificate, running);
        assert!(verifier.broker(&issued.identity.certificate).is_some(), "the new one is known");
        assert!(verifier.broker(&running).is_some(), "the running one still is");
    }

    /// \[CON-8\]
    #[test]
    fn without_entropy_nothing_starts() {
        assert!(seeded().is_ok());
        let refused = seeded_by(|_| Err(getrandom::Error::UNSUPPORTED)).unwrap_err().to_string();
        assert!(refused.contains("does not start without"), "{refused}");
    }
}
