//! The `Admin` calls. Who calls is known from the connection: the local socket's user, a certificate, or the word of another
//! node for what concerns one node alone \[GW-16\].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proto_spec::{NodeNumber, SessionId, WallTime};
use sealcast_broker::request::{AuditEntry, NewAccount, NewPassword, SessionView};
use sealcast_broker::{Call, Denial, Method, Reply, Request};
use sealcast_mesh::Input;
use sealcast_rpc as rpc;
use sealcast_rpc::admin_client::AdminClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request as Incoming, Response, Status};
use zeroize::Zeroizing;

use super::backend::{Backend, Fault, PlacementRecord};
use super::caller::{self, AdminSeen};
use super::mesh::drain_name;
use super::peers::PeerChannel;
use super::status::hand_back;
use super::vouch::Vouch;
use super::{convert, overview};

/// Audit records on their way to one administrator; a slow reader holds back its own stream alone.
const TAIL_QUEUE: usize = 64;
/// Audit records read at once.
const TAIL_PAGE: usize = 200;

/// Until another node has answered what was handed to it.
const HANDED_ON_TIME: Duration = Duration::from_secs(5);
/// Nodes that are asked at once for their part of a session: as many as can carry one.
const ASKED_MAX: usize = proto_spec::mesh::SESSION_NODES_MAX;
/// Longest drain that may be ordered: as long as the configuration allows.
const DRAIN_MS_MAX: u64 = 3_600_000;

/// What a node is told.
#[derive(Clone, Copy)]
enum Order {
    /// Out of service; 0 for as long as its configuration says.
    Drain { within_ms: u64 },
    /// Back into service.
    Undrain,
}

/// The service.
pub(super) struct AdminCalls {
    backend: Arc<Backend>,
    stop: CancellationToken,
}

type Answer<T> = Result<Response<T>, Status>;

impl AdminCalls {
    pub(super) fn new(backend: Arc<Backend>, stop: CancellationToken) -> AdminCalls {
        AdminCalls { backend, stop }
    }

    fn evidence<T>(&self, request: &Incoming<T>, method: Method) -> Result<Call, Status> {
        let AdminSeen { admin, via } = caller::admin(&self.backend, request)?;
        if via.is_some() && !method.is_of_one_node() {
            return Err(self.backend.status(&Fault::Refused(
                "a node hands on only what concerns one node: connect to a node with a broker for the rest",
            )));
        }
        Ok(Call { admin: Some(admin), via, ..Call::default() })
    }

    /// A call that concerns the whole mesh or the broker: never handed on.
    fn own<T>(&self, request: &Incoming<T>, method: Method) -> Result<Call, Status> {
        debug_assert!(!method.is_of_one_node(), "{} may be handed on", method.name());
        self.evidence(request, method)
    }

    /// The node that a call names; 0 is this one.
    fn node_number(&self, number: u32) -> Result<NodeNumber, Status> {
        if number == 0 {
            return Ok(self.backend.facts().number);
        }
        let number = u16::try_from(number).ok().and_then(NodeNumber::new);
        number.ok_or_else(|| self.invalid("node numbers run from 1 to 65535"))
    }

    fn invalid(&self, sentence: &'static str) -> Status {
        self.backend.status(&Fault::Denied(Denial::Invalid(sentence)))
    }

    /// A connection to another node, and the call with what this node vouches for \[GW-16\].
    async fn onward<T>(
        &self,
        call: &Call,
        node: NodeNumber,
        message: T,
    ) -> Result<(AdminClient<PeerChannel>, Incoming<T>), Status> {
        // What was handed on once goes no further.
        let Some(admin) = call.admin.clone().filter(|_| call.via.is_none()) else {
            return Err(
                self.invalid("the call was handed to the wrong node: connect to the one that it is for")
            );
        };
        let channel = self.backend.node_channel(node).await.map_err(|fault| self.backend.status(&fault))?;
        let mut request = Incoming::new(message);
        request.set_timeout(HANDED_ON_TIME);
        Vouch::Admin(admin).put(request.metadata_mut());
        Ok((channel.admin(), request))
    }

