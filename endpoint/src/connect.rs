//! Reaching a node: all ports of all nodes, staggered, over IPv6 and IPv4; the first that completes TLS and greeting
//! wins, the others are closed (RFC 8305). Only ever outbound.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto_spec::alpn;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use sealcast_endpoint_core::attach::{Greeted, Greeting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::io::InspectReader;

use crate::config::{ADDRESSES_PER_HOST_MAX, ATTEMPT_MAX, CANDIDATES_MAX, RESOLVE_MAX, STAGGER};
use crate::tls::{EXPORTER_ATTACH, EXPORTER_RPC};
use crate::{Error, ErrorKind};

/// A host, by name or address as its certificate names it, and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    /// Reads `host:port` or `[address]:port`.
    pub(crate) fn parse(text: &str) -> Option<Target> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0)?;
        ServerName::try_from(host).ok()?;
        Some(Target { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => write!(f, "[{}]:{}", self.host, self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A target with one of its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    target: Target,
    address: SocketAddr,
}

/// TLS over a connection whose received bytes are counted before they are understood.
pub(crate) type Stream = TlsStream<InspectReader<TcpStream, Count>>;
type Count = Box<dyn FnMut(&[u8]) + Send>;

/// A connection after TLS.
pub(crate) struct TlsConnection {
    pub(crate) stream: Stream,
    /// Bytes that came from the network: on a thin line a TLS record may take seconds, and each piece of it is life.
    pub(crate) heard: Arc<AtomicU64>,
    /// The exporter of this connection, for proofs.
    pub(crate) exporter: [u8; 32],
    /// A hash of the certificate that the node showed: tells nodes apart.
    pub(crate) certificate: [u8; 32],
}

/// Why one attempt failed, in the order of what tells the user most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Failure {
    Resolve(String),
    Unreachable(String),
    NotANode(String),
    Certificate(String),
    Told(String),
}

/// Runs `attempt` on the candidates of `targets`, the next one every [`STAGGER`] or as soon as one fails.
pub(crate) async fn race<T, F>(
    targets: Vec<Target>,
    attempt: impl Fn(Candidate) -> F,
) -> Result<(Target, T), Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let mut failures: Vec<(Target, Failure)> = Vec::new();
    let candidates = resolve(targets, &mut failures).await;
    let mut candidates = candidates.into_iter();
    let mut running = JoinSet::new();
    let mut next_start = Instant::now();
    loop {
        if running.is_empty() || Instant::now() >= next_start {
            if let Some(candidate) = candidates.next() {
                let target = candidate.target.clone();
                let one = attempt(candidate);
                running.spawn(async move {
                    let outcome = timeout(ATTEMPT_MAX, one)
                        .await
                        .unwrap_or_else(|_| Err(Failure::Unreachable("no answer in time".to_owned())));
                    (target, outcome)
                });
                next_start = Instant::now() + STAGGER;
            } else if running.is_empty() {
                return Err(unreachable(failures));
            }
        }
        let more = candidates.len() > 0;
        tokio::select! {
            done = running.join_next() => match done {
                Some(Ok((target, Ok(won)))) => return Ok((target, won)),
                Some(Ok((target, Err(failure)))) => {
                    failures.push((target, failure));
                    next_start = Instant::now();
                }
                Some(Err(_)) | None => {}
            },
            () = sleep_until(next_start), if more => {}
        }
    }
}

