//! `relayd dev`: a whole mesh on loopback, for trying and testing. One node, or with `--node N` one more beside it.
//!
//! Makes keys, an invite and a first account on first start in one folder and uses them again later. Node 1 has the
//! broker and everything at the folder's top; the others use its keys and have a folder of their own below. Listens on
//! loopback alone; never meant to be reached from elsewhere.

mod company;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use proto_spec::invite::Invite;
use proto_spec::{NodeNumber, WallTime};
use rand_core::Rng;
use sealcast_broker::record::AccountRole;
use sealcast_broker::request::NewAccount;
use sealcast_broker::{AdminCaller, Call, Denial, Request};
use sealcast_trust::issuing::{self, IssuingKey, PkiFile, file};
use sealcast_trust::{CertificateRole, MeshName};
use serde_json::json;
use zeroize::Zeroizing;

use crate::app::{Node, Options, Signals, seeded};
use crate::clock::Clock;
use crate::config::{
    BrokerFiles, Config, Connections, Drain, IdentityFiles, Listen, Log, LogFormat, Mesh, Node as NodeConfig,
    Source,
};
use crate::rpc::Fault;
use crate::state::write_file;

use company::{Company, Note};

/// The mesh's name.
const MESH: &str = "dev";
/// Names under which the node's certificate is good.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "::1"];
/// Where endpoints find the node: the IPv4 loopback, which exists everywhere.
const HOST: &str = "127.0.0.1";
/// Who may log in at first.
const ACCOUNT: &str = "provider@dev.local";
/// The account's name as others see it.
const DISPLAY_NAME: &str = "Dev Provider";
/// Where the first node serves endpoints unless told otherwise; further ones take a free port.
const PORT: u16 = 8200;
/// The node with the broker.
const FIRST: u16 = 1;
/// Ctrl-C should not take long.
const DRAIN_MS: u64 = 2_000;
/// Characters of the first password: no 0, o, 1, l or i to be taken for each other.
const PASSWORD_ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// Groups of a first password, and characters of a group: 20 of 31 are 99 bits.
const PASSWORD_GROUPS: usize = 4;
const PASSWORD_GROUP_LENGTH: usize = 5;

/// What `relayd dev` may be told.
#[derive(Clone, Debug, clap::Args)]
pub struct DevArgs {
    /// Folder of keys, invite, account and store; made on first start
    #[arg(long = "state", alias = "dir", value_name = "DIR", env = "RELAYD_DEV_STATE")]
    pub state: Option<PathBuf>,
    /// Which node of the mesh this is: 1 is the first and has the broker, others join it
    #[arg(long, value_name = "N", default_value_t = FIRST, value_parser = clap::value_parser!(u16).range(1..))]
    pub node: u16,
    /// Port for endpoints, 0 for a free one; again for more [default: 8200 for node 1, a free one for others]
    #[arg(long = "port", value_name = "PORT")]
    pub ports: Vec<u16>,
    /// Port for other nodes, 0 for a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub trunk_port: u16,
    /// Port for health and metrics, 0 for a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub ops_port: u16,
    /// Write every frame to a file, as the node sees it
    #[arg(long, value_name = "FILE")]
    pub tap: Option<PathBuf>,
    /// Tell in one JSON line on stdout when the node is ready, for scripts
    #[arg(long)]
    pub json: bool,
    /// Log level or filter
    #[arg(long, env = "RELAYD_LOG", value_name = "LEVEL", default_value = "warn")]
    pub log_level: String,
}

/// Runs the node until told to end.
///
/// # Errors
/// A sentence for whoever typed the command.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    let state = match &args.state {
        Some(state) => std::path::absolute(state)?,
        None => default_state()?,
    };
    let log = Log { level: args.log_level.clone(), format: LogFormat::Auto };
    let levels = crate::logging::start(&log);
    // Caught from the start, so that nothing is left half made.
    let signals = Signals::catch()?;
    make_folder(&state)?;
    let now = Clock::start().now().wall;
    let pki = state.join("pki");
    let password = if args.node == FIRST {
        make_keys(&pki, now)?;
        Some(first_password(&state.join("account.txt"))?)
    } else {
        add_keys(&pki, args.node, now)?;
        None
    };
    let company = Company::new(&state);
    let config = config(&args, &state, &company.notes(), log);
    let node = Node::build(config, Options { tap: args.tap.clone(), limit_calls: true, levels }).await?;
    if let Some(password) = &password {
        ensure_account(&node, password).await?;
    }

    let addresses = node.addresses()?;
    company.leave(&Note::of(args.node, HOST, &addresses))?;
    let invite = state.join("invite.toml");
    let ca = std::fs::read_to_string(pki.join(file::CA))?;
    let nodes = company.notes().iter().map(Note::to_invite).collect();
    let text = Invite { version: 1, mesh: MESH.into(), nodes, ca }.to_text();
    write_file(&invite, text.as_bytes(), 0o644)
        .with_context(|| format!("{}: cannot be written", invite.display()))?;

    let started = Started { args: &args, state: &state, invite: &invite, password, addresses: &addresses };
    if args.json {
        started.print_json()
    } else {
        started.print_text()
    }
    node.serve(signals).await
}

