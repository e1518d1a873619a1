//! The node's keys and certificates, read and checked as a whole before anything is opened. Writes nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use proto_spec::{NodeNumber, WallTime};
use rustls::ServerConfig;
use sealcast_trust::{
    BrokerKey, BrokerSigner, CertError, CertificateRole, Identity, MeshName, MeshTrust, Verifier, cert, key,
};
use thiserror::Error;

use crate::config::{BrokerFiles, Config, ConfigError};
use crate::tls::mesh::{MeshTls, Revoked};
use crate::tls::{self, TlsError};

/// Everything read from the files that a configuration names.
#[derive(Debug)]
pub struct Material {
    /// The node's number in the mesh.
    pub number: NodeNumber,
    /// Who certifies.
    pub trust: MeshTrust,
    /// The node's certificate as verified.
    pub node: Identity,
    /// The broker, at nodes that have one.
    pub broker: Option<BrokerMaterial>,
    /// Checks tickets: this broker's key and those of the brokers trusted beside it.
    pub verifier: Verifier,
    /// The node's chain and key as read: for TLS between nodes and the signatures of the overlay.
    pub node_files: tls::Identity,
    /// TLS towards endpoints.
    pub endpoint_tls: Arc<ServerConfig>,
    /// TLS towards administrators.
    pub admin_tls: Arc<ServerConfig>,
}

/// A broker's certificate and key.
#[derive(Debug)]
pub struct BrokerMaterial {
    /// The certificate as verified.
    pub identity: Identity,
    /// Signs tickets and checkpoints.
    pub signer: BrokerSigner,
}

/// Why the files cannot be used.
#[derive(Debug, Error)]
pub enum MaterialError {
    /// A value of the configuration, or what it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Material {
    /// Reads and checks all of it at `now`.
    ///
    /// # Errors
    /// [`MaterialError`] names the file and the key of the configuration.
    pub fn read(config: &Config, now: WallTime) -> Result<Material, MaterialError> {
        let mesh: MeshName = config
            .identity
            .mesh
            .parse()
            .map_err(|error: cert::NameError| config.wrong("identity.mesh", error.to_string()))?;
        let ca = tls::read_certificates(&config.identity.ca, "identity.ca")?;
        let trust = MeshTrust::new(mesh, &ca)
            .map_err(|error| about(config, "identity.ca", &config.identity.ca, error))?;

        let files = tls::Identity::read(
            &config.identity.certificate,
            &config.identity.key,
            ["identity.certificate", "identity.key"],
        )?;
        private(config, "identity.key", &config.identity.key)?;
        let certificate_problem =
            |error: CertError| about(config, "identity.certificate", &config.identity.certificate, error);
        let node = trust.verify(&files.chain, now).map_err(certificate_problem)?;
        let CertificateRole::Node(number) = node.role else {
            return Err(certificate_problem(CertError::WrongRole).into());
        };
        let names = cert::inspect(&files.chain[0]).map_err(certificate_problem)?.names;
        if !names.iter().any(|name| name.eq_ignore_ascii_case(&config.node.public_host)) {
            let problem = format!(
                "the node's certificate names {}, not {:?}: issue one with --name {}",
                if names.is_empty() { "nothing".into() } else { names.join(", ") },
                config.node.public_host,
                config.node.public_host
            );
            return Err(config.wrong("node.public_host", problem).into());
        }

        let mut brokers = Vec::new();
        let broker = match &config.broker {
            None => None,
            Some(files) => {
                let broker = read_broker(config, &trust, files, now)?;
                brokers.push(broker_key(config, &broker.identity, "broker.certificate")?);
                for path in &files.trusted {
                    let identity = broker_identity(config, &trust, path, "broker.trusted", now)?;
                    brokers.push(broker_key(config, &identity, "broker.trusted")?);
                }
                Some(broker)
            }
        };
        let verifier = Verifier::new(config.identity.mesh.as_str(), brokers);
        let endpoint_tls = tls::endpoint_config(&files)?;
        let admin_tls = tls::admin_config(&files, &ca)?;
        Ok(Material { number, trust, node, broker, verifier, node_files: files, endpoint_tls, admin_tls })
    }
}

impl Material {
    /// Who the node is in the overlay.
    pub fn mesh_identity(&self) -> sealcast_mesh::Identity {
        sealcast_mesh::Identity {
            node: self.number,
            key: self.node.key,
            certificate: self.node.certificate,
            issued: self.node.not_before,
            expires: self.node.not_after,
            chain: self.node_files.chain.iter().map(|certificate| certificate.to_vec()).collect(),
        }
    }

    /// What the node presents to other nodes and believes of them, less what is `revoked`.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] if certificate and key do not fit.
    pub fn mesh_tls(&self, revoked: Revoked) -> Result<MeshTls, TlsError> {
        MeshTls::new(&self.node_files, &self.node, self.trust.clone(), revoked)
    }
}

fn read_broker(
    config: &Config,
    trust: &MeshTrust,
    files: &BrokerFiles,
    now: WallTime,
) -> Result<BrokerMaterial, MaterialError> {
    let identity = broker_identity(config, trust, &files.certificate, "broker.certificate", now)?;
    private(config, "broker.key", &files.key)?;
    let key_problem = |why: String| config.wrong("broker.key", format!("{}: {why}", files.key.display()));
    let pem = std::fs::read(&files.key).map_err(|error| key_problem(error.to_string()))?;
    let signing_key = key::signing_key_from_pem(&pem).map_err(|error| key_problem(error.to_string()))?;
    let signer = BrokerSigner::new(&identity, signing_key).map_err(|error| key_problem(error.to_string()))?;
    Ok(BrokerMaterial { identity, signer })
}

fn broker_identity(
    config: &Config,
    trust: &MeshTrust,
    path: &Path,
    key: &'static str,
    now: WallTime,
) -> Result<Identity, MaterialError> {
    let chain = tls::read_certificates(path, key)?;
    let identity = trust.verify(&chain, now).map_err(|error| about(config, key, path, error))?;
    match identity.role {
        CertificateRole::Broker(_) => Ok(identity),
        _ => Err(about(config, key, path, CertError::WrongRole).into()),
    }
}

fn broker_key(config: &Config, identity: &Identity, key: &'static str) -> Result<BrokerKey, MaterialError> {
    BrokerKey::new(identity).map_err(|error| config.wrong(key, error.to_string()).into())
}

fn about(config: &Config, key: &'static str, path: &Path, error: CertError) -> ConfigError {
    config.wrong(key, format!("{}: {error}", path.display()))
}

/// A key that everybody on the machine can read is no secret.
fn private(config: &Config, key: &'static str, path: &Path) -> Result<(), ConfigError> {
    let mode = std::fs::metadata(path)
        .map_err(|error| config.wrong(key, format!("{}: {error}", path.display())))?
        .permissions()
        .mode();
    if mode & 0o007 != 0 {
        let problem =
            format!("{} can be read by everybody (mode {:o}): chmod 600 it", path.display(), mode & 0o777);
        return Err(config.wrong(key, problem));
    }
    Ok(())
}
