//! TLS as every port of a node speaks it: fixed at compile time, nothing for an operator to weaken.
//!
//! TLS 1.3 alone, AES-128-GCM first, X25519 with ML-KEM-768 preferred, no resumption, no early data, no key log.
//! Never decides who may do what: identities are read from certificates by the trust crate.

pub mod mesh;
mod metered;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto_spec::alpn;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

pub use metered::{HANDSHAKE_BYTES_MAX, Metered};
pub(crate) use wire::{Received, Strides, Wire};

/// A server's TLS stream after its handshake.
pub type ServerStream = tokio_rustls::server::TlsStream<Metered>;

/// Exporter label of the attachment's proof \[ATT-5\].
pub const EXPORTER_ATTACH: &[u8] = b"EXPORTER-sealcast-attach";
/// Exporter label of proofs in gRPC calls \[GW-6\] \[GW-7\].
pub const EXPORTER_RPC: &[u8] = b"EXPORTER-sealcast-rpc";

/// Why a certificate, key or CA file cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Not there, not readable or not PEM.
    #[error("{path}: cannot be read as PEM ({why}): name a PEM file in the configuration, key {key:?}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The key of the configuration that names it.
        key: &'static str,
        /// The parser's or the system's word.
        why: String,
    },
    /// Readable, but without what it should hold.
    #[error("{path}: holds no {what}: name another file in the configuration, key {key:?}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// The key of the configuration that names it.
        key: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// Certificate and key do not fit, or rustls refuses them.
    #[error(
        "the certificate and its key cannot be used together ({0}): issue them anew with `relayctl pki issue`"
    )]
    Unusable(#[from] rustls::Error),
    /// A CA that no client can be verified against.
    #[error(
        "the mesh CA cannot be used to verify administrators ({0}): check the file under key \"identity.ca\""
    )]
    Ca(#[from] rustls::server::VerifierBuilderError),
}

/// A leaf with its chain, and the leaf's private key.
#[derive(Debug)]
pub struct Identity {
    /// The leaf first, then the issuing certificates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key, PKCS #8.
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads a certificate chain and a key from PEM files; `keys` are the configuration's names for them.
    ///
    /// # Errors
    /// [`TlsError`] names the file and the key of the configuration.
    pub fn read(certificate: &Path, key: &Path, keys: [&'static str; 2]) -> Result<Identity, TlsError> {
        let chain = read_certificates(certificate, keys[0])?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, keys[1], &error))?;
        Ok(Identity { chain, key })
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Identity { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Reads all certificates of a PEM file, at least one.
///
/// # Errors
/// [`TlsError`] names the file and the configuration's `key`.
pub fn read_certificates(path: &Path, key: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(path, key, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), key, what: "certificate" });
    }
    Ok(certificates)
}

fn unreadable(path: &Path, key: &'static str, error: &rustls_pki_types::pem::Error) -> TlsError {
    TlsError::Unreadable { path: path.to_owned(), key, why: error.to_string() }
}

/// The provider of every connection: two suites, hybrid key exchange first.
pub fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::{cipher_suite, kx_group};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    })
}

/// What the ports for endpoints present: server authentication, ALPN for attachment, gRPC and HTTP.
///
/// # Errors
/// [`TlsError::Unusable`] if certificate and key do not fit.
pub fn endpoint_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    Ok(finish(config, vec![alpn::ATTACH.to_vec(), alpn::GRPC.to_vec(), alpn::HTTP1.to_vec()]))
}

/// What the administrators' port presents: mutual authentication against the mesh CA, gRPC alone.
///
/// # Errors
/// [`TlsError`] if certificate, key or CA cannot be used.
pub fn admin_config(
    identity: &Identity,
    ca: &[CertificateDer<'static>],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate.clone())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    Ok(finish(config, vec![alpn::GRPC.to_vec()]))
}

fn finish(mut config: ServerConfig, protocols: Vec<Vec<u8>>) -> Arc<ServerConfig> {
    config.alpn_protocols = protocols;
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// The configuration in force; swapped as a whole when certificates are read anew.
pub type Current = Arc<ArcSwap<ServerConfig>>;