struct Started<'a> {
    args: &'a DevArgs,
    state: &'a Path,
    invite: &'a Path,
    /// Of the first account, at the node that made it.
    password: Option<Zeroizing<String>>,
    addresses: &'a crate::app::Addresses,
}

impl Started<'_> {
    fn print_json(&self) {
        let addresses: Vec<String> = self.addresses.endpoints.iter().map(ToString::to_string).collect();
        let ports: Vec<u16> = self.addresses.endpoints.iter().map(SocketAddr::port).collect();
        let mut line = json!({
            "event": "ready", "pid": std::process::id(), "mesh": MESH, "node": self.args.node,
            "addresses": addresses, "ports": ports, "ops": self.addresses.ops.to_string(),
            "trunk": self.addresses.trunk.map(|trunk| trunk.to_string()), "invite": self.invite,
            "admin_socket": self.addresses.admin_socket, "state": self.state,
        });
        if let Some(password) = &self.password {
            line["account"] = ACCOUNT.into();
            line["password"] = password.as_str().into();
        }
        // The connections are queued by the kernel already, so nobody who reads this comes too early.
        println!("{line}");
    }

    fn print_text(&self) {
        let addresses: Vec<String> = self.addresses.endpoints.iter().map(ToString::to_string).collect();
        println!("Relay node {} on loopback: {}", self.args.node, addresses.join(", "));
        println!("  state    {}", self.state.display());
        println!("  invite   {}", self.invite.display());
        if let Some(password) = &self.password {
            println!("  account  {ACCOUNT}");
            println!("  password {}", password.as_str());
        }
        println!("  metrics  http://{}/metrics", self.addresses.ops);
        println!();
        if self.password.is_some() {
            self.print_first_steps();
        }
        println!("Administer it:");
        println!();
        let relayctl = shown(&beside("relayctl"));
        let socket = shown(&self.addresses.admin_socket);
        println!("  {relayctl} --socket {socket} node show");
        println!("  {relayctl} --socket {socket} mesh status");
        println!();
        let next = self.args.node + 1;
        println!("Add a node, in another terminal:");
        println!();
        let state = match &self.args.state {
            Some(_) => format!(" --state {}", shown(self.state)),
            None => String::new(),
        };
        println!("  {} dev --node {next}{state}", shown(&beside("relayd")));
        println!();
        println!("Ctrl-C ends it.");
    }

    fn print_first_steps(&self) {
        println!(
            "Next, in another terminal, log in (the password is asked for), open a session, and join it:"
        );
        println!();
        let sealcast = shown(&beside("sealcast"));
        let invite = shown(self.invite);
        println!("  {sealcast} --invite {invite} login {ACCOUNT}");
        println!("  {sealcast} --invite {invite} host");
        println!("  {sealcast} --invite {invite} join");
        println!();
    }
}

/// A program of the same build where there is one, so that what is printed can be pasted.
fn beside(name: &str) -> PathBuf {
    let neighbour = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    neighbour.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

/// As a shell reads it back.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn default_state() -> anyhow::Result<PathBuf> {
    let folders = directories::BaseDirs::new().context("no home folder: name a state folder with --state")?;
    let state = folders.state_dir().unwrap_or(folders.data_local_dir());
    Ok(state.join("sealcast").join("dev"))
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("{}: the state folder cannot be made", path.display()))
}

/// Makes the mesh's keys in a folder that appears as a whole, so that a start cut short leaves none behind.
fn make_keys(pki: &Path, now: WallTime) -> anyhow::Result<()> {
    if pki.exists() {
        return Ok(());
    }
    let mesh = mesh_name();
    let number = NodeNumber::new(FIRST).expect("not 0");
    let mut files = issuing::init(&mesh, now)?;
    let contents = |name: &str| -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let file = files.iter().find(|file| file.name == name);
        Ok(file.with_context(|| format!("{name} was not made"))?.contents.clone())
    };
    let key = IssuingKey::load(
        &mesh,
        &contents(file::CA)?,
        &contents(file::ISSUING)?,
        &contents(file::ISSUING_KEY)?,
    )?;
    let names = NAMES.map(str::to_owned);
    files.extend(key.issue(&CertificateRole::Node(number), &names, None, now)?.files);
    files.extend(key.issue(&CertificateRole::Broker(number), &[], None, now)?.files);
    let part = pki.with_extension("part");
    if part.exists() {
        std::fs::remove_dir_all(&part)?;
    }
    make_folder(&part)?;
    write_keys(&part, &files)?;
    std::fs::rename(&part, pki).with_context(|| format!("{}: cannot be made", pki.display()))
}

