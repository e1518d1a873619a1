//! The configuration of a node: one TOML file, a few overrides by flag and environment, and what they are checked for.
//!
//! Unknown keys are errors. Every error names the file, the line and the key. Never opens a port and never writes.

mod mesh;
mod place;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

pub use mesh::Mesh;
pub use place::Place;

/// Largest configuration file in bytes: ours has below 100 lines.
const CONFIG_LENGTH_MAX: u64 = 256 * 1024;
/// Listeners of one kind: IPv4 and IPv6 on three ports, and a few more.
const LISTENERS_MAX: usize = 16;

/// Program and version, as nodes tell each other.
pub const SOFTWARE: &str = concat!("relayd ", env!("CARGO_PKG_VERSION"));

/// A node's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the node is called and where it keeps its state.
    pub node: Node,
    /// Keys and certificates.
    pub identity: IdentityFiles,
    /// The embedded broker; absent: the node hands its endpoints' calls to a node with one.
    #[serde(default)]
    pub broker: Option<BrokerFiles>,
    /// Addresses to listen on.
    pub listen: Listen,
    /// Other nodes.
    #[serde(default)]
    pub mesh: Mesh,
    /// Bounds of attachments.
    #[serde(default)]
    pub limits: sealcast_attach::config::Limits,
    /// Bounds of connections before and beside attachments.
    #[serde(default)]
    pub connections: Connections,
    /// How the node goes out of service.
    #[serde(default)]
    pub drain: Drain,
    /// What is logged and how.
    #[serde(default)]
    pub log: Log,
    /// The file itself, so that later errors can name a line of it.
    #[serde(skip)]
    pub source: Source,
}

/// Where a configuration was read.
#[derive(Clone, Debug, Default)]
pub struct Source {
    path: PathBuf,
    text: String,
    overrides: Overrides,
}

/// `[node]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Folder of the store; one process at a time.
    pub state_dir: PathBuf,
    /// Host name or address under which endpoints reach this node, as its certificate names it.
    pub public_host: String,
    /// Ports under which endpoints reach it; empty: the ports it listens on.
    #[serde(default)]
    pub public_ports: Vec<u16>,
}

/// `[identity]`: PEM files.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityFiles {
    /// The mesh's name, as every certificate and ticket carries it.
    pub mesh: String,
    /// Root certificates of the mesh CA.
    pub ca: PathBuf,
    /// The node's certificate, then the issuing one.
    pub certificate: PathBuf,
    /// The node's key.
    pub key: PathBuf,
}

/// `[broker]`: the broker certificate and key sign tickets and audit checkpoints.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerFiles {
    /// The broker's certificate, then the issuing one.
    pub certificate: PathBuf,
    /// The broker's key.
    pub key: PathBuf,
    /// Certificates of other brokers whose tickets this node accepts, each a PEM chain.
    #[serde(default)]
    pub trusted: Vec<PathBuf>,
}

/// `[listen]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For endpoints: attachments, gRPC, probes.
    pub endpoints: Vec<SocketAddr>,
    /// `/livez`, `/readyz`, `/metrics`: a loopback address.
    #[serde(default = "default_ops")]
    pub ops: SocketAddr,
    /// The administrators' Unix socket; absent: `admin.sock` in the state folder.
    #[serde(default)]
    pub admin_socket: Option<PathBuf>,
    /// Administration over mutual TLS; absent: none.
    #[serde(default)]
    pub admin: Option<SocketAddr>,
    /// Other nodes of the mesh, over mutual TLS; absent: a mesh of one.
    #[serde(default)]
    pub trunk: Option<SocketAddr>,
}

fn default_ops() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8201))
}

/// `[connections]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    /// Until the first bytes tell what a connection is, and until a TLS handshake is complete.
    pub handshake_ms: u64,
    /// gRPC connections at once.
    pub grpc_connections_max: usize,
    /// The same from one address (/32 or /64).
    pub grpc_address_connections_max: usize,
    /// Calls at once on one gRPC connection.
    pub grpc_streams_max: u32,
    /// Until a gRPC call has been read, decided and answered.
    pub grpc_call_ms: u64,
    /// Until an idle gRPC connection is asked whether it lives.
    pub grpc_keepalive_ms: u64,
}

