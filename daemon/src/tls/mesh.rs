//! Mutual TLS between nodes under the mesh CA \[TRK-1\], \[TRK-2\].
//!
//! Each end judges the other's chain during the handshake, by the trust crate, from the leaf alone; what is judged wrong
//! is told to the other end as a TLS alert. Never decides whom to be linked with.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::iter;
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto_spec::trunk::TrunkRefusal;
use proto_spec::{NodeNumber, WallTime, alpn};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sealcast_trust::{CertError, CertificateRole, Identity, MeshTrust, cert};

use super::{TlsError, finish, provider};

/// Hashes of the leaves that the mesh CA has revoked; swapped when a newer list is in force.
pub type Revoked = Arc<ArcSwap<BTreeSet<[u8; 32]>>>;
/// What a node presents and trusts between nodes; swapped as a whole when certificates are read anew.
pub type CurrentMesh = Arc<ArcSwap<MeshTls>>;

/// What a connection between nodes is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Control of a trunk.
    Control,
    /// Packets of a trunk.
    Data,
    /// gRPC.
    Calls,
}

impl Purpose {
    const ALL: [Purpose; 3] = [Self::Control, Self::Data, Self::Calls];

    /// What TLS calls it.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Control => alpn::TRUNK,
            Self::Data => alpn::DATA,
            Self::Calls => alpn::GRPC,
        }
    }

    /// What was negotiated, if it is one of ours.
    pub fn negotiated(protocol: Option<&[u8]>) -> Option<Purpose> {
        Self::ALL.into_iter().find(|purpose| protocol == Some(purpose.alpn()))
    }
}

/// The other node of a connection, proven by its certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its number.
    pub number: NodeNumber,
    /// All that its leaf binds.
    pub identity: Identity,
}

/// Both sides' settings for connections between nodes.
pub struct MeshTls {
    own: Peer,
    judge: Arc<Judge>,
    server: Arc<ServerConfig>,
    clients: [Arc<ClientConfig>; Purpose::ALL.len()],
}

impl fmt::Debug for MeshTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshTls").field("own", &self.own).finish_non_exhaustive()
    }
}

impl MeshTls {
    /// Presents `files`, whose leaf `own` has been verified to be, and believes `trust` less what is `revoked`.
    ///
    /// # Errors
    /// [`TlsError::Unusable`] if certificate and key do not fit, or the certificate is not a node's.
    pub fn new(
        files: &super::Identity,
        own: &Identity,
        trust: MeshTrust,
        revoked: Revoked,
    ) -> Result<MeshTls, TlsError> {
        let CertificateRole::Node(number) = own.role else {
            return Err(TlsError::Unusable(error_of(TrunkRefusal::WrongRole)));
        };
        let judge = Arc::new(Judge { trust, revoked, provider: provider() });
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::clone(&judge) as Arc<dyn ClientCertVerifier>)
            .with_single_cert(files.chain.clone(), files.key.clone_key())?;
        let server = finish(server, Purpose::ALL.map(|purpose| purpose.alpn().to_vec()).to_vec());
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&judge) as Arc<dyn ServerCertVerifier>)
            .with_client_auth_cert(files.chain.clone(), files.key.clone_key())?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        client.enable_early_data = false;
        let clients = Purpose::ALL.map(|purpose| {
            let mut client = client.clone();
            client.alpn_protocols = vec![purpose.alpn().to_vec()];
            Arc::new(client)
        });
        Ok(MeshTls { own: Peer { number, identity: own.clone() }, judge, server, clients })
    }

    /// This node, as it presents itself.
    pub fn own(&self) -> &Peer {
        &self.own
    }

    /// What the mesh CA has revoked, always the newest.
    pub fn revoked(&self) -> Revoked {
        Arc::clone(&self.judge.revoked)
    }

    /// For connections that come in.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For connections that go out.
    pub fn client(&self, purpose: Purpose) -> Arc<ClientConfig> {
        Arc::clone(&self.clients[purpose as usize])
    }

    /// Who is at the other end of a connection whose handshake is complete.
    ///
    /// # Errors
    /// Why it is nobody.
    pub fn peer(&self, chain: Option<&[CertificateDer<'_>]>, now: WallTime) -> Result<Peer, TrunkRefusal> {
        let peer = self.judge.judge(chain.unwrap_or_default(), now)?;
        if peer.number == self.own.number { Err(TrunkRefusal::Own) } else { Ok(peer) }
    }
}

/// The name that every node's certificate holds.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(cert::INTERNAL_NAME).expect("a constant that is a DNS name")
}

