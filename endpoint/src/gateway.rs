//! Calls to the gateway over one TLS connection at a time, whose exporter the proofs are bound to. A connection that
//! fails is dropped and made anew with the next call, so no proof is ever sent on another connection than its own. Any
//! node will do; one whose gateway failed is asked last \[SES-22\].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto_spec::ticket::Role;
use sealcast_endpoint_core::attach::AttachKey;
use sealcast_rpc as rpc;
use sealcast_rpc::endpoint_client::EndpointClient;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::config::{CALL_MAX, GATEWAY_IDLE, GATEWAYS_MAX, NAMED_MAX, SENTENCE_CHARS_MAX};
use crate::connect::Target;
use crate::{Credential, Error, ErrorKind, Mesh};

/// A client of the gateway; cheap to clone, clones share the connection.
#[derive(Clone)]
pub(crate) struct Gateway {
    mesh: Mesh,
    credential: Option<Credential>,
    connection: Slot,
    /// Where a gateway failed, the newest last.
    failed: Arc<Mutex<Vec<Target>>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

#[derive(Clone)]
struct Connection {
    target: Target,
    client: EndpointClient<Channel>,
    exporter: [u8; 32],
    used: tokio::time::Instant,
}

/// The broker's word that a session was created or found.
pub(crate) struct Admission {
    pub(crate) session: proto_spec::SessionId,
    pub(crate) number: proto_spec::SenderNumber,
    pub(crate) leader: proto_spec::SenderNumber,
    pub(crate) role: Role,
    pub(crate) ticket: String,
    /// Best first, each with its addresses as `host:port`.
    pub(crate) nodes: Vec<Vec<String>>,
    /// For the standby; empty if there is none.
    pub(crate) standby: Vec<String>,
}

impl Gateway {
    pub(crate) fn new(mesh: Mesh, credential: Option<Credential>) -> Gateway {
        Gateway { mesh, credential, connection: Arc::default(), failed: Arc::default() }
    }

    pub(crate) async fn login(&self, request: rpc::LoginRequest) -> Result<rpc::LoginReply, Error> {
        self.call(request, |mut client, request| async move { client.login(request).await }).await
    }

    pub(crate) async fn logout(&self) -> Result<(), Error> {
        self.call(rpc::LogoutRequest {}, |mut client, request| async move { client.logout(request).await })
            .await
            .map(|_| ())
    }

    pub(crate) async fn create_session(&self, attach_key: &AttachKey) -> Result<Admission, Error> {
        let probes = self.measured().await;
        let request = rpc::CreateSessionRequest { attach_key: attach_key.public().to_vec(), probes };
        let reply = self
            .call(request, |mut client, request| async move { client.create_session(request).await })
            .await?;
        let number = sender(reply.number)?;
        let (nodes, standby) = self.nodes(reply.nodes, reply.standby);
        Ok(Admission {
            session: session(reply.session_id)?,
            number,
            leader: number,
            role: Role::Provider,
            ticket: reply.ticket,
            nodes,
            standby,
        })
    }

    pub(crate) async fn lookup(
        &self,
        number: proto_spec::SessionNumber,
        attach_key: &AttachKey,
    ) -> Result<Admission, Error> {
        let request = rpc::LookupRequest {
            session_number: number.value(),
            attach_key: attach_key.public().to_vec(),
            probes: self.measured().await,
        };
        let reply =
            self.call(request, |mut client, request| async move { client.lookup(request).await }).await?;
        let role = reply.role();
        let (nodes, standby) = self.nodes(reply.nodes, reply.standby);
        Ok(Admission {
            number: sender(reply.number)?,
            leader: sender(reply.leader)?,
            role: match role {
                rpc::MemberRole::Provider => Role::Provider,
                rpc::MemberRole::Customer => Role::Customer,
                rpc::MemberRole::Unspecified => return Err(misbehaved("role")),
            },
            session: session(reply.session_id)?,
            ticket: reply.ticket,
            nodes,
            standby,
        })
    }

    pub(crate) async fn open_join(&self, ticket: TicketHolder, role: Role) -> Result<u32, Error> {
        let role = match role {
            Role::Provider => rpc::MemberRole::Provider,
            Role::Customer => rpc::MemberRole::Customer,
        };
        let request = |proof| rpc::OpenJoinRequest { proof: Some(proof), role: role as i32 };
        let call =
            |mut client: EndpointClient<Channel>, request| async move { client.open_join(request).await };
        Ok(self.ticket_call(ticket, request, call).await?.session_number)
    }

    pub(crate) async fn close_join(&self, ticket: TicketHolder, session_number: u32) -> Result<(), Error> {
        let request = |proof| rpc::CloseJoinRequest { proof: Some(proof), session_number };
        let call =
            |mut client: EndpointClient<Channel>, request| async move { client.close_join(request).await };
        self.ticket_call(ticket, request, call).await.map(|_| ())
    }

