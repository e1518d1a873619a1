//! TLS as the endpoint speaks it: fixed here, nothing for a user to weaken. TLS 1.3 alone, server authentication by the
//! mesh's own CA from the invite, no resumption, no early data, no key log.

use std::sync::Arc;

use proto_spec::invite::Invite;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::{Error, ErrorKind};

/// Exporter label of the attachment's proof \[ATT-5\].
pub(crate) const EXPORTER_ATTACH: &[u8] = b"EXPORTER-sealcast-attach";
/// Exporter label of proofs in gateway calls \[GW-6\] \[GW-7\].
pub(crate) const EXPORTER_RPC: &[u8] = b"EXPORTER-sealcast-rpc";

/// A client's settings for one application protocol.
pub(crate) fn client_config(roots: &Arc<RootCertStore>, alpn: &[u8]) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::new(ErrorKind::Failed, format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The certificate authority that an invite carries.
pub(crate) fn roots(invite: &Invite) -> Result<Arc<RootCertStore>, Error> {
    let unusable = |why: &str| {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "the invite's certificate authority cannot be used ({why}): ask your administrator for a new invite"
            ),
        )
    };
    if invite.ca.trim().is_empty() {
        return Err(unusable("it holds none, and this program trusts no other"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(invite.ca.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(&error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(&error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate"));
    }
    Ok(Arc::new(roots))
}

fn provider() -> Arc<CryptoProvider> {
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
