//! Making a mesh's keys and certificates, for `relayctl pki` and `relayd dev` \[CRT-5\].
//!
//! Returns the contents of files and never writes one; `secret` ones belong in files of mode 0600. The root key signs
//! one issuing key and then stays offline; the issuing key signs everything else. The operating system's randomness
//! is asked here and nowhere else beneath the shells.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use proto_spec::WallTime;
use proto_spec::revocation::{REVOKED_MAX, RevocationBody, Revoked, SignedRevocations};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::cert::{
    CertError, CertificateRole, INTERNAL_NAME, Identity, MeshName, MeshTrust, chain_from_pem, identity,
};
use crate::revocation::RevocationList;

/// How long the root lasts: 20 years.
pub const ROOT_VALIDITY: Duration = Duration::from_secs(20 * 365 * 86_400);
/// How long an issuing key lasts: 5 years.
pub const ISSUING_VALIDITY: Duration = Duration::from_secs(5 * 365 * 86_400);
/// How long a leaf lasts unless told otherwise: 1 year.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(365 * 86_400);
/// Certificates start a little in the past, as clocks of machines differ.
const BACKDATED: Duration = Duration::from_secs(5 * 60);
/// DNS names and IP addresses in one certificate.
pub const NAMES_MAX: usize = 32;

/// Names of the files in a folder of keys.
pub mod file {
    /// Root certificate, public: what invites and nodes carry.
    pub const CA: &str = "ca.pem";
    /// Root key: move it offline once the issuing key exists.
    pub const ROOT_KEY: &str = "root.key";
    /// Issuing certificate, public.
    pub const ISSUING: &str = "issuing.pem";
    /// Issuing key.
    pub const ISSUING_KEY: &str = "issuing.key";
    /// The newest revocation list, public.
    pub const REVOCATIONS: &str = "revocations.list";
}

/// A file to be written.
#[derive(Clone)]
pub struct PkiFile {
    /// Its name, without a folder.
    pub name: String,
    /// Its contents, PEM.
    pub contents: Zeroizing<Vec<u8>>,
    /// Whether it holds a private key: mode 0600, and never overwritten unasked.
    pub secret: bool,
}

impl std::fmt::Debug for PkiFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PkiFile")
            .field("name", &self.name)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

/// Why nothing was made.
#[derive(Debug, Error)]
pub enum IssuingError {
    /// The operator's files or names do not fit.
    #[error("{0}")]
    Refused(String),
    /// A certificate of the folder is not what it should be.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// The certificate library failed: no entropy, or our own bug.
    #[error("making the certificate failed: {0}; check that the system has entropy")]
    Library(#[from] rcgen::Error),
}

/// A mesh's new root and issuing key.
///
/// # Errors
/// [`IssuingError::Library`] when the system gives no randomness.
pub fn init(mesh: &MeshName, now: WallTime) -> Result<Vec<PkiFile>, IssuingError> {
    let root_key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut root = params(&format!("{mesh} root"), mesh, now, ROOT_VALIDITY)?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root_certificate = root.self_signed(&root_key)?;
    let root_issuer = Issuer::from_params(&root, &root_key);
    let mut files =
        vec![public(file::CA, root_certificate.pem()), secret(file::ROOT_KEY, root_key.serialize_pem())];
    files.extend(issuing_files(mesh, &root_issuer, now)?);
    Ok(files)
}

/// A new issuing key under an existing root.
///
/// # Errors
/// [`IssuingError`] when root certificate and key cannot be read or used.
pub fn renew_issuing(
    mesh: &MeshName,
    root_pem: &[u8],
    root_key_pem: &[u8],
    now: WallTime,
) -> Result<Vec<PkiFile>, IssuingError> {
    let root = single(root_pem)?;
    let key = key_pair(root_key_pem)?;
    require_same_key(&root, &key)?;
    issuing_files(mesh, &Issuer::from_ca_cert_der(&root, &key)?, now)
}

/// An issuing key ready to certify.
pub struct IssuingKey {
    mesh: MeshName,
    trust: MeshTrust,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    not_after: WallTime,
}

impl std::fmt::Debug for IssuingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuingKey").field("mesh", &self.mesh).finish_non_exhaustive()
    }
}