impl Default for Connections {
    fn default() -> Self {
        Connections {
            // A handshake over a satellite and a slow phone takes below 3 s.
            handshake_ms: 10_000,
            // Endpoints close theirs 10 s after the last call.
            grpc_connections_max: 1_024,
            // A quarter: a large office behind one address, but nobody holds up all others.
            grpc_address_connections_max: 256,
            grpc_streams_max: 16,
            // Argon2 for two at once may queue behind others.
            grpc_call_ms: 15_000,
            grpc_keepalive_ms: 20_000,
        }
    }
}

/// `[drain]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// From SIGTERM until what is left is closed.
    pub deadline_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { deadline_ms: 30_000 }
    }
}

/// `[log]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level or filter directives, such as `info` or `relayd=debug`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Log { level: "info".into(), format: LogFormat::Auto }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text.
    Text,
    /// A JSON object a line.
    Json,
}

/// What flags and environment change in a file's values: flag before environment before file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Overrides {
    /// Folder of the store, instead of the file's node.state_dir
    #[arg(long, env = "RELAYD_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Log level or filter, such as info or relayd=debug
    #[arg(long, env = "RELAYD_LOG", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How log lines are written
    #[arg(long, env = "RELAYD_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Milliseconds from SIGTERM until what is left is closed
    #[arg(long, env = "RELAYD_DRAIN_MS", value_name = "MS")]
    pub drain_ms: Option<u64>,
}

