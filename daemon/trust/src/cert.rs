//! Certificates of a mesh: the chain root, issuing key, leaf, and the identity that the leaf binds \[CRT-1\].
//!
//! The identity is read from the LEAF alone, and only after its chain has been verified. Never decides what an
//! identity may do: `sealcast-broker` and the shells do.

pub(crate) mod identity;

pub use identity::{AdminRole, CertificateRole, MeshName, NameError};

use std::time::Duration;

use proto_spec::WallTime;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{proof, sha256};

/// The DNS name in every node's and broker's certificate, whatever it is called outside \[CRT-4\].
pub const INTERNAL_NAME: &str = "node.mesh.internal";
/// Certificates that a chain may hold: leaf, issuing key, and a root that peers may send needlessly.
pub const CHAIN_LENGTH_MAX: usize = 3;
/// Longest certificate in bytes; ours have about 700, a node with many names some more.
pub const CERTIFICATE_LENGTH_MAX: usize = 8 * 1024;
/// Root certificates that a mesh may have at once: the old and the new while it changes its root, and room.
const ROOTS_MAX: usize = 4;
/// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410) before its 32 bytes.
const ED25519_SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// id-Ed25519, 1.3.101.112 (RFC 8410).
const ED25519_OID: &[u8] = &[0x2b, 0x65, 0x70];

/// Why a certificate is refused. All but [`CertError::NoRoots`] are the presenting party's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertError {
    /// Nothing to verify against, or not certificates.
    #[error(
        "the mesh CA file holds no root certificate of this mesh: use the ca.pem that `relayctl pki init` wrote"
    )]
    NoRoots,
    /// Not a certificate, or an empty or overlong chain.
    #[error("the certificate cannot be read: issue a new one with `relayctl pki issue`")]
    Malformed,
    /// Signed by another CA than this mesh's.
    #[error("the certificate comes from another mesh's CA: issue one for this mesh")]
    OtherMesh,
    /// Signed by itself.
    #[error("the certificate is self-signed: issue one from the mesh CA with `relayctl pki issue`")]
    SelfSigned,
    /// Its time, or its issuer's, is over.
    #[error("the certificate has expired: renew it with `relayctl pki issue`, and check both clocks")]
    Expired,
    /// Its time, or its issuer's, has not come.
    #[error("the certificate is not valid yet: check both clocks")]
    NotYetValid,
    /// Good, but for something else.
    #[error("the certificate is for another role: use one that was issued for this one")]
    WrongRole,
    /// The leaf names nobody.
    #[error("the certificate names no identity of a mesh: issue one with `relayctl pki issue`")]
    IdentityAbsent,
    /// The leaf's key is not Ed25519.
    #[error("the certificate's key is not Ed25519: issue a new one with `relayctl pki issue`")]
    WrongKey,
    /// Revoked by the mesh CA.
    #[error("the certificate has been revoked: ask for a new one")]
    Revoked,
}

impl CertError {
    /// The counter's label; never changes once released.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoRoots => "no_roots",
            Self::Malformed => "malformed",
            Self::OtherMesh => "other_mesh",
            Self::SelfSigned => "self_signed",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongRole => "wrong_role",
            Self::IdentityAbsent => "identity_absent",
            Self::WrongKey => "wrong_key",
            Self::Revoked => "revoked",
        }
    }
}

impl From<webpki::Error> for CertError {
    fn from(error: webpki::Error) -> CertError {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } => CertError::Expired,
            E::CertNotValidYet { .. } => CertError::NotYetValid,
            E::CertRevoked | E::CertDistrusted => CertError::Revoked,
            E::UnknownIssuer
            | E::InvalidSignatureForPublicKey
            | E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => CertError::OtherMesh,
            E::CaUsedAsEndEntity | E::EndEntityUsedAsCa | E::RequiredEkuNotFoundContext(_) => {
                CertError::WrongRole
            }
            _ => CertError::Malformed,
        }
    }
}

/// What a verified leaf binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The mesh's name.
    pub mesh: MeshName,
    /// As what, and which one.
    pub role: CertificateRole,
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// SHA-256 of the certificate (DER), which names it in signatures \[TKT-4\].
    pub certificate: [u8; 32],
    /// Start of its validity.
    pub not_before: WallTime,
    /// End of its validity.
    pub not_after: WallTime,
}

