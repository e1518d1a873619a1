//! Tickets the way everybody gets them: login, a session, a number, a look-up, an admission.

use anyhow::{Context as _, Result};
use ed25519_dalek::{Signer as _, SigningKey};
use hyper_util::rt::TokioIo;
use proto_spec::SenderNumber;
use proto_spec::frame::ticket_call_message;
use sealcast_rpc as rpc;
use sealcast_rpc::endpoint_client::EndpointClient;
use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use super::mesh::{Mesh, exporter};

const EXPORTER: &[u8] = b"EXPORTER-sealcast-rpc";
/// Look-ups from one source address: below what a broker allows in a minute.
const LOOKUPS_PER_SOURCE: u16 = 8;

/// A member's place in a session.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) number: SenderNumber,
    pub(crate) ticket: String,
    pub(crate) key: SigningKey,
}

/// A logged-in provider that opens sessions.
pub(crate) struct Desk {
    mesh: Mesh,
    caller: Caller,
    credential: SigningKey,
    credential_id: Vec<u8>,
    /// Source addresses used up, and look-ups made from the last one.
    sources: u16,
    lookups: u16,
    visitor: Option<Caller>,
}

struct Caller {
    client: EndpointClient<Channel>,
    exporter: [u8; 32],
}

impl Caller {
    async fn connect(mesh: &Mesh, source: Option<u16>) -> Result<Caller> {
        let stream = mesh.connect(proto_spec::alpn::GRPC, source).await?;
        let exporter = exporter(&stream, EXPORTER)?;
        let stream = std::sync::Mutex::new(Some(TokioIo::new(stream)));
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let stream = stream.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            std::future::ready(stream.ok_or_else(|| std::io::Error::other("the connection was lost")))
        });
        let channel = tonic::transport::Endpoint::from_static("http://gateway.sealcast.invalid")
            .connect_with_connector(connector)
            .await?;
        Ok(Caller { client: EndpointClient::new(channel), exporter })
    }

    fn prove(&self, seat: &Seat) -> Option<rpc::TicketProof> {
        let hash = Sha256::digest(seat.ticket.as_bytes()).into();
        let signature = seat.key.sign(&ticket_call_message(&self.exporter, &hash)).to_bytes().to_vec();
        Some(rpc::TicketProof { ticket: seat.ticket.clone(), signature })
    }
}

impl Desk {
    pub(crate) async fn log_in(mesh: &Mesh, account: &str, password: &str) -> Result<Desk> {
        let credential = new_key()?;
        let mut caller = Caller::connect(mesh, None).await?;
        let request = rpc::LoginRequest {
            email: account.to_owned(),
            password: password.to_owned(),
            credential_key: credential.verifying_key().as_bytes().to_vec(),
            label: "load generator".to_owned(),
        };
        let reply = caller.client.login(request).await.context("login")?.into_inner();
        let credential_id = reply.credential_id;
        Ok(Desk {
            mesh: mesh.clone(),
            caller,
            credential,
            credential_id,
            sources: 0,
            lookups: 0,
            visitor: None,
        })
    }

    /// A session with so many members, the leader first.
    pub(crate) async fn session(&mut self, members: usize) -> Result<Vec<Seat>> {
        let key = new_key()?;
        let attach_key = key.verifying_key().as_bytes().to_vec();
        let mut request = tonic::Request::new(rpc::CreateSessionRequest { attach_key, probes: Vec::new() });
        let message =
            [b"sealcast credential 1".as_slice(), &self.caller.exporter, &self.credential_id].concat();
        let proof = [self.credential_id.as_slice(), &self.credential.sign(&message).to_bytes()].concat();
        request.metadata_mut().insert_bin(rpc::CREDENTIAL_METADATA, MetadataValue::from_bytes(&proof));
        let reply =
            self.caller.client.create_session(request).await.context("creating a session")?.into_inner();
        let mut seats = vec![Seat { number: sender(reply.number)?, ticket: reply.ticket, key }];
        while seats.len() < members {
            let seat = self.join(&seats[0]).await?;
            seats.push(seat);
        }
        Ok(seats)
    }

    async fn join(&mut self, leader: &Seat) -> Result<Seat> {
        let role = rpc::MemberRole::Customer as i32;
        let request = rpc::OpenJoinRequest { proof: self.caller.prove(leader), role };
        let session_number = self
            .caller
            .client
            .open_join(request)
            .await
            .context("opening a number")?
            .into_inner()
            .session_number;
        if self.visitor.is_none() || self.lookups == LOOKUPS_PER_SOURCE {
            self.sources += 1;
            self.lookups = 0;
            self.visitor = Some(Caller::connect(&self.mesh, Some(self.sources)).await?);
        }
        self.lookups += 1;
        let key = new_key()?;
        let attach_key = key.verifying_key().as_bytes().to_vec();
        let request = rpc::LookupRequest { session_number, attach_key, probes: Vec::new() };
        let visitor = self.visitor.as_mut().context("a visitor was connected just above")?;
        let found = visitor.client.lookup(request).await.context("looking a number up")?.into_inner();
        let request = rpc::AdmitRequest { proof: self.caller.prove(leader), number: found.number };
        let ticket = self.caller.client.admit(request).await.context("admitting")?.into_inner().ticket;
        Ok(Seat { number: sender(found.number)?, ticket, key })
    }
}

fn sender(number: u32) -> Result<SenderNumber> {
    u16::try_from(number).ok().and_then(SenderNumber::new).context("a sender number of 0")
}

fn new_key() -> Result<SigningKey> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(SigningKey::from_bytes(&seed))
}
