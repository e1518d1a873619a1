//! Chains that verify, and all those that must not.

use std::time::Duration;

use proto_spec::{NodeNumber, WallTime};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519,
    SanType,
};
use sealcast_trust::cert::{chain_from_pem, inspect};
use sealcast_trust::issuing::{self, IssuingKey};
use sealcast_trust::key::{KeyError, signing_key_from_pem};
use sealcast_trust::{AdminRole, BrokerKey, BrokerSigner, CertError, CertificateRole, MeshTrust};

use crate::mesh::{Mesh, NOW, contents};

fn node(number: u16) -> CertificateRole {
    CertificateRole::Node(NodeNumber::new(number).unwrap())
}

/// \[CRT-1\] \[CRT-2\] \[CRT-4\] \[CRT-5\]: every role verifies, by the PEM as written to disk, and names what it was issued for.
#[test]
fn issued_certificates_verify() {
    let mesh = Mesh::new("mesh.example");
    let admin = CertificateRole::admin(AdminRole::Auditor, "alice").unwrap();
    for role in [node(7), CertificateRole::Broker(NodeNumber::new(7).unwrap()), admin] {
        let issued = mesh.issue(&role);
        let pem = issued.files.iter().find(|file| !file.secret).unwrap();
        let chain = chain_from_pem(&pem.contents).unwrap();
        assert_eq!(chain, issued.chain);
        let identity = mesh.trust.verify(&chain, NOW).unwrap();
        assert_eq!(identity.role, role);
        assert_eq!(identity.mesh, mesh.name);
        let key =
            signing_key_from_pem(&issued.files.iter().find(|file| file.secret).unwrap().contents).unwrap();
        assert_eq!(key.verifying_key().as_bytes(), &identity.key);
    }
}

/// \[CRT-4\]: names for endpoints, the internal name, and usages; an admin's certificate cannot serve.
#[test]
fn names_and_usages_are_as_rustls_wants_them() {
    use webpki::EndEntityCert;
    let mesh = Mesh::new("m");
    let names = ["relay.example.org".to_owned(), "192.0.2.7".to_owned(), "2001:db8::7".to_owned()];
    let issued = mesh.issuing.issue(&node(7), &names, None, NOW).unwrap();
    let certificate = EndEntityCert::try_from(&issued.chain[0]).unwrap();
    for name in ["node.mesh.internal", "relay.example.org", "192.0.2.7", "2001:db8::7"] {
        certificate.verify_is_valid_for_subject_name(&name.try_into().unwrap()).unwrap();
    }
    assert!(certificate.verify_is_valid_for_subject_name(&"other.example.org".try_into().unwrap()).is_err());
    let mut shown = inspect(&issued.chain[0]).unwrap().names;
    shown.sort();
    assert_eq!(shown, ["192.0.2.7", "2001:db8::7", "relay.example.org"]);

    let admin = mesh.issue(&CertificateRole::admin(AdminRole::AccountAdmin, "bob").unwrap());
    let certificate = EndEntityCert::try_from(&admin.chain[0]).unwrap();
    assert!(certificate.verify_is_valid_for_subject_name(&"node.mesh.internal".try_into().unwrap()).is_err());
    for bad in ["", "a b", "ex..ample", "-", "*.example.org", "über.example"] {
        let result = mesh.issuing.issue(&node(7), &[bad.to_owned()], None, NOW);
        assert!(result.is_err(), "{bad:?} was put into a certificate");
    }
}

