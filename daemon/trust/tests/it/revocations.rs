//! Lists that hold, and all those that must not.

use std::collections::BTreeSet;
use std::time::Duration;

use proto_spec::revocation::{REVOKED_MAX, Revoked, SignedRevocations};
use proto_spec::ticket::TicketKind;
use proto_spec::{NodeNumber, Wire};
use sealcast_trust::issuing::ISSUING_VALIDITY;
use sealcast_trust::key::signing_key_from_pem;
use sealcast_trust::revocation::{RevocationError, verify};
use sealcast_trust::ticket::MEMBER_VALIDITY_MAX;
use sealcast_trust::{CertificateRole, Identity, TicketError, issue};

use crate::mesh::{Mesh, NOW, contents};
use crate::tickets::claims;

fn revoked(identity: &Identity) -> Revoked {
    Revoked { certificate: identity.certificate, expires: identity.not_after }
}

fn node(number: u16) -> CertificateRole {
    CertificateRole::Node(NodeNumber::new(number).unwrap())
}

/// \[REV-1\] \[REV-2\]: a list verifies at every node of its mesh, repeats what the one before named, and forgets what ended.
#[test]
fn lists_follow_each_other() {
    let mesh = Mesh::new("m");
    let short = Some(Duration::from_secs(3_600));
    let first = mesh.issuing.issue(&node(1), &[], short, NOW).unwrap().identity;
    let second = mesh.issue(&node(2)).identity;
    let one = mesh.issuing.revoke(None, [revoked(&first)], NOW).unwrap();
    let one = verify(&one.to_bytes(), &mesh.trust, NOW).unwrap();
    assert_eq!((one.number, one.revoked()), (1, BTreeSet::from([first.certificate])));
    let two = mesh.issuing.revoke(Some(&one), [revoked(&second), revoked(&second)], NOW).unwrap();
    let two = verify(&two.to_bytes(), &mesh.trust, NOW).unwrap();
    assert_eq!((two.number, two.entries.len()), (2, 2));
    assert!(two.names(&first.certificate) && two.names(&second.certificate) && !two.names(&[0; 32]));

    let later = NOW.plus(Duration::from_secs(3_601));
    let three = mesh.issuing.revoke(Some(&two), [], later).unwrap();
    assert_eq!(three.body.number, 3);
    assert_eq!(three.body.revoked, [revoked(&second)], "the first has ended by itself");
}

/// \[REV-2\]: altered anywhere, cut, of another mesh, by another CA, by a key that the CA did not certify for it.
#[test]
fn what_the_ca_did_not_sign_revokes_nothing() {
    let mesh = Mesh::new("m");
    let victim = mesh.issue(&node(1));
    let list = mesh.issuing.revoke(None, [revoked(&victim.identity)], NOW).unwrap();
    let bytes = list.to_bytes();
    assert!(verify(&bytes, &mesh.trust, NOW).is_ok());
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(verify(&altered, &mesh.trust, NOW).is_err(), "byte {at}");
        assert!(verify(&bytes[..at], &mesh.trust, NOW).is_err(), "cut at {at}");
    }
    // A namesake with its own CA.
    let impostor = Mesh::new("m");
    let forged = impostor.issuing.revoke(None, [revoked(&victim.identity)], NOW).unwrap();
    assert_eq!(verify(&forged.to_bytes(), &mesh.trust, NOW), Err(RevocationError::Foreign));
    let other = Mesh::new("other").issuing.revoke(None, [], NOW).unwrap();
    assert_eq!(verify(&other.to_bytes(), &mesh.trust, NOW), Err(RevocationError::Foreign));
    // The right issuing certificate with another key's signature.
    let mut mixed = forged;
    mixed.body.issuing = list.body.issuing.clone();
    assert_eq!(verify(&mixed.to_bytes(), &mesh.trust, NOW), Err(RevocationError::Forged));
    // A node that signs with its own certificate: it is of this mesh, and no CA.
    let mut body = list.body.clone();
    body.issuing = victim.chain[0].to_vec();
    let key = signing_key_from_pem(contents(&victim.files, "node-1.key")).unwrap();
    let signature = ed25519_dalek::Signer::sign(&key, &body.signed_message()).to_bytes();
    let by_node = SignedRevocations { body, signature };
    assert_eq!(verify(&by_node.to_bytes(), &mesh.trust, NOW), Err(RevocationError::Foreign));
}