/// Why a configuration cannot be used. Every one names where.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file itself.
    #[error("{path}: cannot be read ({why}): give the configuration's path with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// Not TOML, an unknown key, a value of a wrong type.
    #[error("{path}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// With line, key and the offending text.
        message: String,
    },
    /// A value that cannot be.
    #[error("{place}: {problem}")]
    Value {
        /// File, line and key.
        place: Place,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl Config {
    /// Reads and checks a configuration, applies the overrides, and makes its paths relative to the file's folder.
    ///
    /// # Errors
    /// [`ConfigError`] with the file, the line and the key.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
        let unreadable = |why: String| ConfigError::Unreadable { path: path.to_owned(), why };
        let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if length > CONFIG_LENGTH_MAX {
            return Err(unreadable(format!("longer than {CONFIG_LENGTH_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let mut config: Config = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        config.apply(overrides);
        config.anchor(path.parent().unwrap_or(Path::new(".")));
        config.source = Source { path: path.to_owned(), text, overrides: overrides.clone() };
        config.check()?;
        Ok(config)
    }

    /// Reads the same file anew, under the same overrides. A configuration that no file holds is as it was.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read_anew(&self) -> Result<Config, ConfigError> {
        if self.source.path.as_os_str().is_empty() {
            return Ok(self.clone());
        }
        Config::load(&self.source.path, &self.source.overrides)
    }

    /// The sections in which a newer configuration differs in what a running node does not change.
    pub fn needs_restart(&self, newer: &Config) -> Vec<&'static str> {
        let sections = [
            ("node", self.node == newer.node),
            ("identity.mesh", self.identity.mesh == newer.identity.mesh),
            ("broker", self.broker.is_some() == newer.broker.is_some()),
            ("listen", self.listen == newer.listen),
            ("mesh", self.mesh == newer.mesh),
            ("limits", self.limits == newer.limits),
            ("connections", self.connections == newer.connections),
            ("log.format", self.log.format == newer.log.format),
        ];
        sections.into_iter().filter(|(_, same)| !same).map(|(section, _)| section).collect()
    }

    /// Replaces what the overrides name.
    fn apply(&mut self, overrides: &Overrides) {
        if let Some(state_dir) = &overrides.state_dir {
            self.node.state_dir = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.clone());
        }
        if let Some(level) = &overrides.log_level {
            self.log.level.clone_from(level);
        }
        if let Some(format) = overrides.log_format {
            self.log.format = format;
        }
        if let Some(deadline_ms) = overrides.drain_ms {
            self.drain.deadline_ms = deadline_ms;
        }
    }

    /// Paths in the file are relative to the file.
    fn anchor(&mut self, folder: &Path) {
        let paths = [
            &mut self.node.state_dir,
            &mut self.identity.ca,
            &mut self.identity.certificate,
            &mut self.identity.key,
        ];
        let broker = self.broker.iter_mut().flat_map(|broker| {
            [&mut broker.certificate, &mut broker.key].into_iter().chain(&mut broker.trusted)
        });
        for path in paths.into_iter().chain(broker).chain(&mut self.listen.admin_socket) {
            *path = folder.join(&*path);
        }
    }

    /// What types cannot hold.
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &'static str, problem: String| Err(self.wrong(key, problem));
        if self.node.public_host.is_empty() || self.node.public_host.len() > 253 {
            return wrong(
                "node.public_host",
                "must be a host name or address of at most 253 characters".into(),
            );
        }
        if self.node.public_host.parse::<SocketAddr>().is_ok() || self.node.public_host.contains('/') {
            return wrong("node.public_host", "is a host alone: ports go to node.public_ports".into());
        }
        if self.node.public_ports.contains(&0) {
            return wrong(
                "node.public_ports",
                "port 0 cannot be reached from outside: name the real port".into(),
            );
        }
        if self.identity.mesh.is_empty() || self.identity.mesh.len() > 64 {
            return wrong("identity.mesh", "must have 1 to 64 characters".into());
        }
        if self.listen.endpoints.is_empty() || self.listen.endpoints.len() > LISTENERS_MAX {
            return wrong(
                "listen.endpoints",
                format!("must name 1 to {LISTENERS_MAX} addresses, such as \"[::]:8200\""),
            );
        }
        if !self.listen.ops.ip().is_loopback() {
            return wrong(
                "listen.ops",
                format!("{} is not a loopback address: health and metrics need no password", self.listen.ops),
            );
        }
        let tcp = self.listen.endpoints.iter().copied().chain([self.listen.ops]).chain(self.listen.admin);
        let tcp: Vec<SocketAddr> = tcp.chain(self.listen.trunk).collect();
        for (index, address) in tcp.iter().enumerate() {
            if address.port() != 0 && tcp[..index].contains(address) {
                return wrong("listen", format!("{address} is named twice: give each listener its own port"));
            }
        }
        let bounds: [(&'static str, u64, u64, u64); 7] = [
            ("connections.handshake_ms", self.connections.handshake_ms, 100, 60_000),
            ("connections.grpc_connections_max", self.connections.grpc_connections_max as u64, 4, 65_536),
            (
                "connections.grpc_address_connections_max",
                self.connections.grpc_address_connections_max as u64,
                1,
                65_536,
            ),
            ("connections.grpc_streams_max", self.connections.grpc_streams_max.into(), 1, 256),
            ("connections.grpc_call_ms", self.connections.grpc_call_ms, 100, 120_000),
            ("connections.grpc_keepalive_ms", self.connections.grpc_keepalive_ms, 100, 600_000),
            ("drain.deadline_ms", self.drain.deadline_ms, 0, 3_600_000),
        ];
        for (key, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return wrong(key, format!("{value} is out of bounds: choose {least} to {most}"));
            }
        }
        if let Err(problem) = self.limits.validate() {
            return wrong("limits", problem);
        }
        if let Err((key, problem)) = self.mesh.check(self.listen.trunk) {
            return wrong(key, problem);
        }
        if self.log.level.parse::<tracing_subscriber::filter::targets::Targets>().is_err() {
            return wrong(
                "log.level",
                format!("{:?} is no level: use error, warn, info, debug or trace", self.log.level),
            );
        }
        Ok(())
    }

    /// An error about the value of `key`, with file and line.
    pub fn wrong(&self, key: &'static str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            place: Place::of(&self.source.path, &self.source.text, key),
            problem: problem.into(),
        }
    }

    /// The administrators' Unix socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.listen.admin_socket.clone().unwrap_or_else(|| self.node.state_dir.join("admin.sock"))
    }

    /// From SIGTERM until what is left is closed.
    pub fn drain_deadline(&self) -> Duration {
        Duration::from_millis(self.drain.deadline_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../docs/relayd.example.toml");

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relayd.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path, &Overrides::default())
    }

    #[test]
    fn the_example_is_read_and_its_paths_are_the_files_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relayd.toml");
        std::fs::write(&path, GOOD).unwrap();
        let config = Config::load(&path, &Overrides::default()).unwrap();
        assert!(config.identity.certificate.is_absolute());
        assert_eq!(config.listen.endpoints[0].port(), 8200);
    }

    #[test]
    fn errors_name_line_and_key() {
        let unknown = load(&GOOD.replace("[drain]", "[drain]\nspeed = 3")).unwrap_err().to_string();
        assert!(unknown.contains("unknown field `speed`") && unknown.contains("line "), "{unknown}");

        let cases = [
            ("ops = \"127.0.0.1:8201\"", "ops = \"0.0.0.0:8201\"", "listen.ops"),
            ("deadline_ms = 30_000", "deadline_ms = 9_000_000", "drain.deadline_ms"),
            ("level = \"info\"", "level = \"=loud=\"", "log.level"),
            (
                "grpc_address_connections_max = 256",
                "grpc_address_connections_max = 0",
                "connections.grpc_address_connections_max",
            ),
            ("ops = \"127.0.0.1:8201\"", "ops = \"127.0.0.1:8201\"\nadmin = \"127.0.0.1:8201\"", "listen"),
            ("ops = \"127.0.0.1:8201\"", "ops = \"127.0.0.1:8201\"\ntrunk = \"127.0.0.1:8201\"", "listen"),
            ("links_max = 16", "links_max = 99", "mesh.links_max"),
            ("seeds = []", "seeds = [\"relay-2.example.org\"]", "mesh.seeds"),
        ];
        for (from, to, key) in cases {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "the example has no {from}");
            let line = text.lines().position(|line| to.lines().next() == Some(line)).unwrap() + 1;
            let error = load(&text).unwrap_err().to_string();
            assert!(error.contains(&format!(" {key}: ")), "{error}");
            if key.contains('.') {
                assert!(error.contains(&format!(":{line}: ")), "{error} is not line {line}");
            }
        }
    }

    #[test]
    fn what_a_running_node_cannot_change_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relayd.toml");
        std::fs::write(&path, GOOD).unwrap();
        let overrides = Overrides { log_level: Some("debug".into()), ..Overrides::default() };
        let config = Config::load(&path, &overrides).unwrap();
        let changed = GOOD
            .replace("deadline_ms = 30_000", "deadline_ms = 5_000")
            .replace("level = \"info\"", "level = \"error\"")
            .replace("attachments_max = 10_000", "attachments_max = 9");
        std::fs::write(&path, changed).unwrap();
        let newer = config.read_anew().unwrap();
        assert_eq!((newer.drain.deadline_ms, newer.log.level.as_str()), (5_000, "debug"), "flags stay");
        assert_eq!(config.needs_restart(&newer), ["limits"]);
        assert!(config.needs_restart(&config).is_empty());
        std::fs::write(&path, "nonsense").unwrap();
        assert!(config.read_anew().is_err());
    }

    #[test]
    fn overrides_come_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relayd.toml");
        std::fs::write(&path, GOOD).unwrap();
        let overrides = Overrides {
            state_dir: Some("/srv/elsewhere".into()),
            log_level: Some("debug".into()),
            log_format: Some(LogFormat::Json),
            drain_ms: Some(5),
        };
        let config = Config::load(&path, &overrides).unwrap();
        assert_eq!(config.node.state_dir, Path::new("/srv/elsewhere"));
        assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
        assert_eq!(config.drain_deadline(), Duration::from_millis(5));
    }
}