/// Makes the keys of one more node with the issuing key of the first.
fn add_keys(pki: &Path, node: u16, now: WallTime) -> anyhow::Result<()> {
    // Written last, and at once: where it is, the key is too.
    if pki.join(format!("node-{node}.pem")).exists() {
        return Ok(());
    }
    let read = |name: &str| {
        std::fs::read(pki.join(name)).with_context(|| {
            format!("{}: no keys of a mesh yet: start the first node with `relayd dev`", pki.display())
        })
    };
    let key = IssuingKey::load(
        &mesh_name(),
        &read(file::CA)?,
        &read(file::ISSUING)?,
        &Zeroizing::new(read(file::ISSUING_KEY)?),
    )?;
    let number = NodeNumber::new(node).context("a node's number is at least 1")?;
    let mut files = key.issue(&CertificateRole::Node(number), &NAMES.map(str::to_owned), None, now)?.files;
    files.sort_by_key(|file| !file.secret);
    write_keys(pki, &files)
}

fn mesh_name() -> MeshName {
    MESH.parse().expect("a constant that fits")
}

fn write_keys(folder: &Path, files: &[PkiFile]) -> anyhow::Result<()> {
    for PkiFile { name, contents, secret } in files {
        let path = folder.join(name);
        write_file(&path, contents, if *secret { 0o600 } else { 0o644 })
            .with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}

/// The first account's password: drawn once, kept in a file of mode 0600.
fn first_password(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    if path.exists() {
        let text = Zeroizing::new(std::fs::read_to_string(path)?);
        let password = text.lines().nth(1).filter(|line| !line.is_empty());
        return match password {
            Some(password) => Ok(Zeroizing::new(password.to_owned())),
            None => bail!("{}: holds no password: remove the file, and a new one is made", path.display()),
        };
    }
    let password = draw_password()?;
    let text = Zeroizing::new(format!("{ACCOUNT}\n{}\n", *password));
    write_file(path, text.as_bytes(), 0o600)
        .with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(password)
}

fn draw_password() -> anyhow::Result<Zeroizing<String>> {
    // 248 is the largest multiple of 31 below 256: bytes from there on would favour some characters.
    let fair = 256 / PASSWORD_ALPHABET.len() * PASSWORD_ALPHABET.len();
    let mut rng = seeded()?;
    loop {
        let mut password = Zeroizing::new(String::new());
        let mut drawn = 0;
        while drawn < PASSWORD_GROUPS * PASSWORD_GROUP_LENGTH {
            let mut byte = [0u8; 1];
            rng.fill_bytes(&mut byte);
            if usize::from(byte[0]) >= fair {
                continue;
            }
            if drawn > 0 && drawn % PASSWORD_GROUP_LENGTH == 0 {
                password.push('-');
            }
            password.push(char::from(PASSWORD_ALPHABET[usize::from(byte[0]) % PASSWORD_ALPHABET.len()]));
            drawn += 1;
        }
        if password.bytes().any(|byte| byte.is_ascii_digit())
            && password.bytes().any(|byte| byte.is_ascii_alphabetic())
        {
            return Ok(password);
        }
    }
}

/// Makes the first account; one that is there already with another password gets the file's.
async fn ensure_account(node: &Node, password: &Zeroizing<String>) -> anyhow::Result<()> {
    let backend = node.backend();
    let call = Call {
        admin: Some(AdminCaller::Local { uid: rustix::process::geteuid().as_raw() }),
        ..Call::default()
    };
    let shown = backend.ask(&call, Request::ShowAccount { email: ACCOUNT.into() }).await;
    match shown {
        Ok(_) => return Ok(()),
        Err(Fault::Denied(Denial::NotFound(_))) => {}
        Err(fault) => return Err(fault.into()),
    }
    let password_hash = backend.hash(password.clone()).await?;
    let new = NewAccount {
        email: ACCOUNT.into(),
        display_name: DISPLAY_NAME.into(),
        password: password.clone(),
        password_hash,
        roles: vec![AccountRole::Provider],
    };
    backend.ask(&call, Request::AddAccount(new)).await?;
    Ok(())
}

/// A configuration that nobody has to write.
fn config(args: &DevArgs, state: &Path, company: &[Note], log: Log) -> Config {
    let pki = state.join("pki");
    let first = args.node == FIRST;
    let state_dir = if first { state.to_owned() } else { state.join(format!("node-{}", args.node)) };
    let ports = match args.ports.as_slice() {
        [] if first => vec![PORT],
        [] => vec![0],
        ports => ports.to_vec(),
    };
    let others = company.iter().filter(|note| note.node != args.node);
    let loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Everybody comes from one address.
    let mut limits = sealcast_attach::Limits::default();
    limits.address_half_open_max = limits.half_open_max;
    limits.address_accepts_per_minute = 60_000;
    limits.address_accepts_burst = 20_000;
    Config {
        node: NodeConfig { state_dir, public_host: HOST.into(), public_ports: Vec::new() },
        identity: IdentityFiles {
            mesh: MESH.into(),
            ca: pki.join(file::CA),
            certificate: pki.join(format!("node-{}.pem", args.node)),
            key: pki.join(format!("node-{}.key", args.node)),
        },
        broker: first.then(|| BrokerFiles {
            certificate: pki.join("broker-1.pem"),
            key: pki.join("broker-1.key"),
            trusted: Vec::new(),
        }),
        listen: Listen {
            endpoints: ports.into_iter().map(loopback).collect(),
            ops: loopback(args.ops_port),
            admin_socket: None,
            admin: None,
            trunk: Some(loopback(args.trunk_port)),
        },
        mesh: Mesh {
            seeds: others.map(|note| note.trunk.clone()).filter(|trunk| !trunk.is_empty()).collect(),
            failure_domain: format!("node-{}", args.node),
            ..Mesh::default()
        },
        limits,
        connections: Connections {
            grpc_address_connections_max: Connections::default().grpc_connections_max,
            ..Connections::default()
        },
        drain: Drain { deadline_ms: DRAIN_MS },
        log,
        source: Source::default(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A node in a folder, with ports that the kernel picks; it serves nothing.
    pub(crate) async fn node(folder: &Path) -> Node {
        make_keys(&folder.join("pki"), Clock::start().now().wall).unwrap();
        let args = DevArgs {
            state: None,
            node: FIRST,
            ports: vec![0],
            trunk_port: 0,
            ops_port: 0,
            tap: None,
            json: false,
            log_level: "warn".into(),
        };
        Node::build(config(&args, folder, &[], Log::default()), Options::default()).await.unwrap()
    }

    #[test]
    fn a_first_password_passes_the_houses_own_rules() {
        for _ in 0..20 {
            let password = draw_password().unwrap();
            assert_eq!(password.len(), PASSWORD_GROUPS * (PASSWORD_GROUP_LENGTH + 1) - 1);
            sealcast_broker::password::check(&password, &[ACCOUNT, DISPLAY_NAME, MESH]).unwrap();
        }
    }

    #[test]
    fn keys_and_password_are_made_once() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let now = Clock::start().now().wall;
        let pki = folder.path().join("pki");
        make_keys(&pki, now).unwrap();
        let first = std::fs::read(pki.join("node-1.key")).unwrap();
        make_keys(&pki, now).unwrap();
        assert_eq!(std::fs::read(pki.join("node-1.key")).unwrap(), first);
        let account = folder.path().join("account.txt");
        let password = first_password(&account).unwrap();
        assert_eq!(first_password(&account).unwrap(), password);
        for path in [account, pki.join("node-1.key"), pki.join(file::ROOT_KEY)] {
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn a_further_node_needs_the_first_ones_keys() {
        let folder = tempfile::tempdir().unwrap();
        let now = Clock::start().now().wall;
        let pki = folder.path().join("pki");
        let refusal = add_keys(&pki, 2, now).unwrap_err().to_string();
        assert!(refusal.contains("start the first node"), "{refusal}");
        make_keys(&pki, now).unwrap();
        add_keys(&pki, 2, now).unwrap();
        let key = std::fs::read(pki.join("node-2.key")).unwrap();
        add_keys(&pki, 2, now).unwrap();
        assert_eq!(std::fs::read(pki.join("node-2.key")).unwrap(), key);
        assert_ne!(key, std::fs::read(pki.join("node-1.key")).unwrap());
    }

    #[test]
    fn paths_can_be_pasted() {
        assert_eq!(shown(Path::new("/tmp/a-b/c_1.toml")), "/tmp/a-b/c_1.toml");
        assert_eq!(shown(Path::new("/tmp/a b/it's")), "'/tmp/a b/it'\\''s'");
    }
}
