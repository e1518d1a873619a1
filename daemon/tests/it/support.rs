//! Starts real `relayd` processes and talks to them as endpoints and administrators do.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use hyper_util::rt::TokioIo;
use proto_spec::frame::{ControlFrame, FrameHeader, FrameType, Hello, TicketFrame, attach_proof_message};
use proto_spec::{AttachSeq, NodeNumber, WallTime, alpn};
use relayd::tls::{EXPORTER_ATTACH, EXPORTER_RPC};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sealcast_rpc::admin_client::AdminClient;
use sealcast_rpc::endpoint_client::EndpointClient;
use sealcast_rpc::{self as rpc, CREDENTIAL_METADATA};
use sealcast_trust::issuing::{self, IssuingKey, PkiFile, file};
use sealcast_trust::{AdminRole, BrokerSigner, CertificateRole, MeshName, MeshTrust, proof};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};

pub(crate) const PASSWORD: &str = "vq8-trombone-ledger";

/// A `relayd` process; killed when dropped.
pub(crate) struct Relayd {
    child: Child,
    pub(crate) state: PathBuf,
    pub(crate) ready: serde_json::Value,
}

pub(crate) fn relayd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayd"));
    for name in [
        "RELAYD_STATE_DIR",
        "RELAYD_LOG",
        "RELAYD_LOG_FORMAT",
        "RELAYD_DRAIN_MS",
        "RELAYD_CONFIG",
        "NOTIFY_SOCKET",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

impl Relayd {
    /// `relayd dev` on ports that the kernel picks.
    pub(crate) fn dev(state: &Path) -> Relayd {
        Relayd::dev_with(state, &["--port", "0"])
    }

    pub(crate) fn dev_with(state: &Path, arguments: &[&str]) -> Relayd {
        let mut command = relayd();
        command.args(["dev", "--json", "--state"]).arg(state).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut talk = String::new();
            child.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
            panic!("relayd dev did not start: {talk}");
        }
        let ready = serde_json::from_str(&line).unwrap();
        Relayd { child, state: state.to_owned(), ready }
    }

    /// `relayd run` with a configuration; ready once its operators' port says so.
    pub(crate) fn run(config: &Path, state: &Path) -> Relayd {
        let mut command = relayd();
        command.args(["run", "--log-level", "relayd=info", "--log-format", "json", "--config"]).arg(config);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // "ready" is logged; reading on in a thread keeps the pipe from filling.
        let mut talk = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(talk.read_line(&mut line).unwrap(), 0, "relayd run did not start: {seen}");
            if line.contains("\"message\":\"ready\"") {
                break;
            }
            seen.push_str(&line);
        }
        std::thread::spawn(move || std::io::copy(&mut talk, &mut std::io::sink()));
        Relayd { child, state: state.to_owned(), ready: serde_json::Value::Null }
    }

    pub(crate) fn port(&self) -> u16 {
        u16::try_from(self.ready["ports"][0].as_u64().unwrap()).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port()))
    }

    pub(crate) fn ops(&self) -> SocketAddr {
        self.ready["ops"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.state.join("pki").join(file::CA)
    }

    pub(crate) fn password(&self) -> String {
        self.ready["password"].as_str().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// All that the process said on stderr, once it has ended.
    pub(crate) fn talk(&mut self) -> String {
        let mut talk = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
        talk
    }

    /// An administrator on the local socket.
    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        admin_on(self.state.join("admin.sock")).await
    }
}

impl Drop for Relayd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn admin_on(socket: PathBuf) -> AdminClient<Channel> {
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    AdminClient::new(Endpoint::from_static("http://relayd").connect_with_connector(connector).await.unwrap())
}

pub(crate) fn new_account(email: &str) -> rpc::AddAccountRequest {
    rpc::AddAccountRequest {
        email: email.into(),
        display_name: "Somebody".into(),
        password: PASSWORD.into(),
        roles: vec![rpc::Role::Provider as i32],
    }
}

// ---- TLS as endpoints and administrators speak it ----

pub(crate) fn client_config(
    ca: &Path,
    protocol: &[u8],
    identity: Option<(&Path, &Path)>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(relayd::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain =
                CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

pub(crate) async fn tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    tokio_rustls::TlsConnector::from(config).connect(name, tcp).await
}

/// A channel over one TLS connection that stands already.
pub(crate) async fn channel(stream: TlsStream<TcpStream>) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("the connection is used up"));
        async move { stream.map(TokioIo::new) }
    });
    Endpoint::from_static("https://relayd").connect_with_connector(connector).await
}