    /// Orders a node out of service, or back: written down here, then carried out here or by that node.
    async fn order(&self, call: &Call, node: NodeNumber, order: Order) -> Answer<rpc::DrainNodeReply> {
        let request = match order {
            Order::Drain { .. } => Request::DrainNode { node },
            Order::Undrain => Request::UndrainNode { node },
        };
        if node == self.backend.facts().number {
            self.backend.call(call, request).await?;
            let input = match order {
                Order::Drain { within_ms: 0 } => Input::Drain { within: self.backend.facts().drain_within },
                Order::Drain { within_ms } => Input::Drain { within: Duration::from_millis(within_ms) },
                Order::Undrain => Input::Undrain,
            };
            self.backend.mesh().order(input).await;
            let drain = drain_name(self.backend.mesh().view().drain).into();
            return Ok(Response::new(rpc::DrainNodeReply { node_number: node.value().into(), drain }));
        }
        if Method::DrainNode.permit(call.admin.as_ref()).is_err() {
            // Refused, and written down where there is an audit, before anybody is called for it.
            self.backend.call(call, request).await?;
            return Err(self.backend.status(&Fault::Bug));
        }
        // The way there first: an order that cannot be passed on is none.
        let number = node.value().into();
        match order {
            Order::Drain { within_ms } => {
                let message = rpc::DrainNodeRequest { node_number: number, within_ms };
                let (mut client, onward) = self.onward(call, node, message).await?;
                self.backend.call(call, request).await?;
                client.drain_node(onward).await.map(plain).map_err(hand_back)
            }
            Order::Undrain => {
                let message = rpc::UndrainNodeRequest { node_number: number };
                let (mut client, onward) = self.onward(call, node, message).await?;
                self.backend.call(call, request).await?;
                client.undrain_node(onward).await.map(plain).map_err(hand_back)
            }
        }
    }

    /// One session's part on another node.
    async fn part_of(
        &self,
        call: &Call,
        node: NodeNumber,
        session: SessionId,
    ) -> Result<rpc::SessionPart, Status> {
        let message = rpc::SessionRequest { session_id: session.0.to_vec() };
        let (mut client, onward) = self.onward(call, node, message).await?;
        let mut part = client.show_session_part(onward).await.map_err(hand_back)?.into_inner();
        // It speaks for itself alone.
        part.node_number = node.value().into();
        part.members.iter_mut().for_each(|member| member.node_number = part.node_number);
        Ok(part)
    }

    async fn account(&self, call: &Call, request: Request) -> Answer<rpc::Account> {
        match self.backend.call(call, request).await? {
            Reply::Account(view) => Ok(Response::new(convert::account(view))),
            _ => Err(self.backend.status(&Fault::Bug)),
        }
    }

    fn session_id(&self, bytes: &[u8]) -> Result<SessionId, Status> {
        let id = bytes.try_into().map_err(|_| {
            self.backend.status(&Fault::Denied(Denial::Invalid(
                "a session's id has 16 bytes: see `relayctl session list`",
            )))
        })?;
        Ok(SessionId(id))
    }

    async fn hash(&self, password: &Zeroizing<String>) -> Result<String, Status> {
        self.backend.hash(password.clone()).await.map_err(|fault| self.backend.status(&fault))
    }
}

#[tonic::async_trait]
impl rpc::admin_server::Admin for AdminCalls {
    async fn add_account(&self, request: Incoming<rpc::AddAccountRequest>) -> Answer<rpc::Account> {
        let call = self.own(&request, Method::AddAccount)?;
        let message = request.into_inner();
        let roles = message.roles.iter().map(|number| convert::role_of(*number)).collect::<Option<Vec<_>>>();
        let roles = roles.ok_or_else(|| {
            self.backend.status(&Fault::Denied(Denial::Invalid(
                "an account's role is one of the four: update relayctl",
            )))
        })?;
        let password = Zeroizing::new(message.password);
        let password_hash = self.hash(&password).await?;
        let new = NewAccount {
            email: message.email,
            display_name: message.display_name,
            password,
            password_hash,
            roles,
        };
        self.account(&call, Request::AddAccount(new)).await
    }

    async fn list_accounts(
        &self,
        request: Incoming<rpc::ListAccountsRequest>,
    ) -> Answer<rpc::ListAccountsReply> {
        let call = self.own(&request, Method::ListAccounts)?;
        let message = request.into_inner();
        let list = Request::ListAccounts { after: message.after, limit: message.limit as usize };
        match self.backend.call(&call, list).await? {
            Reply::Accounts { accounts, more } => Ok(Response::new(rpc::ListAccountsReply {
                accounts: accounts.into_iter().map(convert::account).collect(),
                more,
            })),
            _ => Err(self.backend.status(&Fault::Bug)),
        }
    }