/// A certificate as issued.
#[derive(Debug)]
pub struct Issued {
    /// `NAME.pem` (leaf and issuing certificate) and `NAME.key`.
    pub files: Vec<PkiFile>,
    /// What it binds, as verifiers will read it.
    pub identity: Identity,
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

impl IssuingKey {
    /// Loads from the contents of `ca.pem`, `issuing.pem` and `issuing.key`.
    ///
    /// # Errors
    /// [`IssuingError`] when they cannot be read or do not belong together.
    pub fn load(
        mesh: &MeshName,
        ca_pem: &[u8],
        issuing_pem: &[u8],
        issuing_key_pem: &[u8],
    ) -> Result<IssuingKey, IssuingError> {
        let trust = MeshTrust::from_pem(mesh.clone(), ca_pem)?;
        let certificate = single(issuing_pem)?;
        let about = crate::cert::inspect(&certificate)?;
        if !about.is_ca {
            return Err(IssuingError::Refused(format!(
                "{} is not an issuing certificate: use the one that `relayctl pki init` wrote",
                file::ISSUING
            )));
        }
        let key = key_pair(issuing_key_pem)?;
        require_same_key(&certificate, &key)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(IssuingKey { mesh: mesh.clone(), trust, issuer, certificate, not_after: about.not_after })
    }

    /// Certifies a new key for a role. `names` are the DNS names and IP addresses under which endpoints reach a node;
    /// `None` for `validity` means [`LEAF_VALIDITY`]. A leaf never outlasts its issuer.
    ///
    /// # Errors
    /// [`IssuingError::Refused`] for names that cannot be in a certificate or when the issuing key has expired.
    pub fn issue(
        &self,
        role: &CertificateRole,
        names: &[String],
        validity: Option<Duration>,
        now: WallTime,
    ) -> Result<Issued, IssuingError> {
        self.certify(role, names, KeyPair::generate_for(&PKCS_ED25519)?, validity, now)
    }

    /// Certifies the key of an existing certificate anew, for the same identity and names; the old certificate stays valid
    /// until its own end \[CRT-5\]. `pem` and `key_pem` are the two files of [`IssuingKey::issue`].
    ///
    /// # Errors
    /// [`IssuingError`] when the files cannot be read, do not belong together or are another mesh's.
    pub fn renew(
        &self,
        pem: &[u8],
        key_pem: &[u8],
        validity: Option<Duration>,
        now: WallTime,
    ) -> Result<Issued, IssuingError> {
        let old = single(pem)?;
        let key = key_pair(key_pem)?;
        require_same_key(&old, &key)?;
        let about = crate::cert::inspect(&old)?;
        match about.identity {
            Some((mesh, role)) if mesh == self.mesh => self.certify(&role, &about.names, key, validity, now),
            Some(_) => Err(CertError::OtherMesh.into()),
            None => Err(CertError::IdentityAbsent.into()),
        }
    }

    /// The list that follows `previous` and names `more` besides what it named; entries that have ended by themselves leave
    /// it \[REV-1\].
    ///
    /// # Errors
    /// [`IssuingError::Refused`] when the list would be longer than it may be.
    pub fn revoke(
        &self,
        previous: Option<&RevocationList>,
        more: impl IntoIterator<Item = Revoked>,
        now: WallTime,
    ) -> Result<SignedRevocations, IssuingError> {
        if now >= self.not_after {
            return Err(IssuingError::Certificate(CertError::Expired));
        }
        let old = previous.into_iter().flat_map(|list| list.entries.iter().copied());
        let entries: BTreeMap<[u8; 32], Revoked> = old
            .chain(more)
            .filter(|entry| entry.expires > now)
            .map(|entry| (entry.certificate, entry))
            .collect();
        if entries.len() > REVOKED_MAX {
            return Err(IssuingError::Refused(format!(
                "a revocation list holds at most {REVOKED_MAX} certificates, and {} would be in it: make a new issuing \
                 key instead",
                entries.len()
            )));
        }
        let body = RevocationBody {
            mesh: self.mesh.to_string(),
            number: previous.map_or(0, |list| list.number) + 1,
            issued: now,
            issuing: self.certificate.to_vec(),
            revoked: entries.into_values().collect(),
        };
        let signature = rcgen::SigningKey::sign(self.issuer.key(), &body.signed_message())?;
        let signature = signature.try_into().map_err(|_| {
            IssuingError::Refused(
                "the issuing key is not Ed25519: use the one that `relayctl pki init` wrote".into(),
            )
        })?;
        Ok(SignedRevocations { body, signature })
    }