/// An endpoint's gRPC connection, its exporter, and what it has logged in with.
pub(crate) struct Caller {
    pub(crate) client: EndpointClient<Channel>,
    exporter: [u8; 32],
    credential: Option<([u8; 16], SigningKey)>,
    pub(crate) attach_key: SigningKey,
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr, ca: &Path) -> Caller {
        let stream = tls(address, client_config(ca, alpn::GRPC, None)).await.unwrap();
        let exporter = stream.get_ref().1.export_keying_material([0u8; 32], EXPORTER_RPC, None).unwrap();
        let client = EndpointClient::new(channel(stream).await.unwrap());
        Caller { client, exporter, credential: None, attach_key: SigningKey::from_bytes(&[9; 32]) }
    }

    pub(crate) async fn login(
        &mut self,
        email: &str,
        password: &str,
    ) -> Result<rpc::LoginReply, tonic::Status> {
        let key = SigningKey::from_bytes(&[7; 32]);
        let reply = self
            .client
            .login(rpc::LoginRequest {
                email: email.into(),
                password: password.into(),
                credential_key: key.verifying_key().as_bytes().to_vec(),
                label: "a test".into(),
            })
            .await?
            .into_inner();
        self.credential = Some((reply.credential_id.as_slice().try_into().unwrap(), key));
        Ok(reply)
    }

    /// A request with the credential's proof for this connection.
    pub(crate) fn signed<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some((id, key)) = &self.credential {
            let signature = key.sign(&proof::credential_message(&self.exporter, id)).to_bytes();
            let value = MetadataValue::from_bytes(&[id.as_slice(), &signature].concat());
            request.metadata_mut().insert_bin(CREDENTIAL_METADATA, value);
        }
        request
    }

    pub(crate) async fn create_session(&mut self) -> Result<rpc::CreateSessionReply, tonic::Status> {
        let message = rpc::CreateSessionRequest {
            attach_key: self.attach_key.verifying_key().as_bytes().to_vec(),
            probes: Vec::new(),
        };
        let request = self.signed(message);
        Ok(self.client.create_session(request).await?.into_inner())
    }

    pub(crate) fn proof(&self, ticket: &str) -> rpc::TicketProof {
        let message = proto_spec::frame::ticket_call_message(&self.exporter, &proof::ticket_hash(ticket));
        rpc::TicketProof {
            ticket: ticket.into(),
            signature: self.attach_key.sign(&message).to_bytes().to_vec(),
        }
    }
}

/// An attachment, frame by frame.
pub(crate) struct Attachment {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl Attachment {
    pub(crate) async fn open(
        address: SocketAddr,
        ca: &Path,
        ticket: &str,
        key: &SigningKey,
        seq: u64,
    ) -> Attachment {
        Attachment::open_as(address, ca, ticket, key, seq, false).await
    }

    pub(crate) async fn open_as(
        address: SocketAddr,
        ca: &Path,
        ticket: &str,
        key: &SigningKey,
        seq: u64,
        standby: bool,
    ) -> Attachment {
        let stream = tls(address, client_config(ca, alpn::ATTACH, None)).await.unwrap();
        let exporter = stream.get_ref().1.export_keying_material([0u8; 32], EXPORTER_ATTACH, None).unwrap();
        let attach_seq = AttachSeq(seq);
        let message = attach_proof_message(&exporter, &proof::ticket_hash(ticket), attach_seq);
        let mut attachment = Attachment { stream, read: Vec::new() };
        attachment.send(&ControlFrame::Hello(Hello::ours("a test"))).await;
        let ticket =
            TicketFrame { ticket: ticket.into(), attach_seq, standby, proof: key.sign(&message).to_bytes() };
        attachment.send(&ControlFrame::Ticket(ticket)).await;
        attachment
    }

    pub(crate) async fn send(&mut self, frame: &ControlFrame) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next frame that is no data; `None` when the node closed.
    pub(crate) async fn next(&mut self) -> Option<ControlFrame> {
        loop {
            let (frame_type, frame) = self.next_frame().await?;
            if frame_type != FrameType::Data {
                return Some(
                    ControlFrame::decode(frame_type, &frame[proto_spec::frame::HEADER_LENGTH..]).unwrap(),
                );
            }
        }
    }

    /// The next data frame as it came.
    pub(crate) async fn data(&mut self) -> Vec<u8> {
        loop {
            let (frame_type, frame) = self.next_frame().await.expect("the node closed before any data came");
            if frame_type == FrameType::Data {
                return frame;
            }
        }
    }