    async fn show_account(&self, request: Incoming<rpc::AccountRequest>) -> Answer<rpc::Account> {
        let call = self.own(&request, Method::ShowAccount)?;
        self.account(&call, Request::ShowAccount { email: request.into_inner().email }).await
    }

    async fn lock_account(&self, request: Incoming<rpc::AccountRequest>) -> Answer<rpc::Account> {
        let call = self.own(&request, Method::LockAccount)?;
        self.account(&call, Request::LockAccount { email: request.into_inner().email }).await
    }

    async fn unlock_account(&self, request: Incoming<rpc::AccountRequest>) -> Answer<rpc::Account> {
        let call = self.own(&request, Method::UnlockAccount)?;
        self.account(&call, Request::UnlockAccount { email: request.into_inner().email }).await
    }

    async fn remove_account(
        &self,
        request: Incoming<rpc::AccountRequest>,
    ) -> Answer<rpc::RemoveAccountReply> {
        let call = self.own(&request, Method::RemoveAccount)?;
        self.backend.call(&call, Request::RemoveAccount { email: request.into_inner().email }).await?;
        Ok(Response::new(rpc::RemoveAccountReply {}))
    }

    async fn set_password(&self, request: Incoming<rpc::SetPasswordRequest>) -> Answer<rpc::Account> {
        let call = self.own(&request, Method::SetPassword)?;
        let message = request.into_inner();
        let password = Zeroizing::new(message.password);
        let password_hash = self.hash(&password).await?;
        let new = NewPassword { email: message.email, password, password_hash };
        self.account(&call, Request::SetPassword(new)).await
    }

    async fn list_sessions(
        &self,
        request: Incoming<rpc::ListSessionsRequest>,
    ) -> Answer<rpc::ListSessionsReply> {
        let call = self.own(&request, Method::ListSessions)?;
        let message = request.into_inner();
        let after = if message.after.is_empty() { None } else { Some(self.session_id(&message.after)?) };
        let list =
            Request::ListSessions { ended_too: message.ended_too, after, limit: message.limit as usize };
        match self.backend.call(&call, list).await? {
            Reply::Sessions { sessions, more } => Ok(Response::new(rpc::ListSessionsReply {
                sessions: sessions.into_iter().map(|view| self.listed(view)).collect(),
                more,
            })),
            _ => Err(self.backend.status(&Fault::Bug)),
        }
    }

    async fn show_session(&self, request: Incoming<rpc::SessionRequest>) -> Answer<rpc::Session> {
        let call = self.own(&request, Method::ShowSession)?;
        let session = self.session_id(&request.into_inner().session_id)?;
        match self.backend.call(&call, Request::ShowSession { session }).await? {
            Reply::Session(view) => Ok(Response::new(self.session(&call, view).await)),
            _ => Err(self.backend.status(&Fault::Bug)),
        }
    }

    async fn show_session_part(&self, request: Incoming<rpc::SessionRequest>) -> Answer<rpc::SessionPart> {
        let call = self.evidence(&request, Method::ShowSessionPart)?;
        let session = self.session_id(&request.into_inner().session_id)?;
        self.backend.call(&call, Request::ShowSessionPart).await?;
        Ok(Response::new(self.own_part(session)))
    }

    async fn close_session(&self, request: Incoming<rpc::SessionRequest>) -> Answer<rpc::CloseSessionReply> {
        let call = self.own(&request, Method::CloseSession)?;
        let session = self.session_id(&request.into_inner().session_id)?;
        self.backend.call(&call, Request::CloseSession { session }).await?;
        Ok(Response::new(rpc::CloseSessionReply {}))
    }

    async fn show_node(&self, request: Incoming<rpc::ShowNodeRequest>) -> Answer<rpc::Node> {
        let call = self.evidence(&request, Method::ShowNode)?;
        let node = self.node_number(request.into_inner().node_number)?;
        self.backend.call(&call, Request::ShowNode).await?;
        if node == self.backend.facts().number {
            return Ok(Response::new(overview::node(&self.backend)));
        }
        let message = rpc::ShowNodeRequest { node_number: node.value().into() };
        let (mut client, onward) = self.onward(&call, node, message).await?;
        client.show_node(onward).await.map(plain).map_err(hand_back)
    }

