//! Certificates, good ones and every kind of bad one.

use std::time::Duration;

use proto_spec::{NodeNumber, WallTime};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ED25519, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sealcast_trust::issuing::{self, IssuingKey, file};
use sealcast_trust::{CertificateRole, MeshName, MeshTrust};

use crate::clock::Clock;
use crate::tls;

/// A mesh CA whose keys are ten days old.
pub(super) struct Pki {
    pub(super) mesh: MeshName,
    pub(super) trust: MeshTrust,
    issuing: IssuingKey,
    root: CertificateDer<'static>,
    root_key: KeyPair,
}

pub(super) fn node(number: u16) -> NodeNumber {
    NodeNumber::new(number).unwrap()
}

pub(super) fn now() -> WallTime {
    Clock::start().now().wall
}

const DAY: Duration = Duration::from_secs(86_400);

impl Pki {
    pub(super) fn new(mesh: &str) -> Pki {
        let mesh: MeshName = mesh.parse().unwrap();
        let files = issuing::init(&mesh, now().minus(10 * DAY)).unwrap();
        let read = |name: &str| files.iter().find(|file| file.name == name).unwrap().contents.clone();
        let (ca, root_key) = (read(file::CA), read(file::ROOT_KEY));
        let issuing = IssuingKey::load(&mesh, &ca, &read(file::ISSUING), &read(file::ISSUING_KEY)).unwrap();
        let trust = MeshTrust::from_pem(mesh.clone(), &ca).unwrap();
        let key = PrivatePkcs8KeyDer::from_pem_slice(&root_key).unwrap();
        Pki {
            mesh,
            trust,
            issuing,
            root: CertificateDer::from_pem_slice(&ca).unwrap(),
            root_key: KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).unwrap(),
        }
    }

    /// A node's, as it should be.
    pub(super) fn node(&self, number: u16) -> tls::Identity {
        self.issued(&CertificateRole::Node(node(number)), None, now())
    }

    /// A node's that ended an hour ago.
    pub(super) fn expired(&self, number: u16) -> tls::Identity {
        self.issued_unchecked(&CertificateRole::Node(node(number)), DAY, now().minus(DAY + DAY / 24))
    }

    /// A node's that begins tomorrow.
    pub(super) fn not_yet_valid(&self, number: u16) -> tls::Identity {
        self.issued_unchecked(&CertificateRole::Node(node(number)), DAY, now().plus(DAY))
    }

    /// A node's that was issued a day earlier than those that are made now.
    pub(super) fn older(&self, number: u16) -> tls::Identity {
        self.issued(&CertificateRole::Node(node(number)), None, now().minus(DAY))
    }

    /// A broker's.
    pub(super) fn broker(&self, number: u16) -> tls::Identity {
        self.issued(&CertificateRole::Broker(node(number)), None, now())
    }

    fn issued(&self, role: &CertificateRole, validity: Option<Duration>, at: WallTime) -> tls::Identity {
        let issued = self.issuing.issue(role, &["127.0.0.1".into()], validity, at).unwrap();
        let key = issued.files.iter().find(|file| file.secret).unwrap();
        tls::Identity { chain: issued.chain, key: PrivateKeyDer::from_pem_slice(&key.contents).unwrap() }
    }

    /// Issuing verifies at the time that it is told, so what is bad now is good then.
    fn issued_unchecked(&self, role: &CertificateRole, validity: Duration, at: WallTime) -> tls::Identity {
        self.issued(role, Some(validity), at)
    }

    /// A leaf that names no node, under an intermediate that does.
    pub(super) fn identity_in_the_intermediate(&self, number: u16) -> tls::Identity {
        let uri = format!("sealcast://{}/node/{number}", self.mesh);
        let root = Issuer::from_ca_cert_der(&self.root, &self.root_key).unwrap();
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let intermediate = params.signed_by(&key, &root).unwrap();
        let issuer = Issuer::from_params(&params, &key);
        let leaf_key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let leaf = leaf_params().signed_by(&leaf_key, &issuer).unwrap();
        identity(vec![leaf.der().clone(), intermediate.der().clone()], &leaf_key)
    }

    /// Signed by its own key.
    pub(super) fn self_signed(&self, number: u16) -> tls::Identity {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = leaf_params();
        let uri = format!("sealcast://{}/node/{number}", self.mesh);
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        let leaf = params.self_signed(&key).unwrap();
        identity(vec![leaf.der().clone()], &key)
    }
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["node.mesh.internal".to_owned()]).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn identity(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> tls::Identity {
    tls::Identity { chain, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
}