    async fn next_frame(&mut self) -> Option<(FrameType, Vec<u8>)> {
        loop {
            if let Some(header) = FrameHeader::peek(&self.read).unwrap()
                && self.read.len() >= header.frame_length()
            {
                let rest = self.read.split_off(header.frame_length());
                return Some((header.frame_type, std::mem::replace(&mut self.read, rest)));
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads on until a frame for which `wanted` is true.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&ControlFrame) -> bool) -> ControlFrame {
        loop {
            let frame = self.next().await.expect("the node closed before the frame that was waited for");
            if wanted(&frame) {
                return frame;
            }
        }
    }
}

// ---- a configured node ----

/// A mesh of one configured node in a folder.
pub(crate) struct Mesh {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) key: IssuingKey,
}

pub(crate) fn now() -> WallTime {
    relayd::clock::Clock::start().now().wall
}

impl Mesh {
    /// Keys of a mesh, a node and a broker.
    pub(crate) fn new() -> Mesh {
        let folder = tempfile::tempdir().unwrap();
        let name: MeshName = "test".parse().unwrap();
        let files = issuing::init(&name, now()).unwrap();
        let contents = |wanted: &str| &files.iter().find(|file| file.name == wanted).unwrap().contents;
        let key =
            IssuingKey::load(&name, contents(file::CA), contents(file::ISSUING), contents(file::ISSUING_KEY))
                .unwrap();
        let mesh = Mesh { folder, key };
        mesh.write(&files);
        let number = NodeNumber::new(1).unwrap();
        mesh.issue(&CertificateRole::Node(number), &["127.0.0.1"]);
        mesh.issue(&CertificateRole::Broker(number), &[]);
        mesh
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, files: &[PkiFile]) {
        for file in files {
            relayd::state::write_file(
                &self.path(&file.name),
                &file.contents,
                if file.secret { 0o600 } else { 0o644 },
            )
            .unwrap();
        }
    }

    pub(crate) fn issue(&self, role: &CertificateRole, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.write(&self.key.issue(role, &names, None, now()).unwrap().files);
    }

    /// The certificate and key of an administrator.
    pub(crate) fn admin(&self, role: AdminRole) -> (PathBuf, PathBuf) {
        let name = role.name();
        self.issue(&CertificateRole::admin(role, name).unwrap(), &[]);
        (self.path(&format!("admin-{name}.pem")), self.path(&format!("admin-{name}.key")))
    }

    /// Writes a configuration: ports that were free a moment ago, and what is added.
    pub(crate) fn config(&self, port: u16, ops: u16, listen: &str, more: &str) -> PathBuf {
        let text = format!(
            r#"
[node]
state_dir = "state"
public_host = "127.0.0.1"
[identity]
mesh = "test"
ca = "ca.pem"
certificate = "node-1.pem"
key = "node-1.key"
[broker]
certificate = "broker-1.pem"
key = "broker-1.key"
[listen]
endpoints = ["127.0.0.1:{port}"]
ops = "127.0.0.1:{ops}"
{listen}
{more}
"#
        );
        let path = self.path("relayd.toml");
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Mesh {
    /// Writes the configuration of one node of several, under its number, with certificates of its own.
    pub(crate) fn node_config(&self, number: u16, ports: NodePorts, seeds: &[u16]) -> PathBuf {
        let value = NodeNumber::new(number).unwrap();
        if number != 1 {
            self.issue(&CertificateRole::Node(value), &["127.0.0.1"]);
            self.issue(&CertificateRole::Broker(value), &[]);
        }
        let NodePorts { endpoints, ops, trunk } = ports;
        let seeds: Vec<String> = seeds.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let seeds = seeds.join(", ");
        let text = format!(
            r#"
[node]
state_dir = "state-{number}"
public_host = "127.0.0.1"
[identity]
mesh = "test"
ca = "ca.pem"
certificate = "node-{number}.pem"
key = "node-{number}.key"
[broker]
certificate = "broker-{number}.pem"
key = "broker-{number}.key"
[listen]
endpoints = ["127.0.0.1:{endpoints}"]
ops = "127.0.0.1:{ops}"
trunk = "127.0.0.1:{trunk}"
[mesh]
seeds = [{seeds}]
failure_domain = "domain {number}"
journal = true
"#
        );
        let path = self.path(&format!("relayd-{number}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Signs tickets as the broker of a node does.
    pub(crate) fn signer(&self, number: u16) -> BrokerSigner {
        let read = |name: String| std::fs::read(self.path(&name)).unwrap();
        let trust = MeshTrust::from_pem("test".parse().unwrap(), &read(file::CA.into())).unwrap();
        let chain = sealcast_trust::cert::chain_from_pem(&read(format!("broker-{number}.pem"))).unwrap();
        let identity = trust.verify(&chain, now()).unwrap();
        let key = sealcast_trust::key::signing_key_from_pem(&read(format!("broker-{number}.key"))).unwrap();
        BrokerSigner::new(&identity, key).unwrap()
    }
}

/// What one node listens on.
#[derive(Clone, Copy)]
pub(crate) struct NodePorts {
    pub(crate) endpoints: u16,
    pub(crate) ops: u16,
    pub(crate) trunk: u16,
}

/// Ports that nobody has at this moment, all different.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