/// What a certificate says of itself, verified or not: for `relayctl pki show` and readable logs, never for trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The identity's URI as read, if there is one.
    pub identity: Option<(MeshName, CertificateRole)>,
    /// The subject in RFC 4514 order.
    pub subject: String,
    /// The issuer likewise.
    pub issuer: String,
    /// Serial number in hexadecimal.
    pub serial: String,
    /// Whether it may certify others.
    pub is_ca: bool,
    /// DNS names and IP addresses for endpoints.
    pub names: Vec<String>,
    /// SHA-256 of the certificate (DER).
    pub certificate: [u8; 32],
    /// Start of its validity.
    pub not_before: WallTime,
    /// End of its validity.
    pub not_after: WallTime,
}

/// A mesh's roots of trust.
#[derive(Clone, Debug)]
pub struct MeshTrust {
    mesh: MeshName,
    roots: Vec<TrustAnchor<'static>>,
}

impl MeshTrust {
    /// Trusts `roots` for the mesh named.
    ///
    /// # Errors
    /// [`CertError::NoRoots`] when there is none, too many, or one that is no CA certificate.
    pub fn new(mesh: MeshName, roots: &[CertificateDer<'_>]) -> Result<MeshTrust, CertError> {
        if roots.is_empty() || roots.len() > ROOTS_MAX {
            return Err(CertError::NoRoots);
        }
        let roots = roots
            .iter()
            .map(|root| match webpki::anchor_from_trusted_cert(root) {
                Ok(anchor) if inspect(root).is_ok_and(|about| about.is_ca) => Ok(anchor.to_owned()),
                _ => Err(CertError::NoRoots),
            })
            .collect::<Result<_, _>>()?;
        Ok(MeshTrust { mesh, roots })
    }

    /// As [`MeshTrust::new`], from the text of a `ca.pem` or of an invite.
    ///
    /// # Errors
    /// [`CertError::NoRoots`] as there.
    pub fn from_pem(mesh: MeshName, pem: &[u8]) -> Result<MeshTrust, CertError> {
        let roots = chain_from_pem(pem).map_err(|_| CertError::NoRoots)?;
        MeshTrust::new(mesh, &roots)
    }

    /// The mesh's name.
    pub const fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// Verifies a chain, leaf first, at `now`, and reads the identity from its leaf \[CRT-2\].
    ///
    /// # Errors
    /// [`CertError`] names the first thing that is wrong with it.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: WallTime) -> Result<Identity, CertError> {
        let (leaf, issuers) = chain.split_first().ok_or(CertError::Malformed)?;
        if chain.len() > CHAIN_LENGTH_MAX || chain.iter().any(|cert| cert.len() > CERTIFICATE_LENGTH_MAX) {
            return Err(CertError::Malformed);
        }
        let certificate = EndEntityCert::try_from(leaf)?;
        let verified = certificate.verify_for_usage(
            &[webpki::aws_lc_rs::ED25519],
            &self.roots,
            issuers,
            UnixTime::since_unix_epoch(Duration::from_millis(now.0)),
            KeyUsage::client_auth(),
            None,
            None,
        );
        match verified.map(|_| ()).map_err(CertError::from) {
            Err(CertError::OtherMesh) if certificate.issuer() == certificate.subject() => {
                return Err(CertError::SelfSigned);
            }
            other => other?,
        }
        let spki = certificate.subject_public_key_info();
        let key = spki.strip_prefix(&ED25519_SPKI_PREFIX).and_then(|key| <[u8; 32]>::try_from(key).ok());
        let key = key.ok_or(CertError::WrongKey)?;
        let about = inspect(leaf)?;
        let (mesh, role) = about.identity.ok_or(CertError::IdentityAbsent)?;
        if mesh != self.mesh {
            return Err(CertError::OtherMesh);
        }
        let Inspection { certificate, not_before, not_after, .. } = about;
        Ok(Identity { mesh, role, key, certificate, not_before, not_after })
    }

