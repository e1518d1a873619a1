//! The `Admin` calls. Who calls is known from the connection: the local socket's user, or a certificate.

use std::sync::Arc;

use proto_spec::SessionId;
use sealcast_broker::request::{AuditEntry, NewAccount, NewPassword};
use sealcast_broker::{AdminCaller, Call, Denial, Reply, Request};
use sealcast_rpc as rpc;
use sealcast_trust::CertificateRole;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request as Incoming, Response, Status};
use zeroize::Zeroizing;

use super::backend::{Backend, Fault};
use super::convert;
use crate::listener::{Caller, Transport};

/// Audit records on their way to one administrator; a slow reader holds back its own stream alone.
const TAIL_QUEUE: usize = 64;
/// Audit records read at once.
const TAIL_PAGE: usize = 200;

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

    fn evidence<T>(&self, request: &Incoming<T>) -> Result<Call, Status> {
        let admin = match request.extensions().get::<Caller>().map(|caller| &caller.transport) {
            Some(Transport::Local { uid }) => AdminCaller::Local { uid: *uid },
            Some(Transport::Admin { identity, .. }) => match &identity.role {
                CertificateRole::Admin { role, name } => {
                    AdminCaller::Certificate { role: *role, name: name.clone() }
                }
                _ => return Err(self.backend.status(&Fault::Bug)),
            },
            _ => return Err(self.backend.status(&Fault::Bug)),
        };
        Ok(Call { exporter: None, credential: None, admin: Some(admin) })
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
        let call = self.evidence(&request)?;
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
        let call = self.evidence(&request)?;
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
        let call = self.evidence(&request)?;
        self.account(&call, Request::ShowAccount { email: request.into_inner().email }).await
    }

    async fn lock_account(&self, request: Incoming<rpc::AccountRequest>) -> Answer<rpc::Account> {
        let call = self.evidence(&request)?;
        self.account(&call, Request::LockAccount { email: request.into_inner().email }).await
    }

    async fn unlock_account(&self, request: Incoming<rpc::AccountRequest>) -> Answer<rpc::Account> {
        let call = self.evidence(&request)?;
        self.account(&call, Request::UnlockAccount { email: request.into_inner().email }).await
    }

    async fn remove_account(
        &self,
        request: Incoming<rpc::AccountRequest>,
    ) -> Answer<rpc::RemoveAccountReply> {
        let call = self.evidence(&request)?;
        self.backend.call(&call, Request::RemoveAccount { email: request.into_inner().email }).await?;
        Ok(Response::new(rpc::RemoveAccountReply {}))
    }

    async fn set_password(&self, request: Incoming<rpc::SetPasswordRequest>) -> Answer<rpc::Account> {
        let call = self.evidence(&request)?;
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
        let call = self.evidence(&request)?;
        let message = request.into_inner();
        let after = if message.after.is_empty() { None } else { Some(self.session_id(&message.after)?) };
        let list =
            Request::ListSessions { ended_too: message.ended_too, after, limit: message.limit as usize };
        match self.backend.call(&call, list).await? {
            Reply::Sessions { sessions, more } => Ok(Response::new(rpc::ListSessionsReply {
                sessions: sessions.into_iter().map(|view| self.session(view)).collect(),
                more,
            })),
            _ => Err(self.backend.status(&Fault::Bug)),
        }
    }

    async fn show_session(&self, request: Incoming<rpc::SessionRequest>) -> Answer<rpc::Session> {
        let call = self.evidence(&request)?;
        let session = self.session_id(&request.into_inner().session_id)?;
        match self.backend.call(&call, Request::ShowSession { session }).await? {
            Reply::Session(view) => Ok(Response::new(self.session(view))),
            _ => Err(self.backend.status(&Fault::Bug)),
        }
    }

    async fn close_session(&self, request: Incoming<rpc::SessionRequest>) -> Answer<rpc::CloseSessionReply> {
        let call = self.evidence(&request)?;
        let session = self.session_id(&request.into_inner().session_id)?;
        self.backend.call(&call, Request::CloseSession { session }).await?;
        Ok(Response::new(rpc::CloseSessionReply {}))
    }

    async fn show_node(&self, request: Incoming<rpc::ShowNodeRequest>) -> Answer<rpc::Node> {
        let call = self.evidence(&request)?;
        self.backend.call(&call, Request::ShowNode).await?;
        let status = self.backend.gateway().status();
        let facts = self.backend.facts();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let uptime = self.backend.clock().now().mono.0;
        Ok(Response::new(rpc::Node {
            node_number: facts.number.value().into(),
            mesh: facts.mesh.clone(),
            software: convert::SOFTWARE.into(),
            wire_version: proto_spec::frame::WIRE_VERSION.into(),
            state: self.backend.state().name().into(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            listeners: facts.listeners.clone(),
            attachments: count(status.attachments),
            attachments_max: count(status.attachments_max),
            sessions: count(status.sessions),
            certificate_expires_ms: facts.certificate_expires.0,
            traffic: convert::traffic(&status.traffic),
            refusals: status
                .refusals
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(refusal, count)| rpc::RefusalCount { reason: refusal.label().into(), count })
                .collect(),
            queue_bytes: status.queue_bytes,
        }))
    }

    type TailAuditStream = ReceiverStream<Result<rpc::AuditRecord, Status>>;

    async fn tail_audit(&self, request: Incoming<rpc::TailAuditRequest>) -> Answer<Self::TailAuditStream> {
        let call = self.evidence(&request)?;
        let message = request.into_inner();
        // The first page is read before the stream starts, so that a refusal is the call's own answer.
        let mut commits = self.backend.commits();
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
    fn session(&self, view: sealcast_broker::request::SessionView) -> rpc::Session {
        let here = self.backend.gateway().session(view.id);
        convert::session(view, here.as_ref(), self.backend.facts().number.value().into())
    }
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