    async fn drain_node(&self, request: Incoming<rpc::DrainNodeRequest>) -> Answer<rpc::DrainNodeReply> {
        let call = self.evidence(&request, Method::DrainNode)?;
        let message = request.into_inner();
        let node = self.node_number(message.node_number)?;
        if message.within_ms > DRAIN_MS_MAX {
            return Err(self.invalid("a drain takes an hour at most"));
        }
        self.order(&call, node, Order::Drain { within_ms: message.within_ms }).await
    }

    async fn undrain_node(&self, request: Incoming<rpc::UndrainNodeRequest>) -> Answer<rpc::DrainNodeReply> {
        let call = self.evidence(&request, Method::UndrainNode)?;
        let node = self.node_number(request.into_inner().node_number)?;
        self.order(&call, node, Order::Undrain).await
    }

    async fn show_mesh(&self, request: Incoming<rpc::ShowMeshRequest>) -> Answer<rpc::Mesh> {
        let call = self.own(&request, Method::ShowMesh)?;
        self.backend.call(&call, Request::ShowMesh).await?;
        Ok(Response::new(overview::mesh(&self.backend)))
    }

    async fn show_route(&self, request: Incoming<rpc::ShowRouteRequest>) -> Answer<rpc::ShowRouteReply> {
        let call = self.own(&request, Method::ShowRoute)?;
        let message = request.into_inner();
        self.backend.call(&call, Request::ShowRoute).await?;
        let topology = self.backend.topology();
        let own = self.backend.facts().number;
        let destinations = if message.session_id.is_empty() {
            let node = self.node_number(message.node_number)?;
            if node != own && topology.lsa(node).is_none() {
                let unknown = Denial::NotFound("node in this mesh: see `relayctl node list`");
                return Err(self.backend.status(&unknown.into()));
            }
            vec![node]
        } else {
            let nodes = self.backend.nodes_of(self.session_id(&message.session_id)?);
            nodes.into_iter().filter(|node| *node != own).collect()
        };
        let ways = destinations.into_iter().map(|node| overview::way(&topology, node)).collect();
        Ok(Response::new(rpc::ShowRouteReply { node_number: own.value().into(), ways }))
    }

    async fn show_placement(
        &self,
        request: Incoming<rpc::ShowPlacementRequest>,
    ) -> Answer<rpc::ShowPlacementReply> {
        let call = self.own(&request, Method::ShowPlacement)?;
        let message = request.into_inner();
        let session = match message.session_id.as_slice() {
            [] => None,
            id => Some(self.session_id(id)?),
        };
        let hypothetical = message.hypothetical || session.is_some() || !message.probes.is_empty();
        let ask = Request::ShowPlacement { session, probes: convert::probes(message.probes) };
        let Reply::Placement(located) = self.backend.call(&call, ask).await? else {
            return Err(self.backend.status(&Fault::Bug));
        };
        let placements = if hypothetical {
            let record = PlacementRecord { time: WallTime(0), session, located: *located };
            vec![overview::placement(&record)]
        } else {
            self.backend.placements().iter().map(overview::placement).collect()
        };
        Ok(Response::new(rpc::ShowPlacementReply { placements }))
    }

    async fn publish_revocations(
        &self,
        request: Incoming<rpc::PublishRevocationsRequest>,
    ) -> Answer<rpc::PublishRevocationsReply> {
        let call = self.own(&request, Method::PublishRevocations)?;
        let bytes = request.into_inner().list;
        let refused = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        let list = self.backend.revocations().check(&bytes).map_err(|error| refused(&error))?;
        let (number, in_force) = (list.number, self.backend.revocations().number());
        if number < in_force {
            return Err(Status::failed_precondition(format!(
                "list {in_force} is in force already and this is list {number}: revoke where the newest list lies"
            )));
        }
        let publish = Request::PublishRevocations { number, revoked: list.entries.len() };
        self.backend.call(&call, publish).await?;
        self.backend.revoke(&bytes).await.map_err(|error| Status::internal(error.to_string()))?;
        let revoked = u32::try_from(list.entries.len()).unwrap_or(u32::MAX);
        Ok(Response::new(rpc::PublishRevocationsReply { number, revoked }))
    }

    type TailAuditStream = ReceiverStream<Result<rpc::AuditRecord, Status>>;