    /// Verifies an issuing certificate at `now`: made by a root itself, a CA that may sign revocations \[REV-2\]. Returns its
    /// key. The path builder takes end entities alone, so this one step is taken by hand.
    pub(crate) fn verify_issuing(
        &self,
        der: &CertificateDer<'_>,
        now: WallTime,
    ) -> Result<[u8; 32], CertError> {
        if der.len() > CERTIFICATE_LENGTH_MAX {
            return Err(CertError::Malformed);
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| CertError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertError::Malformed);
        }
        let ed25519 = |oid: &x509_parser::der_parser::Oid<'_>| oid.as_bytes() == ED25519_OID;
        if !ed25519(&parsed.signature_algorithm.algorithm)
            || !ed25519(&parsed.tbs_certificate.signature.algorithm)
        {
            return Err(CertError::WrongKey);
        }
        let signature = <[u8; 64]>::try_from(parsed.signature_value.data.as_ref());
        let signature = signature.map_err(|_| CertError::Malformed)?;
        let issuer = parsed.issuer().as_raw();
        let is_issuer = |root: &&TrustAnchor<'_>| {
            // An anchor's subject lacks the header of its SEQUENCE, which has two to four bytes.
            let header = issuer.strip_suffix(root.subject.as_ref());
            header.is_some_and(|header| (2..=4).contains(&header.len()))
        };
        let signed = self.roots.iter().filter(is_issuer).any(|root| {
            let spki = root.subject_public_key_info.as_ref();
            let key = spki.strip_prefix(&ED25519_SPKI_PREFIX[2..]);
            let key = key.and_then(|key| <[u8; 32]>::try_from(key).ok());
            key.is_some_and(|key| proof::verify(&key, parsed.tbs_certificate.as_ref(), &signature).is_ok())
        });
        if !signed {
            return Err(CertError::OtherMesh);
        }
        let may_revoke = matches!(parsed.key_usage(), Ok(Some(usage)) if usage.value.crl_sign());
        if !parsed.is_ca() || !may_revoke {
            return Err(CertError::WrongRole);
        }
        let about = inspect(der)?;
        if now < about.not_before {
            return Err(CertError::NotYetValid);
        }
        if now > about.not_after {
            return Err(CertError::Expired);
        }
        let spki = parsed.tbs_certificate.subject_pki.raw;
        let key = spki.strip_prefix(&ED25519_SPKI_PREFIX).and_then(|key| <[u8; 32]>::try_from(key).ok());
        key.ok_or(CertError::WrongKey)
    }
}

/// Reads all certificates of a PEM text, in their order.
///
/// # Errors
/// [`CertError::Malformed`] when it holds none, too many, or something that is not a certificate.
pub fn chain_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(CHAIN_LENGTH_MAX.max(ROOTS_MAX) + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| CertError::Malformed)?;
    if chain.is_empty() || chain.len() > CHAIN_LENGTH_MAX.max(ROOTS_MAX) {
        return Err(CertError::Malformed);
    }
    Ok(chain)
}

/// Reads what a certificate says of itself, without verifying anything.
///
/// # Errors
/// [`CertError::Malformed`] when it is no certificate, [`CertError::IdentityAbsent`] when it names an identity that
/// cannot be one.
pub fn inspect(der: &CertificateDer<'_>) -> Result<Inspection, CertError> {
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| CertError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertError::Malformed);
    }
    let mut identity = None;
    let mut names = Vec::new();
    let alternative = parsed.subject_alternative_name().map_err(|_| CertError::Malformed)?;
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::URI(uri) if uri.starts_with(identity::SCHEME) => {
                // Two identities in one leaf would let each reader pick its own.
                if identity.is_some() {
                    return Err(CertError::IdentityAbsent);
                }
                identity = Some(identity::from_uri(uri).ok_or(CertError::IdentityAbsent)?);
            }
            GeneralName::DNSName(name) if *name != INTERNAL_NAME => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => names.extend(ip_address(bytes)),
            _ => {}
        }
    }
    let seconds = |time: i64| WallTime(u64::try_from(time).unwrap_or(0).saturating_mul(1_000));
    Ok(Inspection {
        identity,
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        is_ca: parsed.is_ca(),
        names,
        certificate: sha256(&[der]),
        not_before: seconds(parsed.validity().not_before.timestamp()),
        not_after: seconds(parsed.validity().not_after.timestamp()),
    })
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}
