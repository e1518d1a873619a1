//! The way to a node: its Unix socket on this machine, or mutual TLS with an admin certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sealcast_rpc::admin_client::AdminClient;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::cli::Global;
use crate::failure::Failure;

/// Until a connection stands.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Until a call is answered; streams are not bound by it.
const CALL_TIME: Duration = Duration::from_secs(30);
/// Largest answer: a page of a thousand accounts or sessions.
const ANSWER_LENGTH_MAX: usize = 16 * 1024 * 1024;

/// A client of the administrators' calls.
pub(crate) type Client = AdminClient<Channel>;

/// Connects as the options say.
pub(crate) async fn connect(global: &Global) -> Result<Client, Failure> {
    let channel = match &global.address {
        Some(address) => over_tls(address, global).await?,
        None => over_socket(&socket(global)?).await?,
    };
    Ok(AdminClient::new(channel).max_decoding_message_size(ANSWER_LENGTH_MAX))
}

/// A request that does not wait for ever.
pub(crate) fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIME);
    request
}

/// The socket asked for, or the first of the usual places that exists.
fn socket(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(socket) = &global.socket {
        return Ok(socket.clone());
    }
    let places = usual_places();
    places.iter().find(|place| place.exists()).cloned().ok_or_else(|| {
        let tried: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        Failure::unreachable(format!(
            "no admin socket at {}: is relayd running here? Name the socket with --socket, or another machine with \
             --address",
            tried.join(" or ")
        ))
    })
}

fn usual_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> =
        vec!["/run/sealcast/admin.sock".into(), "/var/lib/sealcast/admin.sock".into()];
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state")));
    places.extend(state.map(|state| state.join("sealcast/dev/admin.sock")));
    places
}

async fn over_socket(path: &Path) -> Result<Channel, Failure> {
    let owned = path.to_owned();
    let connector = service_fn(move |_: Uri| {
        let path = owned.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://relayd.local").connect_timeout(CONNECT_TIME);
    endpoint.connect_with_connector(connector).await.map_err(|error| match io_kind(&error) {
        Some(std::io::ErrorKind::PermissionDenied) => Failure::denied(format!(
            "{}: this user may not open the admin socket: run relayctl as the user that relayd runs as",
            path.display()
        )),
        _ => Failure::unreachable(format!(
            "{}: no node answers ({}): is relayd running?",
            path.display(),
            innermost(&error)
        )),
    })
}

async fn over_tls(address: &str, global: &Global) -> Result<Channel, Failure> {
    let (Some(cert), Some(key), Some(ca)) = (&global.cert, &global.key, &global.ca) else {
        return Err(Failure::usage(
            "--address wants --cert and --key of an admin certificate, and --ca with the mesh's root certificate",
        ));
    };
    let (host, _) = address
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        .ok_or_else(|| {
            Failure::usage(format!("--address {address}: give HOST:PORT, such as relay.example.org:8202"))
        })?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let server = ServerName::try_from(host)
        .map_err(|_| Failure::usage(format!("--address {address}: not a host name or IP address")))?;
    let connector = TlsConnector::from(Arc::new(client_config(cert, key, ca)?));
    let target = address.to_owned();
    let connector = service_fn(move |_: Uri| {
        let (connector, server, target) = (connector.clone(), server.clone(), target.clone());
        async move {
            let tcp = TcpStream::connect(target).await?;
            tcp.set_nodelay(true)?;
            connector.connect(server, tcp).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("https://relayd.remote").connect_timeout(CONNECT_TIME);
    let connecting = tokio::time::timeout(CONNECT_TIME, endpoint.connect_with_connector(connector));
    match connecting.await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(Failure::unreachable(format!(
            "{address}: no connection ({}): check address, certificates and that [listen] names `admin` there",
            innermost(&error)
        ))),
        Err(_) => {
            Err(Failure::unreachable(format!("{address}: no answer within {} s", CONNECT_TIME.as_secs())))
        }
    }
}

fn client_config(cert: &Path, key: &Path, ca: &Path) -> Result<ClientConfig, Failure> {
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, Failure> {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| Failure::usage(format!("{}: cannot be read as PEM: {error}", path.display())))
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(ca)? {
        roots
            .add(root)
            .map_err(|error| Failure::usage(format!("{}: not a root certificate: {error}", ca.display())))?;
    }
    let chain = certificates(cert)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| Failure::usage(format!("{}: cannot be read as PEM: {error}", key.display())))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, secret))
        .map_err(|error| Failure::usage(format!("{} and {}: {error}", cert.display(), key.display())))?;
    config.alpn_protocols = vec![proto_spec::alpn::GRPC.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// The cause at the bottom is the one that helps.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
