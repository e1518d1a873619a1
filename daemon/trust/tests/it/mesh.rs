//! A mesh made for a test: root, issuing key, brokers.

use proto_spec::{NodeNumber, WallTime};
use sealcast_trust::issuing::{self, Issued, IssuingKey, PkiFile};
use sealcast_trust::key::signing_key_from_pem;
use sealcast_trust::{BrokerKey, BrokerSigner, CertificateRole, MeshName, MeshTrust, Verifier};

/// Some day in 2026.
pub(crate) const NOW: WallTime = WallTime(1_780_000_000_000);

pub(crate) struct Mesh {
    pub(crate) name: MeshName,
    pub(crate) files: Vec<PkiFile>,
    pub(crate) issuing: IssuingKey,
    pub(crate) trust: MeshTrust,
}

pub(crate) fn contents<'a>(files: &'a [PkiFile], name: &str) -> &'a [u8] {
    &files.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("no file {name}")).contents
}

impl Mesh {
    pub(crate) fn new(name: &str) -> Mesh {
        let name: MeshName = name.parse().unwrap();
        let files = issuing::init(&name, NOW).unwrap();
        let issuing = IssuingKey::load(
            &name,
            contents(&files, issuing::file::CA),
            contents(&files, issuing::file::ISSUING),
            contents(&files, issuing::file::ISSUING_KEY),
        )
        .unwrap();
        let trust = MeshTrust::from_pem(name.clone(), contents(&files, issuing::file::CA)).unwrap();
        Mesh { name, files, issuing, trust }
    }

    pub(crate) fn issue(&self, role: &CertificateRole) -> Issued {
        self.issuing.issue(role, &[], None, NOW).unwrap()
    }

    pub(crate) fn broker(&self) -> (BrokerSigner, BrokerKey) {
        let issued = self.issue(&CertificateRole::Broker(NodeNumber::new(1).unwrap()));
        let key = signing_key_from_pem(contents(&issued.files, "broker-1.key")).unwrap();
        let signer = BrokerSigner::new(&issued.identity, key).unwrap();
        (signer, BrokerKey::new(&issued.identity).unwrap())
    }

    pub(crate) fn verifier(&self, broker: BrokerKey) -> Verifier {
        Verifier::new(self.name.as_str(), [broker])
    }
}