/// \[REV-2\]: times.
#[test]
fn lists_come_neither_from_the_future_nor_from_an_issuer_that_ended() {
    let mesh = Mesh::new("m");
    let ahead = NOW.plus(Duration::from_secs(301));
    let list = mesh.issuing.revoke(None, [], ahead).unwrap().to_bytes();
    assert_eq!(verify(&list, &mesh.trust, NOW), Err(RevocationError::NotYetValid));
    assert!(verify(&list, &mesh.trust, ahead).is_ok());
    let over = NOW.plus(ISSUING_VALIDITY).plus(Duration::from_secs(1));
    assert_eq!(verify(&list, &mesh.trust, over), Err(RevocationError::Expired));
    assert!(mesh.issuing.revoke(None, [], over).is_err());
}

/// \[REV-1\]: at the limit, and at the limit + 1.
#[test]
fn lists_have_a_limit() {
    let mesh = Mesh::new("m");
    let entry = |index: usize| {
        let mut certificate = [0; 32];
        certificate[..8].copy_from_slice(&index.to_be_bytes());
        Revoked { certificate, expires: NOW.plus(Duration::from_secs(9)) }
    };
    let full = mesh.issuing.revoke(None, (0..REVOKED_MAX).map(entry), NOW).unwrap();
    assert_eq!(verify(&full.to_bytes(), &mesh.trust, NOW).unwrap().entries.len(), REVOKED_MAX);
    assert!(mesh.issuing.revoke(None, (0..=REVOKED_MAX).map(entry), NOW).is_err());
}

/// \[REV-4\]: a revoked broker signs nothing more that is accepted; others go on.
#[test]
fn a_revoked_brokers_tickets_are_foreign() {
    let mesh = Mesh::new("m");
    let ((signer, key), (other_signer, other)) = (mesh.broker(), mesh.broker());
    let verifier = mesh.verifier(key).and(other).without(&BTreeSet::from([key.certificate()]));
    let ticket = |signer| issue(&claims(TicketKind::Member, MEMBER_VALIDITY_MAX), signer);
    assert_eq!(verifier.verify(&ticket(&signer), NOW), Err(TicketError::Foreign));
    assert!(verifier.verify(&ticket(&other_signer), NOW).is_ok());
}

/// \[CRT-5\]: the same key, identity and names, and both certificates good side by side.
#[test]
fn a_renewed_certificate_overlaps_the_old_one() {
    let mesh = Mesh::new("m");
    let names = ["relay.example.org".to_owned(), "192.0.2.7".to_owned()];
    let old = mesh.issuing.issue(&node(7), &names, None, NOW).unwrap();
    let later = NOW.plus(Duration::from_secs(86_400));
    let [pem, key] = ["node-7.pem", "node-7.key"].map(|name| contents(&old.files, name));
    let new = mesh.issuing.renew(pem, key, None, later).unwrap();
    let (old, new) = (old.identity, new);
    assert_eq!((new.identity.key, &new.identity.role), (old.key, &old.role));
    assert_ne!(new.identity.certificate, old.certificate);
    assert!(new.identity.not_after > old.not_after && new.identity.not_before < old.not_after);
    assert_eq!(sealcast_trust::cert::inspect(&new.chain[0]).unwrap().names, names);
    let other = mesh.issue(&node(7));
    let wrong_key = contents(&other.files, "node-7.key");
    assert!(mesh.issuing.renew(pem, wrong_key, None, later).is_err());
    assert!(Mesh::new("m2").issuing.renew(pem, key, None, later).is_err());
}
