//! Signatures of the simulated world: codes over the message under a secret that the authority alone keeps. Cheap, equal
//! everywhere, and not to be forged by anything that only sees the network: whoever signs goes through the authority.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::{NodeNumber, WallTime};
use sealcast_mesh::{Identity, Signer, ToVerify, Verdict, Wired};
use sha2::{Digest as _, Sha256};

use super::random::{Random, mix};
use super::trace::fold;

/// How long certificates of the world are valid: longer than any run.
const VALIDITY: Duration = Duration::from_secs(90 * 86_400);
/// Opens each certificate of the world.
const CERTIFICATE: &[u8] = b"sim mesh ";

/// Keeps every secret of a run.
#[derive(Debug)]
pub struct Authority {
    secrets: BTreeMap<[u8; 32], [u64; 2]>,
    random: Random,
    broker: [u8; 32],
    /// Certificates by their bytes: what a shell would read from DER each time.
    certificates: BTreeMap<Vec<u8>, Signer>,
}

impl Authority {
    /// With a name for the brokers' certificate.
    pub fn new(seed: u64) -> Authority {
        let mut authority = Authority {
            secrets: BTreeMap::new(),
            random: Random::stream(seed, "authority", 0),
            broker: [0; 32],
            certificates: BTreeMap::new(),
        };
        authority.broker = authority.key();
        authority
    }

    /// The name of the brokers' certificate. Brokers sign by themselves, with keys of their own.
    pub const fn broker(&self) -> [u8; 32] {
        self.broker
    }

    fn key(&mut self) -> [u8; 32] {
        let public = self.random.seed();
        self.secrets.insert(public, [self.random.draw(), self.random.draw()]);
        public
    }

    /// A node's identity with a new key, certified for the usual time from `issued` on.
    pub fn certify(&mut self, node: NodeNumber, issued: WallTime) -> Identity {
        let key = self.key();
        let expires = issued.plus(VALIDITY);
        let mut certificate = CERTIFICATE.to_vec();
        certificate.extend_from_slice(&node.value().to_be_bytes());
        certificate.extend_from_slice(&key);
        certificate.extend_from_slice(&issued.0.to_be_bytes());
        certificate.extend_from_slice(&expires.0.to_be_bytes());
        let name = Sha256::digest(&certificate).into();
        self.certificates
            .insert(certificate.clone(), Signer { node, key, certificate: name, issued, expires });
        Identity { node, key, certificate: name, issued, expires, chain: vec![certificate] }
    }

    /// Signs with a key.
    ///
    /// # Panics
    /// If the authority never made the key: a bug of the simulator.
    pub fn sign(&self, public: &[u8; 32], message: &[u8]) -> Wired<[u8; 64]> {
        Wired(code(&self.secrets[public], message))
    }

    fn is_signed(&self, public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        self.secrets.get(public).is_some_and(|secret| code(secret, message) == *signature)
    }

    /// What a node's shell finds when it is asked to check.
    pub fn verify(&self, item: &ToVerify, wall: WallTime) -> Verdict {
        let valid = |valid| if valid { Verdict::Valid } else { Verdict::Forged };
        match item {
            ToVerify::ByChain { chain, message, signature } => {
                match chain.0.certificates.first().and_then(|leaf| self.certificates.get(leaf)) {
                    None => Verdict::Refused,
                    Some(signer) if wall > signer.expires || wall < signer.issued => Verdict::Refused,
                    Some(signer) if self.is_signed(&signer.key, message, &signature.0) => {
                        Verdict::Signer(*signer)
                    }
                    Some(_) => Verdict::Forged,
                }
            }
            ToVerify::ByKey { key, message, signature } => valid(self.is_signed(key, message, &signature.0)),
            // A broker's word: whoever knows its key asks there.
            ToVerify::Tombstone(_) => Verdict::Refused,
            ToVerify::BrokerChain(chain) => {
                if chain.0.certificates[0] == b"broker" {
                    Verdict::Valid
                } else {
                    Verdict::Refused
                }
            }
            // The list is the names of the revoked certificates, end to end.
            ToVerify::Revocations(list) => {
                let (names, rest) = list.0.list.as_chunks::<32>();
                if rest.is_empty() {
                    Verdict::Revocations { number: list.0.number, revoked: names.iter().copied().collect() }
                } else {
                    Verdict::Forged
                }
            }
        }
    }
}

/// Whom an identity's certificate names.
pub fn signer(identity: &Identity) -> Signer {
    let Identity { node, key, certificate, issued, expires, .. } = identity;
    Signer { node: *node, key: *key, certificate: *certificate, issued: *issued, expires: *expires }
}

fn code(secret: &[u64; 2], message: &[u8]) -> [u8; 64] {
    let mut state = [fold(secret[0], message), fold(secret[1], message)];
    let mut code = [0; 64];
    for chunk in code.chunks_exact_mut(8) {
        state = [mix(state[0] ^ secret[1]), mix(state[1] ^ state[0])];
        chunk.copy_from_slice(&state[1].to_be_bytes());
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_one_keys_over_one_message() {
        let mut authority = Authority::new(1);
        let node = NodeNumber::new(3).unwrap();
        let (one, other) = (authority.certify(node, WallTime(5)), authority.certify(node, WallTime(5)));
        assert_ne!(one.key, other.key);
        let check = |key, message: &[u8], signature| {
            authority.verify(&ToVerify::ByKey { key, message: message.to_vec(), signature }, WallTime(6))
        };
        let signature = authority.sign(&one.key, b"hello");
        assert_eq!(check(one.key, b"hello", signature), Verdict::Valid);
        assert_eq!(check(one.key, b"hullo", signature), Verdict::Forged);
        assert_eq!(check(other.key, b"hello", signature), Verdict::Forged);
        assert_eq!(check([9; 32], b"hello", signature), Verdict::Forged);
    }
}
