//! Signatures of the world: hashes with a key that everybody knows. Enough to tell forged from true, and quick.

use std::time::Duration;

use proto_spec::{NodeNumber, WallTime};
use sealcast_mesh::{Identity, Signer, ToVerify, Verdict, Wired};
use sha2::{Digest as _, Sha256};

/// The key of the world's broker and mesh CA.
pub const CA: [u8; 32] = [0xca; 32];

/// A node's identity; `key` tells two machines with one number apart.
pub fn identity(node: NodeNumber, key: u16, issued: WallTime) -> Identity {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&key.to_be_bytes());
    let expires = issued.plus(Duration::from_secs(90 * 86_400));
    let mut certificate = b"test mesh ".to_vec();
    certificate.extend_from_slice(&node.value().to_be_bytes());
    certificate.extend_from_slice(&bytes);
    certificate.extend_from_slice(&issued.0.to_be_bytes());
    certificate.extend_from_slice(&expires.0.to_be_bytes());
    let name = Sha256::digest(&certificate).into();
    Identity { node, key: bytes, certificate: name, issued, expires, chain: vec![certificate] }
}

pub fn signer(identity: &Identity) -> Signer {
    let Identity { node, key, certificate, issued, expires, .. } = identity;
    Signer { node: *node, key: *key, certificate: *certificate, issued: *issued, expires: *expires }
}

fn read(certificate: &[u8]) -> Option<Signer> {
    let rest: &[u8; 50] = certificate.strip_prefix(b"test mesh ")?.try_into().ok()?;
    Some(Signer {
        node: NodeNumber::new(u16::from_be_bytes(rest[..2].try_into().ok()?))?,
        key: rest[2..34].try_into().ok()?,
        certificate: Sha256::digest(certificate).into(),
        issued: WallTime(u64::from_be_bytes(rest[34..42].try_into().ok()?)),
        expires: WallTime(u64::from_be_bytes(rest[42..].try_into().ok()?)),
    })
}

pub fn sign(key: &[u8; 32], message: &[u8]) -> Wired<[u8; 64]> {
    let hash = Sha256::new().chain_update(key).chain_update(message).finalize();
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&hash);
    Wired(signature)
}

pub fn verify(item: &ToVerify, wall: WallTime) -> Verdict {
    match item {
        ToVerify::ByChain { chain, message, signature } => match read(&chain.0.certificates[0]) {
            None => Verdict::Refused,
            Some(signer) if wall > signer.expires => Verdict::Refused,
            Some(signer) if sign(&signer.key, message) == *signature => Verdict::Signer(signer),
            Some(_) => Verdict::Forged,
        },
        ToVerify::ByKey { key, message, signature } => {
            if sign(key, message) == *signature {
                Verdict::Valid
            } else {
                Verdict::Forged
            }
        }
        ToVerify::Tombstone(tombstone) => {
            let signature = sign(&CA, &tombstone.0.body.signed_message());
            if signature.0 == tombstone.0.signature { Verdict::Valid } else { Verdict::Forged }
        }
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
