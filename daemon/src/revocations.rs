//! The revocation list in force at this node \[REV-3\]: kept in memory for every check, on disk for the next start.
//!
//! Never floods a list and never closes a connection: the overlay does, told by whoever offered the list.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use proto_spec::mesh::Revocations as Flooded;
use proto_spec::revocation::REVOCATION_LIST_LENGTH_MAX;
use sealcast_mesh::{Input, Wired};
use sealcast_trust::revocation::{self, RevocationError};
use sealcast_trust::{MeshTrust, RevocationList};
use thiserror::Error;

use crate::clock::Clock;
use crate::state::write_file;

/// Name of the file in the state folder.
pub const FILE: &str = "revocations.list";

/// Why an offered list did not come into force.
#[derive(Debug, Error)]
pub enum OfferError {
    /// It does not hold.
    #[error(transparent)]
    Refused(#[from] RevocationError),
    /// It cannot be kept.
    #[error("the revocation list cannot be written to the state folder ({0}): make room or check its owner")]
    Unwritable(#[from] io::Error),
}

/// A list in force.
#[derive(Debug)]
pub struct InForce {
    /// What it says.
    pub list: RevocationList,
    bytes: Vec<u8>,
}

impl InForce {
    /// As the overlay takes it.
    pub fn input(&self) -> Input {
        let list = Flooded { number: self.list.number, list: self.bytes.clone() };
        Input::Revocations { list: Wired(list), revoked: self.list.revoked() }
    }
}

/// The list of a node, shared by all who check certificates.
#[derive(Debug)]
pub struct Revocations {
    path: PathBuf,
    trust: Arc<ArcSwap<MeshTrust>>,
    clock: Clock,
    current: ArcSwapOption<InForce>,
    /// What it names, for those who check each connection.
    revoked: Arc<ArcSwap<BTreeSet<[u8; 32]>>>,
    /// Held while a list is compared and written, so that an older one never replaces a newer.
    offering: Mutex<()>,
}

impl Revocations {
    /// Starts with the list of the last run. One that does not hold any more is passed over and logged.
    pub fn open(path: PathBuf, trust: Arc<ArcSwap<MeshTrust>>, clock: Clock) -> Revocations {
        let current = match read(&path) {
            Ok(None) => None,
            Ok(Some(bytes)) => match revocation::verify(&bytes, &trust.load(), clock.now().wall) {
                Ok(list) => Some(Arc::new(InForce { list, bytes })),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "the kept revocation list does not hold");
                    None
                }
            },
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the kept revocation list cannot be read");
                None
            }
        };
        let revoked = current.as_ref().map(|current| current.list.revoked()).unwrap_or_default();
        Revocations {
            path,
            trust,
            clock,
            current: ArcSwapOption::new(current),
            revoked: Arc::new(ArcSwap::from_pointee(revoked)),
            offering: Mutex::default(),
        }
    }

    /// Checks a list and puts it in force if it is newer than the one that is; `None` if it is not.
    ///
    /// # Errors
    /// [`OfferError`]; the list in force stays.
    pub fn offer(&self, bytes: &[u8]) -> Result<Option<Arc<InForce>>, OfferError> {
        let list = self.check(bytes)?;
        let _turn = self.offering.lock().unwrap_or_else(PoisonError::into_inner);
        if list.number <= self.number() {
            return Ok(None);
        }
        write_file(&self.path, bytes, 0o644)?;
        let in_force = Arc::new(InForce { list, bytes: bytes.to_vec() });
        self.current.store(Some(Arc::clone(&in_force)));
        self.revoked.store(Arc::new(in_force.list.revoked()));
        tracing::info!(
            number = in_force.list.number,
            revoked = in_force.list.entries.len(),
            "a revocation list is in force"
        );
        Ok(Some(in_force))
    }

    /// Checks a list without putting it in force.
    ///
    /// # Errors
    /// [`RevocationError`].
    pub fn check(&self, bytes: &[u8]) -> Result<RevocationList, RevocationError> {
        revocation::verify(bytes, &self.trust.load(), self.clock.now().wall)
    }

    /// The list in force.
    pub fn current(&self) -> Option<Arc<InForce>> {
        self.current.load_full()
    }

    /// Its number, 0 for none.
    pub fn number(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |current| current.list.number)
    }

    /// Whether a certificate is revoked \[REV-4\]; by the SHA-256 of the leaf.
    pub fn names(&self, certificate: &[u8; 32]) -> bool {
        self.current.load().as_ref().is_some_and(|current| current.list.names(certificate))
    }

    /// All revoked certificates.
    pub fn revoked(&self) -> BTreeSet<[u8; 32]> {
        BTreeSet::clone(&self.revoked.load())
    }

    /// The same, always the newest, for those who check each connection.
    pub fn shared(&self) -> Arc<ArcSwap<BTreeSet<[u8; 32]>>> {
        Arc::clone(&self.revoked)
    }
}