/// \[CRT-2\]: refused by time, to the second, on either side.
#[test]
fn validity_is_held_against_the_time_given() {
    let mesh = Mesh::new("m");
    let issued = mesh.issuing.issue(&node(7), &[], Some(Duration::from_secs(60)), NOW).unwrap();
    let verify = |now| mesh.trust.verify(&issued.chain, now);
    assert!(verify(NOW.plus(Duration::from_secs(60))).is_ok());
    assert_eq!(verify(NOW.plus(Duration::from_secs(61))), Err(CertError::Expired));
    assert_eq!(verify(NOW.minus(Duration::from_secs(301))), Err(CertError::NotYetValid));
    assert_eq!(verify(WallTime(0)), Err(CertError::NotYetValid));
    // The issuing key's end ends what it certified, and nothing is issued beyond it.
    let later = NOW.plus(issuing::ISSUING_VALIDITY).minus(Duration::from_secs(60));
    let last = mesh.issuing.issue(&node(8), &[], None, later).unwrap();
    assert!(last.identity.not_after <= NOW.plus(issuing::ISSUING_VALIDITY));
    let too_late = NOW.plus(issuing::ISSUING_VALIDITY).plus(Duration::from_secs(1));
    assert!(mesh.issuing.issue(&node(9), &[], None, too_late).is_err());
}

/// \[CRT-2\]: another mesh's CA, even one of the same name.
#[test]
fn another_mesh_is_refused() {
    let ours = Mesh::new("m");
    let theirs = Mesh::new("m").issue(&node(7));
    assert_eq!(ours.trust.verify(&theirs.chain, NOW), Err(CertError::OtherMesh));
    // The same CA under another name: the name in the leaf decides.
    let renamed =
        MeshTrust::from_pem("n".parse().unwrap(), contents(&ours.files, issuing::file::CA)).unwrap();
    assert_eq!(renamed.verify(&ours.issue(&node(7)).chain, NOW), Err(CertError::OtherMesh));
}

