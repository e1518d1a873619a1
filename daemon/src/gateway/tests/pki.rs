//! A mesh of one node and one broker, made for a test.

use proto_spec::{NodeNumber, WallTime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sealcast_trust::issuing::{self, IssuingKey};
use sealcast_trust::key::signing_key_from_pem;
use sealcast_trust::{BrokerKey, BrokerSigner, CertificateRole};

use super::Der;

pub(super) const MESH: &str = "test-mesh";
pub(super) const SERVER_NAME: &str = "node.test";

pub(super) struct Pki {
    pub(super) root: Der,
    pub(super) node_chain: Vec<Der>,
    pub(super) node_key: Vec<u8>,
    pub(super) broker: BrokerSigner,
    pub(super) broker_key: BrokerKey,
}

pub(super) fn make(now: WallTime) -> Pki {
    let mesh = MESH.parse().unwrap();
    let files = issuing::init(&mesh, now).unwrap();
    let file = |name: &str| files.iter().find(|file| file.name == name).unwrap().contents.clone();
    let ca = file(issuing::file::CA);
    let key = IssuingKey::load(&mesh, &ca, &file(issuing::file::ISSUING), &file(issuing::file::ISSUING_KEY))
        .unwrap();
    let number = NodeNumber::new(1).unwrap();
    let issue = |role: CertificateRole| key.issue(&role, &[SERVER_NAME.to_owned()], None, now).unwrap();
    let node = issue(CertificateRole::Node(number));
    let broker = issue(CertificateRole::Broker(number));
    let key_pem =
        |issued: &issuing::Issued| issued.files.iter().find(|file| file.secret).unwrap().contents.clone();
    let node_key = match PrivateKeyDer::from_pem_slice(&key_pem(&node)).unwrap() {
        PrivateKeyDer::Pkcs8(key) => PrivatePkcs8KeyDer::secret_pkcs8_der(&key).to_vec(),
        other => panic!("{other:?}"),
    };
    Pki {
        root: Der::from_pem_slice(&ca).unwrap(),
        node_chain: node.chain.clone(),
        node_key,
        broker: BrokerSigner::new(&broker.identity, signing_key_from_pem(&key_pem(&broker)).unwrap())
            .unwrap(),
        broker_key: BrokerKey::new(&broker.identity).unwrap(),
    }
}