    async fn tail_audit(&self, request: Incoming<rpc::TailAuditRequest>) -> Answer<Self::TailAuditStream> {
        let call = self.own(&request, Method::TailAudit)?;
        let message = request.into_inner();
        // The first page is read before the stream starts, so that a refusal is the call's own answer.
        let mut commits = self.backend.commits().map_err(|fault| self.backend.status(&fault))?;
        commits.mark_unchanged();
        let first = Request::TailAudit {
            from_index: message.from_index,
            last: if message.from_index == 0 { message.last } else { 0 },
            limit: TAIL_PAGE,
        };
        let mut page = page_of(self.backend.call(&call, first).await?)
            .ok_or_else(|| self.backend.status(&Fault::Bug))?;
        let (records, stream) = mpsc::channel(TAIL_QUEUE);
        let (backend, stop) = (Arc::clone(&self.backend), self.stop.clone());
        tokio::spawn(async move {
            let mut next = message.from_index.max(1);
            loop {
                let (entries, head) = page;
                for entry in entries {
                    next = entry.index + 1;
                    if records.send(Ok(record(entry))).await.is_err() {
                        return;
                    }
                }
                if next > head {
                    if !message.follow {
                        return;
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = records.closed() => return,
                        changed = commits.changed() => if changed.is_err() { return },
                    }
                }
                let more = Request::TailAudit { from_index: next, last: 0, limit: TAIL_PAGE };
                page = match backend.ask(&call, more).await.map(page_of) {
                    Ok(Some(page)) => page,
                    Ok(None) => return,
                    Err(fault) => {
                        let _ = records.send(Err(backend.status(&fault))).await;
                        return;
                    }
                };
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl AdminCalls {
    fn listed(&self, view: SessionView) -> rpc::Session {
        let here = self.backend.gateway().session(view.id);
        convert::listed_session(view, here.as_ref(), self.backend.facts().number.value().into())
    }

    fn own_part(&self, session: SessionId) -> rpc::SessionPart {
        let here = self.backend.gateway().session(session);
        let nodes = self.backend.mesh().nodes_of(session);
        convert::session_part(here.as_ref(), self.backend.facts().number.value().into(), &nodes)
    }

    /// A session with the part of every node that carries it. Whom the broker knows of is asked, then whom those know of;
    /// where nothing is known, any node may. Nodes that carry it and do not answer are named, not waited for.
    async fn session(&self, call: &Call, view: SessionView) -> rpc::Session {
        let session = view.id;
        let own = self.backend.facts().number;
        let own_part = self.own_part(session);
        let known: BTreeSet<NodeNumber> = self.backend.nodes_of(session).into_iter().collect();
        let mut asking = known.clone();
        if known.is_empty() {
            asking.extend(self.backend.mesh().view().roster.iter().take(ASKED_MAX));
        }
        let mut carrying = known;
        let (mut parts, mut asked, mut silent) = (vec![own_part], BTreeSet::from([own]), BTreeSet::new());
        for _ in 0..2 {
            let round: Vec<NodeNumber> = asking.difference(&asked).copied().take(ASKED_MAX).collect();
            asked.extend(&round);
            let answers =
                round.into_iter().map(|node| async move { (node, self.part_of(call, node, session).await) });
            for (node, answer) in futures::future::join_all(answers).await {
                match answer {
                    Ok(part) => parts.push(part),
                    Err(_) => drop(silent.insert(node)),
                }
            }
            let told = parts.iter().flat_map(|part| &part.nodes);
            carrying.extend(told.filter_map(|number| NodeNumber::new(u16::try_from(*number).ok()?)));
            asking.clone_from(&carrying);
        }
        // A node with nobody attached and nothing relayed has no part.
        parts.retain(|part| !part.members.is_empty() || !part.traffic.is_empty());
        parts.sort_by_key(|part| part.node_number);
        let unanswered = silent.intersection(&carrying).map(|node| node.value().into()).collect();
        convert::session(view, parts, unanswered)
    }
}

/// Only the message goes back: what HTTP says between two nodes is theirs.
fn plain<T>(response: Response<T>) -> Response<T> {
    Response::new(response.into_inner())
}

fn page_of(reply: Reply) -> Option<(Vec<AuditEntry>, u64)> {
    match reply {
        Reply::Audit { entries, head_index } => Some((entries, head_index)),
        _ => None,
    }
}

fn record(entry: AuditEntry) -> rpc::AuditRecord {
    rpc::AuditRecord {
        index: entry.index,
        canonical: entry.canonical,
        hash: entry.hash.to_vec(),
        checkpoint: entry.checkpoint.unwrap_or_default(),
    }
}