fn forged(uri: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["node.mesh.internal".to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
    params
}

/// \[CRT-2\]
#[test]
fn a_self_signed_certificate_is_refused() {
    let mesh = Mesh::new("m");
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let certificate = forged(Some("sealcast://m/node/7")).self_signed(&key).unwrap();
    assert_eq!(mesh.trust.verify(&[certificate.der().clone()], NOW), Err(CertError::SelfSigned));
}

/// \[CRT-2\] \[CRT-3\]: an identity in an intermediate is nobody's, and two in a leaf are none.
#[test]
fn the_identity_is_read_from_the_leaf_alone() {
    let mesh = Mesh::new("m");
    let root_key =
        KeyPair::from_pem(std::str::from_utf8(contents(&mesh.files, issuing::file::ROOT_KEY)).unwrap())
            .unwrap();
    let root = Issuer::from_ca_cert_pem(
        std::str::from_utf8(contents(&mesh.files, issuing::file::CA)).unwrap(),
        root_key,
    )
    .unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut issuing = forged(Some("sealcast://m/node/7"));
    issuing.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let intermediate = issuing.signed_by(&key, &root).unwrap();
    let issuer = Issuer::from_params(&issuing, &key);

    let leaf_key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let verify = |params: CertificateParams| {
        let leaf = params.signed_by(&leaf_key, &issuer).unwrap();
        mesh.trust.verify(&[leaf.der().clone(), intermediate.der().clone()], NOW)
    };
    assert_eq!(verify(forged(None)), Err(CertError::IdentityAbsent));
    assert_eq!(verify(forged(Some("sealcast://m/node/07"))), Err(CertError::IdentityAbsent));
    let mut two = forged(Some("sealcast://m/node/7"));
    two.subject_alt_names.push(SanType::URI("sealcast://m/broker/7".try_into().unwrap()));
    assert_eq!(verify(two), Err(CertError::IdentityAbsent));
    assert_eq!(verify(forged(Some("sealcast://m/node/9"))).unwrap().role, node(9));

    // A CA certificate is nobody's identity either, and a leaf certifies nobody.
    assert_eq!(mesh.trust.verify(&[intermediate.der().clone()], NOW), Err(CertError::WrongRole));
    let issued = mesh.issue(&node(7));
    let leaf_as_issuer = Issuer::from_params(&issuing, KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let below = forged(Some("sealcast://m/node/8")).signed_by(&leaf_key, &leaf_as_issuer).unwrap();
    let chain = [below.der().clone(), issued.chain[0].clone(), issued.chain[1].clone()];
    assert!(mesh.trust.verify(&chain, NOW).is_err());
}

/// \[CRT-1\]: only Ed25519 leaves, only client certificates with that usage.
#[test]
fn other_keys_and_usages_are_refused() {
    let mesh = Mesh::new("m");
    let key =
        KeyPair::from_pem(std::str::from_utf8(contents(&mesh.files, issuing::file::ISSUING_KEY)).unwrap())
            .unwrap();
    let issuing_pem = std::str::from_utf8(contents(&mesh.files, issuing::file::ISSUING)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(issuing_pem, key).unwrap();
    let chain = |leaf: &rcgen::Certificate| {
        [vec![leaf.der().clone()], chain_from_pem(issuing_pem.as_bytes()).unwrap()].concat()
    };
    let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let leaf = forged(Some("sealcast://m/node/7")).signed_by(&p256, &issuer).unwrap();
    assert_eq!(mesh.trust.verify(&chain(&leaf), NOW), Err(CertError::WrongKey));

    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = forged(Some("sealcast://m/node/7"));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let leaf = params.signed_by(&key, &issuer).unwrap();
    assert_eq!(mesh.trust.verify(&chain(&leaf), NOW), Err(CertError::WrongRole));
}

/// \[CRT-2\]: no input panics, no altered certificate passes.
#[test]
fn altered_certificates_are_refused() {
    let mesh = Mesh::new("m");
    let issued = mesh.issue(&node(7));
    assert_eq!(mesh.trust.verify(&[], NOW), Err(CertError::Malformed));
    let five = vec![issued.chain[0].clone(); 5];
    assert_eq!(mesh.trust.verify(&five, NOW), Err(CertError::Malformed));
    for index in 0..issued.chain[0].len() {
        let mut bytes = issued.chain[0].to_vec();
        bytes[index] ^= 1;
        let chain = [bytes.into(), issued.chain[1].clone()];
        assert!(mesh.trust.verify(&chain, NOW).is_err(), "byte {index}");
    }
    assert!(chain_from_pem(b"").is_err());
    assert!(MeshTrust::new(mesh.name.clone(), &issued.chain[..1]).is_err(), "a leaf is no root");
    assert!(MeshTrust::from_pem(mesh.name.clone(), b"nothing").is_err());
}

/// \[TKT-4\] \[CRT-5\]: only a broker's certificate signs, with its own key, and files of two folders do not mix.
#[test]
fn keys_and_certificates_belong_together() {
    let mesh = Mesh::new("m");
    let broker = mesh.issue(&CertificateRole::Broker(NodeNumber::new(1).unwrap()));
    let other = mesh.issue(&node(1));
    let key = |files| signing_key_from_pem(contents(files, "broker-1.key"));
    let other_key = signing_key_from_pem(contents(&other.files, "node-1.key")).unwrap();
    assert!(BrokerSigner::new(&broker.identity, key(&broker.files).unwrap()).is_ok());
    assert_eq!(BrokerSigner::new(&broker.identity, other_key.clone()).unwrap_err(), KeyError::Mismatch);
    assert_eq!(BrokerSigner::new(&other.identity, other_key).unwrap_err(), KeyError::NotABroker);
    assert_eq!(BrokerKey::new(&other.identity).unwrap_err(), KeyError::NotABroker);

    let second = Mesh::new("m");
    let mixed = IssuingKey::load(
        &mesh.name,
        contents(&mesh.files, issuing::file::CA),
        contents(&mesh.files, issuing::file::ISSUING),
        contents(&second.files, issuing::file::ISSUING_KEY),
    );
    assert!(mixed.is_err());
    let renewed = issuing::renew_issuing(
        &mesh.name,
        contents(&mesh.files, issuing::file::CA),
        contents(&mesh.files, issuing::file::ROOT_KEY),
        NOW,
    )
    .unwrap();
    let renewed = IssuingKey::load(
        &mesh.name,
        contents(&mesh.files, issuing::file::CA),
        contents(&renewed, issuing::file::ISSUING),
        contents(&renewed, issuing::file::ISSUING_KEY),
    )
    .unwrap();
    assert!(mesh.trust.verify(&renewed.issue(&node(3), &[], None, NOW).unwrap().chain, NOW).is_ok());
}