/// A TCP connection, from an address of this machine if one is given.
pub(crate) async fn tcp(address: SocketAddr, local: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let stream = match local {
        None => TcpStream::connect(address).await?,
        Some(local) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(SocketAddr::new(local, 0))?;
            socket.connect(address).await?
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS with this protocol on a fresh connection.
pub(crate) async fn tls(
    candidate: Candidate,
    local: Option<IpAddr>,
    config: Arc<ClientConfig>,
    protocol: &'static [u8],
) -> Result<TlsConnection, Failure> {
    let stream = tcp(candidate.address, local).await.map_err(|e| Failure::Unreachable(e.to_string()))?;
    let name = ServerName::try_from(candidate.target.host)
        .map_err(|_| Failure::Resolve("not a host name".to_owned()))?;
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    let count: Count = Box::new(move |bytes| {
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    });
    let stream = InspectReader::new(stream, count);
    let stream =
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| tls_failure(&error))?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(protocol) {
        return Err(Failure::NotANode("it does not speak Sealcast's protocol".to_owned()));
    }
    let label = if protocol == alpn::ATTACH { EXPORTER_ATTACH } else { EXPORTER_RPC };
    let exporter = session
        .export_keying_material([0u8; 32], label, Some(&[]))
        .map_err(|error| Failure::NotANode(error.to_string()))?;
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let certificate = *blake3::hash(leaf.map_or(&[], |leaf| leaf.as_ref())).as_bytes();
    Ok(TlsConnection { stream, heard, exporter, certificate })
}

/// TLS and the greeting of an attachment.
pub(crate) async fn greeted(
    candidate: Candidate,
    local: Option<IpAddr>,
    config: Arc<ClientConfig>,
    software: &str,
) -> Result<(TlsConnection, Greeted), Failure> {
    let mut connection = tls(candidate, local, config, alpn::ATTACH).await?;
    let mut greeting = Greeting::new(software);
    let broken = |error: std::io::Error| Failure::Unreachable(error.to_string());
    connection.stream.write_all(&greeting.question()).await.map_err(broken)?;
    connection.stream.flush().await.map_err(broken)?;
    let mut buffer = [0u8; 4096];
    loop {
        let length = connection.stream.read(&mut buffer).await.map_err(broken)?;
        if length == 0 {
            return Err(Failure::Unreachable("it closed the connection".to_owned()));
        }
        match greeting.receive(&buffer[..length]) {
            Ok(Some(greeted)) => return Ok((connection, greeted)),
            Ok(None) => {}
            Err(error) => return Err(Failure::Told(error.to_string())),
        }
    }
}

/// All addresses, the targets' order kept, families alternating with IPv6 first.
async fn resolve(targets: Vec<Target>, failures: &mut Vec<(Target, Failure)>) -> Vec<Candidate> {
    let mut looked_up: Vec<(String, Vec<IpAddr>)> = Vec::new();
    let mut candidates = Vec::new();
    for target in targets {
        let known = looked_up.iter().find(|(host, _)| *host == target.host).map(|(_, found)| found.clone());
        let addresses = match known {
            Some(addresses) => addresses,
            None => {
                let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
                let found = match timeout(RESOLVE_MAX, lookup).await {
                    Ok(Ok(found)) => alternate(found.map(|address| address.ip())),
                    Ok(Err(error)) => {
                        failures.push((target.clone(), Failure::Resolve(error.to_string())));
                        Vec::new()
                    }
                    Err(_) => {
                        failures.push((target.clone(), Failure::Resolve("no answer in time".to_owned())));
                        Vec::new()
                    }
                };
                looked_up.push((target.host.clone(), found.clone()));
                found
            }
        };
        for address in addresses {
            let address = SocketAddr::new(address, target.port);
            candidates.push(Candidate { target: target.clone(), address });
        }
    }
    candidates.truncate(CANDIDATES_MAX);
    candidates
}

fn alternate(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut unique: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let (six, four): (Vec<_>, Vec<_>) = unique.into_iter().partition(IpAddr::is_ipv6);
    let mut out = Vec::new();
    for index in 0..six.len().max(four.len()) {
        out.extend(six.get(index));
        out.extend(four.get(index));
    }
    out.truncate(ADDRESSES_PER_HOST_MAX);
    out
}

fn tls_failure(error: &std::io::Error) -> Failure {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Failure::Unreachable(error.to_string());
    };
    match inner {
        rustls::Error::InvalidCertificate(why) => Failure::Certificate(match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not of this mesh: either the invite belongs to another mesh, or something on \
                 the way, such as an intercepting proxy, answers in its place"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: check this machine's clock, then tell the mesh's administrator".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: check this machine's clock".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name: ask the mesh's administrator for a new invite".to_owned()
            }
            other => format!("its certificate is refused: {other:?}"),
        }),
        other => Failure::NotANode(format!("it does not speak TLS as a relay does ({other})")),
    }
}

fn unreachable(mut failures: Vec<(Target, Failure)>) -> Error {
    failures.sort_by(|(_, one), (_, other)| one.cmp(other));
    let Some((target, failure)) = failures.last() else {
        return Error::new(ErrorKind::Unreachable, "no relay has an address: ask for a new invite");
    };
    let (advice, why) = match failure {
        Failure::Resolve(why) => (": check the network and the name server", why),
        Failure::Unreachable(why) => (": check that it runs and that the network lets you out", why),
        Failure::NotANode(why) => (": check the invite's address", why),
        Failure::Certificate(why) | Failure::Told(why) => ("", why),
    };
    let others = match failures.iter().filter(|(other, _)| other != target).count() {
        0 => "",
        _ => " (nor any other of the mesh)",
    };
    Error::new(ErrorKind::Unreachable, format!("the relay {target} cannot be used{others}: {why}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_shown() {
        for text in ["relay.example.net:8200", "192.0.2.7:443", "[2001:db8::7]:80"] {
            assert_eq!(Target::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "relay", "relay:", "relay:0", "relay:70000", "bad host:80", "[::1:80"] {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }

    #[test]
    fn families_alternate_with_ipv6_first() {
        let addresses =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.1"].map(|text| text.parse().unwrap());
        let shown: Vec<_> = alternate(addresses.into_iter()).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["2001:db8::1", "192.0.2.1", "192.0.2.2"]);
    }

    #[tokio::test]
    async fn nobody_there_is_a_sentence() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let targets = vec![Target { host: "127.0.0.1".to_owned(), port }];
        let attempt = |candidate: Candidate| async move {
            TcpStream::connect(candidate.address).await.map_err(|e| Failure::Unreachable(e.to_string()))
        };
        let error = race(targets, attempt).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains("check that it runs"), "{error}");
    }

    #[tokio::test]
    async fn the_first_that_completes_wins() {
        let targets: Vec<_> = [1u16, 2].map(|port| Target { host: "127.0.0.1".to_owned(), port }).into();
        let attempt = |candidate: Candidate| async move {
            match candidate.address.port() {
                1 => std::future::pending().await,
                port => Ok(port),
            }
        };
        assert_eq!(race(targets, attempt).await.unwrap().1, 2);
    }
}
