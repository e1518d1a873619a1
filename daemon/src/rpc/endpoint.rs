//! The `Endpoint` calls: each turns its message into a request and its reply into a message, and nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use proto_spec::{SenderNumber, SessionNumber};
use sealcast_broker::request::LoginRequest;
use sealcast_broker::{Call, Credential, Denial, LimitKind, Reply, Request};
use sealcast_rpc as rpc;
use tonic::{Request as Incoming, Response, Status};
use zeroize::Zeroizing;

use super::backend::{Backend, Fault};
use super::caller;
use super::convert::{self, ticket_role};

/// The service.
pub(super) struct EndpointCalls {
    backend: Arc<Backend>,
}

type Answer<T> = Result<Response<T>, Status>;

impl EndpointCalls {
    pub(super) fn new(backend: Arc<Backend>) -> EndpointCalls {
        EndpointCalls { backend }
    }

    /// The evidence that comes with a call, and where it comes from.
    fn evidence<T>(&self, request: &Incoming<T>) -> Result<(Call, IpAddr), Status> {
        let seen = caller::endpoint(&self.backend, request)?;
        let credential = match request.metadata().get_bin(rpc::CREDENTIAL_METADATA) {
            None => None,
            Some(value) => {
                let bytes = value.to_bytes().ok().and_then(|bytes| Credential::from_metadata(&bytes));
                Some(bytes.ok_or_else(|| {
                    self.refuse("the credential in the call's metadata is malformed: update this program")
                })?)
            }
        };
        let call = Call { exporter: Some(seen.exporter), credential, admin: None, via: seen.via };
        Ok((call, seen.address))
    }

    fn refuse(&self, sentence: &'static str) -> Status {
        self.backend.status(&Fault::Denied(Denial::Invalid(sentence)))
    }

    fn key(&self, bytes: &[u8]) -> Result<[u8; 32], Status> {
        bytes.try_into().map_err(|_| self.refuse("a key has not 32 bytes: update this program"))
    }

    fn proof(
        &self,
        proof: Option<rpc::TicketProof>,
    ) -> Result<sealcast_broker::request::TicketProof, Status> {
        let proof = proof.ok_or_else(|| self.refuse("the call needs a ticket: update this program"))?;
        let signature = proof
            .signature
            .as_slice()
            .try_into()
            .map_err(|_| self.refuse("the proof for the ticket has not 64 bytes: update this program"))?;
        Ok(sealcast_broker::request::TicketProof { ticket: proof.ticket, signature })
    }

    fn sender(&self, number: u32) -> Result<SenderNumber, Status> {
        u16::try_from(number)
            .ok()
            .and_then(SenderNumber::new)
            .ok_or_else(|| self.refuse("a member's number runs from 1 to 65535"))
    }

    async fn ask(&self, call: &Call, request: Request) -> Result<Reply, Status> {
        self.backend.call(call, request).await
    }

    /// A reply of another kind than the request's is our own bug.
    fn bug(&self) -> Status {
        self.backend.status(&Fault::Bug)
    }

    async fn ticket(&self, call: &Call, request: Request) -> Result<String, Status> {
        match self.ask(call, request).await? {
            Reply::Ticket { ticket } => Ok(ticket),
            _ => Err(self.bug()),
        }
    }
}

#[tonic::async_trait]
impl rpc::endpoint_server::Endpoint for EndpointCalls {
    async fn about(&self, request: Incoming<rpc::AboutRequest>) -> Answer<rpc::AboutReply> {
        let (call, _) = self.evidence(&request)?;
        match self.ask(&call, Request::About).await? {
            Reply::About { mesh } => Ok(Response::new(rpc::AboutReply {
                mesh,
                software: convert::SOFTWARE.into(),
                wire_version: proto_spec::frame::WIRE_VERSION.into(),
            })),
            _ => Err(self.bug()),
        }
    }

    async fn login(&self, request: Incoming<rpc::LoginRequest>) -> Answer<rpc::LoginReply> {
        let (call, address) = self.evidence(&request)?;
        self.backend.limited(LimitKind::Login, address).map_err(|fault| self.backend.status(&fault))?;
        let message = request.into_inner();
        let login = LoginRequest {
            email: message.email,
            password: Zeroizing::new(message.password),
            credential_key: self.key(&message.credential_key)?,
            label: message.label,
        };
        match self.ask(&call, Request::Login(login)).await? {
            Reply::LoggedIn { credential_id, display_name, roles } => Ok(Response::new(rpc::LoginReply {
                credential_id: credential_id.to_vec(),
                display_name,
                roles: roles.into_iter().map(convert::account_role).collect(),
            })),
            _ => Err(self.bug()),
        }
    }

    async fn logout(&self, request: Incoming<rpc::LogoutRequest>) -> Answer<rpc::LogoutReply> {
        let (call, _) = self.evidence(&request)?;
        self.ask(&call, Request::Logout).await?;
        Ok(Response::new(rpc::LogoutReply {}))
    }