    pub(crate) async fn admit(&self, ticket: TicketHolder, number: u16) -> Result<String, Error> {
        let request = |proof| rpc::AdmitRequest { proof: Some(proof), number: number.into() };
        let call = |mut client: EndpointClient<Channel>, request| async move { client.admit(request).await };
        Ok(self.ticket_call(ticket, request, call).await?.ticket)
    }

    pub(crate) async fn renew(&self, ticket: TicketHolder) -> Result<String, Error> {
        let request = |proof| rpc::RenewTicketRequest { proof: Some(proof) };
        let call =
            |mut client: EndpointClient<Channel>, request| async move { client.renew_ticket(request).await };
        Ok(self.ticket_call(ticket, request, call).await?.ticket)
    }

    pub(crate) async fn remove_member(&self, ticket: TicketHolder, number: u16) -> Result<(), Error> {
        let request = |proof| rpc::RemoveMemberRequest { proof: Some(proof), number: number.into() };
        let call =
            |mut client: EndpointClient<Channel>, request| async move { client.remove_member(request).await };
        self.ticket_call(ticket, request, call).await.map(|_| ())
    }

    pub(crate) async fn end_session(&self, ticket: TicketHolder) -> Result<(), Error> {
        let request = |proof| rpc::EndSessionRequest { proof: Some(proof) };
        let call =
            |mut client: EndpointClient<Channel>, request| async move { client.end_session(request).await };
        self.ticket_call(ticket, request, call).await.map(|_| ())
    }
}

/// A ticket with the key that proves it.
pub(crate) struct TicketHolder {
    pub(crate) ticket: String,
    pub(crate) key: AttachKey,
}

impl Gateway {
    async fn call<Q, A, F>(
        &self,
        request: Q,
        call: impl Fn(EndpointClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.try_nodes(|_| request.clone(), call).await
    }

    async fn ticket_call<Q, A, F>(
        &self,
        holder: TicketHolder,
        request: impl Fn(rpc::TicketProof) -> Q,
        call: impl Fn(EndpointClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let TicketHolder { ticket, key } = holder;
        let proved = |connection: &Connection| {
            let signature = key.prove_call(&connection.exporter, &ticket).to_vec();
            request(rpc::TicketProof { ticket: ticket.clone(), signature })
        };
        self.try_nodes(proved, call).await
    }

    /// Makes the call, at another node if a gateway cannot serve it; with what `request` makes for each connection.
    async fn try_nodes<Q, A, F>(
        &self,
        request: impl Fn(&Connection) -> Q,
        call: impl Fn(EndpointClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut tried: Vec<Target> = Vec::new();
        loop {
            let connection = self.connect().await?;
            let target = connection.target.clone();
            let message = request(&connection);
            let status = match self.send(connection, message, &call).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            // A node that was tried comes again only when there is no other.
            let again = tried.contains(&target);
            tried.push(target);
            if again || tried.len() >= GATEWAYS_MAX || status.code() != Code::Unavailable {
                return Err(sentence(&status));
            }
        }
    }

    async fn send<Q, A, F>(
        &self,
        connection: Connection,
        request: Q,
        call: impl Fn(EndpointClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(request);
        if let Some(credential) = &self.credential {
            put_credential(request.metadata_mut(), &credential.proof(&connection.exporter));
        }
        let result = within(CALL_MAX, call(connection.client, request)).await;
        close_when_idle(&self.connection);
        match result {
            Ok(response) => {
                self.failed_mut(|failed| failed.retain(|of| *of != connection.target));
                Ok(response.into_inner())
            }
            Err(status) => {
                if matches!(
                    status.code(),
                    Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
                ) {
                    *self.connection.lock().await = None;
                    self.failed_mut(|failed| {
                        failed.retain(|of| *of != connection.target);
                        failed.truncate(NAMED_MAX - 1);
                        failed.push(connection.target);
                    });
                }
                Err(status)
            }
        }
    }

    fn failed_mut<A>(&self, change: impl FnOnce(&mut Vec<Target>) -> A) -> A {
        change(&mut self.failed.lock().expect("no panic while holding it"))
    }

    /// Round trips for placement; the connection for the call that follows is made meanwhile.
    async fn measured(&self) -> Vec<rpc::ProbeResult> {
        let (measured, _) = tokio::join!(self.mesh.probe(), self.connect());
        let result = |(target, round_trip): (Target, Duration)| rpc::ProbeResult {
            host: target.host,
            port: target.port.into(),
            rtt_us: u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX),
        };
        measured.into_iter().map(result).collect()
    }

    /// The nodes that placement chose, then the invite's; and the standby's.
    fn nodes(
        &self,
        chosen: Vec<rpc::NodeAddress>,
        standby: Option<rpc::NodeAddress>,
    ) -> (Vec<Vec<String>>, Vec<String>) {
        let mut nodes: Vec<_> = chosen.iter().map(addresses).collect();
        let standby = standby.as_ref().map(addresses).unwrap_or_default();
        self.mesh.learn(nodes.iter().flatten().chain(&standby));
        nodes.extend(self.mesh.invited());
        (nodes, standby)
    }

    /// The connection in use, or a new one.
    async fn connect(&self) -> Result<Connection, Error> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &mut *slot {
            connection.used = tokio::time::Instant::now();
            return Ok(connection.clone());
        }
        let failed = self.failed_mut(|failed| failed.clone());
        let (target, won) = self.mesh.gateway(&failed).await?;
        let exporter = won.exporter;
        // The connector gives away this one connection: a second one would have another exporter.
        let stream = Mutex::new(Some(TokioIo::new(won.stream)));
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let stream = stream.lock().expect("no panic while holding it").take();
            std::future::ready(stream.ok_or_else(|| std::io::Error::other("the connection was lost")))
        });
        let channel = tonic::transport::Endpoint::from_static("http://gateway.sealcast.invalid")
            .connect_with_connector(connector)
            .await
            .map_err(|error| {
                Error::new(ErrorKind::Unreachable, format!("the gateway does not answer: {error}"))
            })?;
        let used = tokio::time::Instant::now();
        let connection = Connection { target, client: EndpointClient::new(channel), exporter, used };
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

/// Closes the connection once nobody has asked for it for a while: a session calls a few times an hour, and must not
/// hold one of the gateway's places in between.
fn close_when_idle(slot: &Slot) {
    let slot = Arc::downgrade(slot);
    tokio::spawn(async move {
        tokio::time::sleep(GATEWAY_IDLE).await;
        let Some(slot) = slot.upgrade() else { return };
        let mut slot = slot.lock().await;
        if slot.as_ref().is_some_and(|connection| connection.used.elapsed() >= GATEWAY_IDLE) {
            *slot = None;
        }
    });
}

/// A gateway that answers what it may not.
pub(crate) fn misbehaved(what: &str) -> Error {
    Error::new(
        ErrorKind::Failed,
        format!("the gateway's answer holds no valid {what}: update the older of the two"),
    )
}

fn put_credential(metadata: &mut MetadataMap, proof: &[u8]) {
    metadata.insert_bin(rpc::CREDENTIAL_METADATA, MetadataValue::from_bytes(proof));
}

async fn within<A>(
    limit: Duration,
    call: impl Future<Output = Result<Response<A>, Status>>,
) -> Result<Response<A>, Status> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the gateway did not answer in time: try again")))
}

fn sentence(status: &Status) -> Error {
    let kind = match status.code() {
        Code::NotFound => ErrorKind::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => ErrorKind::Denied,
        Code::ResourceExhausted => ErrorKind::Limited,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => ErrorKind::Invalid,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            ErrorKind::Unreachable
        }
        _ => ErrorKind::Failed,
    };
    let told: String =
        status.message().chars().filter(|char| !char.is_control()).take(SENTENCE_CHARS_MAX).collect();
    let text = match (told.is_empty(), kind) {
        (false, ErrorKind::Unreachable) if status.code() != Code::DeadlineExceeded => {
            format!("the connection to the gateway was lost ({told}): try again")
        }
        (false, _) => told,
        (true, _) => format!("the gateway refused the call ({}): try again", status.code()),
    };
    Error::new(kind, text)
}

fn session(bytes: Vec<u8>) -> Result<proto_spec::SessionId, Error> {
    bytes.try_into().map(proto_spec::SessionId).map_err(|_| misbehaved("session id"))
}

fn sender(number: u32) -> Result<proto_spec::SenderNumber, Error> {
    u16::try_from(number)
        .ok()
        .and_then(proto_spec::SenderNumber::new)
        .ok_or_else(|| misbehaved("sender number"))
}

fn addresses(node: &rpc::NodeAddress) -> Vec<String> {
    let port = |port: &u32| u16::try_from(*port).ok();
    let target = |port| Target { host: node.host.clone(), port }.to_string();
    node.ports.iter().filter_map(port).map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let channel =
            tonic::transport::Endpoint::from_static("http://gateway.sealcast.invalid").connect_lazy();
        let used = tokio::time::Instant::now();
        let target = Target { host: "gateway.sealcast.invalid".to_owned(), port: 443 };
        Connection { target, client: EndpointClient::new(channel), exporter: [0; 32], used }
    }

    /// Time is tokio's, which runs ahead by itself while everything waits.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nobody_asks_for_is_closed() {
        let slot: Slot = Arc::new(tokio::sync::Mutex::new(Some(connection())));
        close_when_idle(&slot);
        tokio::time::sleep(GATEWAY_IDLE / 2).await;
        assert!(slot.lock().await.is_some(), "not yet");
        slot.lock().await.as_mut().unwrap().used = tokio::time::Instant::now();
        close_when_idle(&slot);
        tokio::time::sleep(GATEWAY_IDLE * 3 / 4).await;
        assert!(slot.lock().await.is_some(), "it was used again");
        tokio::time::sleep(GATEWAY_IDLE).await;
        assert!(slot.lock().await.is_none(), "nobody asked for it");
    }
}