/// Judges chains of other nodes.
#[derive(Debug)]
struct Judge {
    trust: MeshTrust,
    revoked: Revoked,
    provider: Arc<CryptoProvider>,
}

impl Judge {
    fn judge(&self, chain: &[CertificateDer<'_>], now: WallTime) -> Result<Peer, TrunkRefusal> {
        if chain.is_empty() {
            return Err(TrunkRefusal::IdentityAbsent);
        }
        let identity = self.trust.verify(chain, now).map_err(refusal_of)?;
        let CertificateRole::Node(number) = identity.role else { return Err(TrunkRefusal::WrongRole) };
        if self.revoked.load().contains(&identity.certificate) {
            return Err(TrunkRefusal::Revoked);
        }
        Ok(Peer { number, identity })
    }

    fn judge_parts(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let chain: Vec<CertificateDer<'_>> = iter::once(leaf).chain(issuers).cloned().collect();
        let now = WallTime(now.as_secs().saturating_mul(1_000));
        self.judge(&chain, now).map(|_| ()).map_err(error_of)
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }
}

/// TLS 1.2 is not offered, so nothing of it is ever verified.
fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is off".into()))
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge_parts(leaf, issuers, now)?;
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Every node has one certificate; there is nothing to choose by a hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge_parts(leaf, issuers, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn refusal_of(error: CertError) -> TrunkRefusal {
    match error {
        CertError::OtherMesh | CertError::NoRoots => TrunkRefusal::OtherMesh,
        CertError::SelfSigned => TrunkRefusal::SelfSigned,
        CertError::Expired => TrunkRefusal::Expired,
        CertError::NotYetValid => TrunkRefusal::NotYetValid,
        CertError::WrongRole => TrunkRefusal::WrongRole,
        CertError::IdentityAbsent => TrunkRefusal::IdentityAbsent,
        CertError::WrongKey => TrunkRefusal::WrongKey,
        CertError::Revoked => TrunkRefusal::Revoked,
        CertError::Malformed => TrunkRefusal::Malformed,
    }
}

/// As rustls sees it; those reasons that TLS has an alert for are told to the other end by it.
fn error_of(refusal: TrunkRefusal) -> rustls::Error {
    rustls::Error::InvalidCertificate(match refusal {
        TrunkRefusal::Expired => CertificateError::Expired,
        TrunkRefusal::NotYetValid => CertificateError::NotValidYet,
        TrunkRefusal::Revoked => CertificateError::Revoked,
        TrunkRefusal::OtherMesh => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

/// Who refused a handshake, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// This end.
    Ours(TrunkRefusal),
    /// The other end, by its alert, as far as TLS has one for the reason.
    Theirs(Option<TrunkRefusal>),
    /// The connection ended.
    Broken,
}

impl Failure {
    /// Reads the outcome of a handshake, or of the first read after it.
    pub fn of(error: &io::Error) -> Failure {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, error.kind()) {
            (Some(error), _) => Failure::of_tls(error),
            (None, io::ErrorKind::InvalidData) => Failure::Ours(TrunkRefusal::Malformed),
            _ => Failure::Broken,
        }
    }

    fn of_tls(error: &rustls::Error) -> Failure {
        use rustls::Error as E;
        let refusal = match error {
            E::AlertReceived(alert) => return Failure::Theirs(told_by(*alert)),
            E::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                TrunkRefusal::Expired
            }
            E::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => TrunkRefusal::NotYetValid,
            E::InvalidCertificate(CertificateError::Revoked) => TrunkRefusal::Revoked,
            E::InvalidCertificate(CertificateError::UnknownIssuer) => TrunkRefusal::OtherMesh,
            E::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => TrunkRefusal::WrongRole,
            E::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                other.downcast_ref::<TrunkRefusal>().copied().unwrap_or(TrunkRefusal::Malformed)
            }
            E::NoCertificatesPresented => TrunkRefusal::IdentityAbsent,
            E::NoApplicationProtocol => TrunkRefusal::UnknownProtocol,
            _ => TrunkRefusal::Malformed,
        };
        Failure::Ours(refusal)
    }
}

/// What an alert says of this node's own certificate, as far as TLS can say it.
fn told_by(alert: AlertDescription) -> Option<TrunkRefusal> {
    match alert {
        AlertDescription::CertificateExpired => Some(TrunkRefusal::Expired),
        AlertDescription::CertificateRevoked => Some(TrunkRefusal::Revoked),
        AlertDescription::UnknownCA => Some(TrunkRefusal::OtherMesh),
        AlertDescription::NoApplicationProtocol => Some(TrunkRefusal::UnknownProtocol),
        _ => None,
    }
}