    async fn create_session(
        &self,
        request: Incoming<rpc::CreateSessionRequest>,
    ) -> Answer<rpc::CreateSessionReply> {
        let (call, _) = self.evidence(&request)?;
        let message = request.into_inner();
        let attach_key = self.key(&message.attach_key)?;
        let probes = convert::probes(message.probes);
        match self.ask(&call, Request::CreateSession { attach_key, probes }).await? {
            Reply::SessionCreated { session, number, ticket, nodes, standby } => {
                Ok(Response::new(rpc::CreateSessionReply {
                    session_id: session.0.to_vec(),
                    number: number.value().into(),
                    ticket,
                    nodes: nodes.into_iter().map(convert::node).collect(),
                    standby: standby.map(convert::node),
                }))
            }
            _ => Err(self.bug()),
        }
    }

    async fn open_join(&self, request: Incoming<rpc::OpenJoinRequest>) -> Answer<rpc::OpenJoinReply> {
        let (call, _) = self.evidence(&request)?;
        let message = request.into_inner();
        let role = ticket_role(message.role())
            .ok_or_else(|| self.refuse("name the joiner's role: provider or customer"))?;
        let proof = self.proof(message.proof)?;
        match self.ask(&call, Request::OpenJoin { proof, role }).await? {
            Reply::JoinOpened { number } => {
                Ok(Response::new(rpc::OpenJoinReply { session_number: number.value() }))
            }
            _ => Err(self.bug()),
        }
    }

    async fn close_join(&self, request: Incoming<rpc::CloseJoinRequest>) -> Answer<rpc::CloseJoinReply> {
        let (call, _) = self.evidence(&request)?;
        let message = request.into_inner();
        let number = SessionNumber::new(message.session_number)
            .ok_or_else(|| self.backend.status(&Fault::Denied(Denial::NumberUnknown)))?;
        let proof = self.proof(message.proof)?;
        self.ask(&call, Request::CloseJoin { proof, number }).await?;
        Ok(Response::new(rpc::CloseJoinReply {}))
    }

    async fn lookup(&self, request: Incoming<rpc::LookupRequest>) -> Answer<rpc::LookupReply> {
        let (call, address) = self.evidence(&request)?;
        self.backend.limited(LimitKind::Lookup, address).map_err(|fault| self.backend.status(&fault))?;
        let message = request.into_inner();
        let lookup = Request::Lookup {
            number: SessionNumber::new(message.session_number),
            attach_key: self.key(&message.attach_key)?,
            probes: convert::probes(message.probes),
        };
        match self.ask(&call, lookup).await? {
            Reply::Found { session, number, leader, ticket, role, nodes, standby } => {
                Ok(Response::new(rpc::LookupReply {
                    session_id: session.0.to_vec(),
                    number: number.value().into(),
                    leader: leader.value().into(),
                    ticket,
                    role: convert::member_role(role).into(),
                    nodes: nodes.into_iter().map(convert::node).collect(),
                    standby: standby.map(convert::node),
                }))
            }
            _ => Err(self.bug()),
        }
    }

    async fn admit(&self, request: Incoming<rpc::AdmitRequest>) -> Answer<rpc::AdmitReply> {
        let (call, _) = self.evidence(&request)?;
        let message = request.into_inner();
        let number = self.sender(message.number)?;
        let proof = self.proof(message.proof)?;
        let ticket = self.ticket(&call, Request::Admit { proof, number }).await?;
        Ok(Response::new(rpc::AdmitReply { ticket }))
    }

    async fn renew_ticket(
        &self,
        request: Incoming<rpc::RenewTicketRequest>,
    ) -> Answer<rpc::RenewTicketReply> {
        let (call, _) = self.evidence(&request)?;
        let proof = self.proof(request.into_inner().proof)?;
        let ticket = self.ticket(&call, Request::RenewTicket { proof }).await?;
        Ok(Response::new(rpc::RenewTicketReply { ticket }))
    }

    async fn remove_member(
        &self,
        request: Incoming<rpc::RemoveMemberRequest>,
    ) -> Answer<rpc::RemoveMemberReply> {
        let (call, _) = self.evidence(&request)?;
        let message = request.into_inner();
        let number = self.sender(message.number)?;
        let proof = self.proof(message.proof)?;
        self.ask(&call, Request::RemoveMember { proof, number }).await?;
        Ok(Response::new(rpc::RemoveMemberReply {}))
    }

    async fn end_session(&self, request: Incoming<rpc::EndSessionRequest>) -> Answer<rpc::EndSessionReply> {
        let (call, _) = self.evidence(&request)?;
        let proof = self.proof(request.into_inner().proof)?;
        self.ask(&call, Request::EndSession { proof }).await?;
        Ok(Response::new(rpc::EndSessionReply {}))
    }
}
