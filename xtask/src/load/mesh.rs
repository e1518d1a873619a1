//! TLS connections to a node, from any loopback address: limits by network see as many networks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use proto_spec::invite::Invite;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client's TLS stream.
pub(crate) type Stream = TlsStream<TcpStream>;

/// Where a relay is and what it is trusted by.
#[derive(Clone)]
pub(crate) struct Mesh {
    address: SocketAddr,
    roots: Arc<RootCertStore>,
}

impl Mesh {
    pub(crate) fn from_invite(text: &str) -> Result<Mesh> {
        let invite = Invite::parse(text)?;
        let node = invite.nodes.first().context("an invite without nodes")?;
        let port = *node.ports.first().context("an invite without ports")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(invite.ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        Ok(Mesh { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), roots: Arc::new(roots) })
    }

    /// The same trust at another port.
    pub(crate) fn at_port(&self, port: u16) -> Mesh {
        Mesh { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), roots: Arc::clone(&self.roots) }
    }

    /// A connection from 127.0.0.1 or, with `source`, from 127.1.x.y.
    pub(crate) async fn connect(&self, alpn: &[u8], source: Option<u16>) -> Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = source {
            let [high, low] = source.to_be_bytes();
            socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0)))?;
        }
        let socket = socket.connect(self.address).await?;
        socket.set_nodelay(true)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, socket).await?)
    }
}

/// The suite that nodes prefer, on both sides of every comparison.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    }
}

/// Keying material of a connection, as proofs sign it.
pub(crate) fn exporter(stream: &Stream, label: &[u8]) -> Result<[u8; 32]> {
    Ok(stream.get_ref().1.export_keying_material([0; 32], label, None)?)
}