    fn certify(
        &self,
        role: &CertificateRole,
        names: &[String],
        key: KeyPair,
        validity: Option<Duration>,
        now: WallTime,
    ) -> Result<Issued, IssuingError> {
        if now >= self.not_after {
            return Err(IssuingError::Certificate(CertError::Expired));
        }
        if names.len() > NAMES_MAX {
            return Err(IssuingError::Refused(format!(
                "{} names: a certificate holds at most {NAMES_MAX}",
                names.len()
            )));
        }
        let left = Duration::from_millis(self.not_after.0.saturating_sub(now.0));
        let mut leaf =
            params(&role.to_string(), &self.mesh, now, validity.unwrap_or(LEAF_VALIDITY).min(left))?;
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        let uri = identity::to_uri(&self.mesh, role);
        leaf.subject_alt_names.push(SanType::URI(uri.try_into()?));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        // An admin never serves, so its certificate cannot pass for a node's.
        if !matches!(role, CertificateRole::Admin { .. }) {
            leaf.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            leaf.subject_alt_names.push(SanType::DnsName(INTERNAL_NAME.try_into()?));
            for name in names {
                leaf.subject_alt_names.push(alternative_name(name)?);
            }
        } else if !names.is_empty() {
            return Err(IssuingError::Refused(
                "an admin's certificate has no host names: leave them out".into(),
            ));
        }
        let certificate = leaf.signed_by(&key, &self.issuer)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let identity = self.trust.verify(&chain, now)?;
        let name = match role {
            CertificateRole::Node(number) => format!("node-{number}"),
            CertificateRole::Broker(number) => format!("broker-{number}"),
            CertificateRole::Admin { name, .. } => format!("admin-{name}"),
        };
        let files = vec![
            public(&format!("{name}.pem"), certificate.pem() + &pem_of(&self.certificate)),
            secret(&format!("{name}.key"), key.serialize_pem()),
        ];
        Ok(Issued { files, identity, chain })
    }
}

fn issuing_files(
    mesh: &MeshName,
    root: &Issuer<'_, impl rcgen::SigningKey>,
    now: WallTime,
) -> Result<Vec<PkiFile>, IssuingError> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut issuing = params(&format!("{mesh} issuing"), mesh, now, ISSUING_VALIDITY)?;
    issuing.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    issuing.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    issuing.use_authority_key_identifier_extension = true;
    let certificate = issuing.signed_by(&key, root)?;
    Ok(vec![public(file::ISSUING, certificate.pem()), secret(file::ISSUING_KEY, key.serialize_pem())])
}

fn params(
    common_name: &str,
    mesh: &MeshName,
    now: WallTime,
    validity: Duration,
) -> Result<CertificateParams, IssuingError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::OrganizationName, mesh.as_str());
    // X.520 bounds a common name; the identity does not depend on it.
    params.distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    params.not_before = date(now.minus(BACKDATED))?;
    params.not_after = date(now.plus(validity))?;
    Ok(params)
}

fn date(time: WallTime) -> Result<OffsetDateTime, IssuingError> {
    i64::try_from(time.seconds())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or_else(|| {
            IssuingError::Refused("the time lies beyond what a certificate can say: check the clock".into())
        })
}

fn alternative_name(name: &str) -> Result<SanType, IssuingError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > 253 || !name.bytes().all(plain) || !name.split('.').all(label) {
        return Err(IssuingError::Refused(format!("{name:?} is neither a DNS name nor an IP address")));
    }
    Ok(SanType::DnsName(name.to_ascii_lowercase().try_into()?))
}

fn single(pem: &[u8]) -> Result<CertificateDer<'static>, IssuingError> {
    chain_from_pem(pem)?.into_iter().next().ok_or(IssuingError::Certificate(CertError::Malformed))
}

fn key_pair(pem: &[u8]) -> Result<KeyPair, IssuingError> {
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem)
        .map_err(|error| IssuingError::Refused(format!("the key file holds no private key: {error}")))?;
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)?)
}

fn require_same_key(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), IssuingError> {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertError::Malformed)?;
    if parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw() {
        Ok(())
    } else {
        Err(IssuingError::Refused(
            "certificate and key do not belong together: give the pair of one folder".into(),
        ))
    }
}

fn pem_of(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn public(name: &str, contents: String) -> PkiFile {
    PkiFile { name: name.to_owned(), contents: Zeroizing::new(contents.into_bytes()), secret: false }
}

fn secret(name: &str, contents: String) -> PkiFile {
    PkiFile { name: name.to_owned(), contents: Zeroizing::new(contents.into_bytes()), secret: true }
}
