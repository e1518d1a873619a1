//! Checks of signatures for the core: chains against the mesh CA, what their leaves have signed, tombstones, lists of what
//! is revoked. Answers what was asked, and decides nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ed25519_dalek::{Signature, VerifyingKey};
use proto_spec::mesh::{Chain, Revocations};
use proto_spec::tombstone::Tombstone;
use proto_spec::{WallTime, Wire};
use rustls_pki_types::CertificateDer;
use sealcast_mesh::{Signer, ToVerify, Verdict};
use sealcast_trust::tombstone::TombstoneError;
use sealcast_trust::{BrokerKey, CertificateRole, Identity, MeshTrust, Verifier, revocation, tombstone};

use crate::revocations::Revocations as InForce;

/// What signatures are checked against.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) trust: Arc<ArcSwap<MeshTrust>>,
    pub(super) verifier: Arc<ArcSwap<Verifier>>,
    pub(super) revocations: Arc<InForce>,
}

impl Checks {
    /// The answer to what the core wants to know.
    pub(super) fn verdict(&self, item: &ToVerify, now: WallTime) -> Verdict {
        match item {
            ToVerify::ByChain { chain, message, signature } => {
                self.by_chain(&chain.0, message, &signature.0, now)
            }
            ToVerify::ByKey { key, message, signature } => by_key(key, message, &signature.0),
            ToVerify::BrokerChain(chain) => {
                self.broker(&chain.0, now).map_or(Verdict::Refused, |_| Verdict::Valid)
            }
            ToVerify::Revocations(list) => self.revocations(&list.0, now),
            ToVerify::Tombstone(tombstone) => self.tombstone(&tombstone.0, now),
        }
    }

    /// A broker's key, if its chain is good.
    pub(super) fn broker(&self, chain: &Chain, now: WallTime) -> Option<BrokerKey> {
        BrokerKey::new(&self.identity(chain, now)?).ok()
    }

    fn by_chain(&self, chain: &Chain, message: &[u8], signature: &[u8; 64], now: WallTime) -> Verdict {
        let Some(identity) = self.identity(chain, now) else { return Verdict::Refused };
        let CertificateRole::Node(node) = identity.role else { return Verdict::Refused };
        let Identity { key, certificate, not_before: issued, not_after: expires, .. } = identity;
        match by_key(&key, message, signature) {
            Verdict::Valid => Verdict::Signer(Signer { node, key, certificate, issued, expires }),
            other => other,
        }
    }

    /// Whom an unrevoked chain of this mesh names.
    fn identity(&self, chain: &Chain, now: WallTime) -> Option<Identity> {
        let certificates: Vec<CertificateDer<'_>> =
            chain.certificates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let identity = self.trust.load().verify(&certificates, now).ok()?;
        (!self.revocations.names(&identity.certificate)).then_some(identity)
    }

    fn revocations(&self, list: &Revocations, now: WallTime) -> Verdict {
        match revocation::verify(&list.list, &self.trust.load(), now) {
            Ok(list) => Verdict::Revocations { number: list.number, revoked: list.revoked() },
            Err(_) => Verdict::Refused,
        }
    }

    fn tombstone(&self, tombstone: &Tombstone, now: WallTime) -> Verdict {
        match tombstone::verify(&tombstone.to_bytes(), &self.verifier.load(), now) {
            Ok(_) => Verdict::Valid,
            Err(TombstoneError::Malformed) => Verdict::Forged,
            // The broker's chain may not have come yet.
            Err(TombstoneError::Foreign | TombstoneError::Over) => Verdict::Refused,
        }
    }
}

fn by_key(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Verdict {
    let verified = VerifyingKey::from_bytes(key)
        .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)));
    if verified.is_ok() { Verdict::Valid } else { Verdict::Forged }
}