fn read(path: &PathBuf) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(about) if about.len() > REVOCATION_LIST_LENGTH_MAX as u64 => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any list"))
        }
        Ok(_) => std::fs::read(path).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::revocation::Revoked;
    use proto_spec::{NodeNumber, WallTime, Wire};
    use sealcast_trust::issuing::{self, IssuingKey, file};
    use sealcast_trust::{CertificateRole, MeshName};

    use super::*;

    struct Mesh {
        key: IssuingKey,
        trust: Arc<ArcSwap<MeshTrust>>,
    }

    fn mesh(clock: Clock) -> Mesh {
        let name: MeshName = "m".parse().unwrap();
        let files = issuing::init(&name, clock.now().wall).unwrap();
        let contents = |name: &str| &files.iter().find(|file| file.name == name).unwrap().contents;
        let [ca, issuing, key] = [file::CA, file::ISSUING, file::ISSUING_KEY].map(contents);
        let trust = MeshTrust::from_pem(name.clone(), ca).unwrap();
        Mesh {
            key: IssuingKey::load(&name, ca, issuing, key).unwrap(),
            trust: Arc::new(ArcSwap::from_pointee(trust)),
        }
    }

    fn entry(mesh: &Mesh, now: WallTime) -> Revoked {
        let role = CertificateRole::Node(NodeNumber::new(1).unwrap());
        let identity = mesh.key.issue(&role, &[], None, now).unwrap().identity;
        Revoked { certificate: identity.certificate, expires: identity.not_after }
    }

    /// \[REV-3\]: the greater number is in force, whatever comes after it, and after a restart; a forged one never is.
    #[test]
    fn the_newest_list_stays_in_force() {
        let clock = Clock::start();
        let now = clock.now().wall;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mesh = mesh(clock);
        let open = || Revocations::open(path.clone(), Arc::clone(&mesh.trust), clock);
        let revocations = open();
        assert_eq!((revocations.number(), revocations.revoked().len()), (0, 0));

        let (first, second) = (entry(&mesh, now), entry(&mesh, now));
        let one = mesh.key.revoke(None, [first], now).unwrap().to_bytes();
        let list = revocations.check(&one).unwrap();
        let two = mesh.key.revoke(Some(&list), [second], now).unwrap().to_bytes();
        let in_force = revocations.offer(&two).unwrap().unwrap();
        assert!(
            matches!(in_force.input(), Input::Revocations { list, revoked } if list.0.number == 2 && revoked.len() == 2)
        );
        assert!(revocations.offer(&one).unwrap().is_none(), "an older number changes nothing");
        assert!(revocations.offer(&two).unwrap().is_none());
        assert!(revocations.names(&second.certificate));

        let forged = self::mesh(clock).key.revoke(Some(&in_force.list), [], now).unwrap().to_bytes();
        assert!(matches!(revocations.offer(&forged), Err(OfferError::Refused(RevocationError::Foreign))));
        assert_eq!(open().number(), 2, "kept for the next start");

        std::fs::write(&path, b"torn").unwrap();
        assert_eq!(open().number(), 0, "a torn file is passed over");
    }
}
