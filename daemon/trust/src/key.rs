//! A broker's signing key together with the certificate that binds it.
//!
//! Never leaves the broker; nodes hold [`crate::BrokerKey`], the public half.

use ed25519_dalek::{Signer, SigningKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cert::{CertError, CertificateRole, Identity};

/// PKCS#8 of an Ed25519 key, version 1 (RFC 8410), up to the 32 bytes of the seed.
const PKCS8_V1_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The same in version 2 (RFC 5958), as aws-lc writes it: 32 bytes of public key follow the seed in one more field.
const PKCS8_V2_PREFIX: [u8; 16] =
    [0x30, 0x51, 0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What stands between seed and public key in version 2.
const PKCS8_V2_PUBLIC: [u8; 3] = [0x81, 0x21, 0x00];

/// Why a key cannot serve a broker. The operator's files are at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not PKCS#8 of an Ed25519 key.
    #[error(
        "the key is not an Ed25519 private key in PKCS#8: use the .key file that `relayctl pki issue` wrote"
    )]
    Malformed,
    /// The certificate names another key.
    #[error("key and certificate do not belong together: give the .pem and the .key of the same name")]
    Mismatch,
    /// The certificate is not one to sign with.
    #[error("the certificate is not a broker's: issue one with `relayctl pki issue broker`")]
    NotABroker,
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertError),
}

/// Reads an Ed25519 private key from PKCS#8 (DER), as in the `.key` files of `relayctl pki`.
///
/// # Errors
/// [`KeyError::Malformed`] for anything else.
pub fn signing_key_from_pkcs8(der: &[u8]) -> Result<SigningKey, KeyError> {
    let (prefix, rest) = der.split_first_chunk::<16>().ok_or(KeyError::Malformed)?;
    let (seed, rest) = rest.split_first_chunk::<32>().ok_or(KeyError::Malformed)?;
    let seed = Zeroizing::new(*seed);
    let key = SigningKey::from_bytes(&seed);
    let whole = match *prefix {
        PKCS8_V1_PREFIX => rest.is_empty(),
        PKCS8_V2_PREFIX => rest.strip_prefix(&PKCS8_V2_PUBLIC) == Some(key.verifying_key().as_bytes()),
        _ => false,
    };
    if whole { Ok(key) } else { Err(KeyError::Malformed) }
}

/// As [`signing_key_from_pkcs8`], from PEM.
///
/// # Errors
/// [`KeyError::Malformed`] when there is no such key in the text.
pub fn signing_key_from_pem(pem: &[u8]) -> Result<SigningKey, KeyError> {
    use rustls_pki_types::PrivatePkcs8KeyDer;
    use rustls_pki_types::pem::PemObject as _;
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::Malformed)?;
    signing_key_from_pkcs8(der.secret_pkcs8_der())
}

/// What a broker signs tickets, tombstones and checkpoints with.
#[derive(Clone)]
pub struct BrokerSigner {
    key: SigningKey,
    mesh: String,
    certificate: [u8; 32],
}

impl std::fmt::Debug for BrokerSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerSigner").field("mesh", &self.mesh).finish_non_exhaustive()
    }
}

impl BrokerSigner {
    /// Binds a key to its certificate, whose chain the caller has verified.
    ///
    /// # Errors
    /// [`KeyError`] when they do not belong together or the certificate is not a broker's.
    pub fn new(identity: &Identity, key: SigningKey) -> Result<BrokerSigner, KeyError> {
        if !matches!(identity.role, CertificateRole::Broker(_)) {
            return Err(KeyError::NotABroker);
        }
        if key.verifying_key().as_bytes() != &identity.key {
            return Err(KeyError::Mismatch);
        }
        Ok(BrokerSigner { key, mesh: identity.mesh.to_string(), certificate: identity.certificate })
    }

    /// The mesh that the certificate names.
    pub fn mesh(&self) -> &str {
        &self.mesh
    }

    /// SHA-256 of the broker's certificate: how its signatures name it \[TKT-4\].
    pub const fn certificate(&self) -> [u8; 32] {
        self.certificate
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Seed and public key, as PASETO libraries want them.
    pub(crate) fn keypair_bytes(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.key.to_keypair_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_pkcs8_are_read_and_nothing_else() {
        let seed = [7u8; 32];
        let public = *SigningKey::from_bytes(&seed).verifying_key().as_bytes();
        let v1 = [&PKCS8_V1_PREFIX[..], &seed].concat();
        let v2 = [&PKCS8_V2_PREFIX[..], &seed, &PKCS8_V2_PUBLIC, &public].concat();
        assert_eq!(signing_key_from_pkcs8(&v1).unwrap().to_bytes(), seed);
        assert_eq!(signing_key_from_pkcs8(&v2).unwrap().to_bytes(), seed);

        let foreign_public = [&PKCS8_V2_PREFIX[..], &seed, &PKCS8_V2_PUBLIC, &[9; 32]].concat();
        assert_eq!(signing_key_from_pkcs8(&foreign_public).unwrap_err(), KeyError::Malformed);
        assert_eq!(signing_key_from_pkcs8(&[&v1[..], &[0]].concat()).unwrap_err(), KeyError::Malformed);
        for length in 0..v1.len() {
            assert_eq!(signing_key_from_pkcs8(&v1[..length]).unwrap_err(), KeyError::Malformed);
        }
    }
}
