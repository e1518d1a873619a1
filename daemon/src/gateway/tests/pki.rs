//! A mesh of some nodes and one broker, made for a test.

use std::sync::Arc;

use proto_spec::{NodeNumber, WallTime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sealcast_trust::issuing::{self, IssuingKey};
use sealcast_trust::key::{signing_key_from_pem, signing_key_from_pkcs8};
use sealcast_trust::{BrokerKey, BrokerSigner, CertificateRole, Identity, MeshTrust};

use super::Der;

pub(super) const MESH: &str = "test-mesh";
pub(super) const SERVER_NAME: &str = "node.test";

pub(super) struct NodePki {
    pub(super) identity: Identity,
    pub(super) chain: Vec<Der>,
    /// PKCS #8.
    pub(super) key: Vec<u8>,
}

impl NodePki {
    pub(super) fn signing_key(&self) -> ed25519_dalek::SigningKey {
        signing_key_from_pkcs8(&self.key).unwrap()
    }

    pub(super) fn number(&self) -> NodeNumber {
        let CertificateRole::Node(number) = self.identity.role else { panic!("{:?}", self.identity) };
        number
    }
}

pub(super) struct Pki {
    pub(super) root: Der,
    pub(super) trust: MeshTrust,
    /// Numbered from 1.
    pub(super) nodes: Vec<NodePki>,
    pub(super) broker: Arc<BrokerSigner>,
    pub(super) broker_chain: Vec<Der>,
    pub(super) broker_key: BrokerKey,
}

pub(super) fn make(now: WallTime, nodes: u16) -> Pki {
    let mesh = MESH.parse().unwrap();
    let files = issuing::init(&mesh, now).unwrap();
    let file = |name: &str| files.iter().find(|file| file.name == name).unwrap().contents.clone();
    let ca = file(issuing::file::CA);
    let key = IssuingKey::load(&mesh, &ca, &file(issuing::file::ISSUING), &file(issuing::file::ISSUING_KEY))
        .unwrap();
    let number = |value| NodeNumber::new(value).unwrap();
    let issue = |role: CertificateRole| key.issue(&role, &[SERVER_NAME.to_owned()], None, now).unwrap();
    let key_pem =
        |issued: &issuing::Issued| issued.files.iter().find(|file| file.secret).unwrap().contents.clone();
    let node = |value: u16| {
        let issued = issue(CertificateRole::Node(number(value)));
        let key = match PrivateKeyDer::from_pem_slice(&key_pem(&issued)).unwrap() {
            PrivateKeyDer::Pkcs8(key) => PrivatePkcs8KeyDer::secret_pkcs8_der(&key).to_vec(),
            other => panic!("{other:?}"),
        };
        NodePki { identity: issued.identity, chain: issued.chain, key }
    };
    let broker = issue(CertificateRole::Broker(number(1)));
    let signer = BrokerSigner::new(&broker.identity, signing_key_from_pem(&key_pem(&broker)).unwrap());
    Pki {
        root: Der::from_pem_slice(&ca).unwrap(),
        trust: MeshTrust::from_pem(mesh.clone(), &ca).unwrap(),
        nodes: (1..=nodes).map(node).collect(),
        broker: Arc::new(signer.unwrap()),
        broker_key: BrokerKey::new(&broker.identity).unwrap(),
        broker_chain: broker.chain,
    }
}
