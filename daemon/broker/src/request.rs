//! Calls and their replies in the broker's own types; the shell turns gRPC's into them.

use proto_spec::ticket::Role;
use proto_spec::{NodeNumber, SenderNumber, SessionId, SessionNumber, WallTime};
use sealcast_placement::{Located, Placed, Probe};
use zeroize::Zeroizing;

use crate::record::{AccountRecord, AccountRole, MemberState};
use crate::role::Method;

/// A ticket and the proof that the caller holds its key, on this connection \[GW-7\].
#[derive(Clone, Debug)]
pub struct TicketProof {
    /// The token.
    pub ticket: String,
    /// Over [`proto_spec::frame::ticket_call_message`].
    pub signature: [u8; 64],
}

/// Address and password for a credential.
#[derive(Clone)]
pub struct LoginRequest {
    /// As typed.
    pub email: String,
    /// As typed.
    pub password: Zeroizing<String>,
    /// Ed25519 key that the credential will be bound to.
    pub credential_key: [u8; 32],
    /// How the user will recognise it.
    pub label: String,
}

/// A login whose failure has been counted already; the shell runs Argon2 and comes back with
/// [`Request::FinishLogin`].
#[derive(Clone)]
pub struct PendingLogin {
    /// What to verify against, a PHC string: the account's, or one that nobody has, at the same cost.
    pub password_hash: String,
    /// What to verify.
    pub password: Zeroizing<String>,
    pub(crate) account: Option<u64>,
    pub(crate) refused: Option<&'static str>,
    pub(crate) credential_key: [u8; 32],
    pub(crate) label: String,
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            /// Holds a password.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

opaque_debug!(LoginRequest, PendingLogin, NewAccount, NewPassword);

/// An account to be made.
#[derive(Clone)]
pub struct NewAccount {
    /// As typed.
    pub email: String,
    /// As others will see it.
    pub display_name: String,
    /// For the check of its strength.
    pub password: Zeroizing<String>,
    /// Argon2id of the password, a PHC string.
    pub password_hash: String,
    /// At least one.
    pub roles: Vec<AccountRole>,
}

/// A password to be set.
#[derive(Clone)]
pub struct NewPassword {
    /// Whose.
    pub email: String,
    /// For the check of its strength.
    pub password: Zeroizing<String>,
    /// Argon2id of the password, a PHC string.
    pub password_hash: String,
}

/// A call.
#[derive(Clone, Debug)]
pub enum Request {
    /// `Endpoint.About`.
    About,
    /// `Endpoint.Login`, first step: answers [`Reply::VerifyPassword`]. The shell checks its limiter before.
    Login(LoginRequest),
    /// `Endpoint.Login`, second step, from the shell alone.
    FinishLogin {
        /// From the first step.
        pending: PendingLogin,
        /// What Argon2 said.
        verified: bool,
    },
    /// `Endpoint.Logout`.
    Logout,
    /// `Endpoint.CreateSession`.
    CreateSession {
        /// The creator's attach key.
        attach_key: [u8; 32],
        /// For placement.
        probes: Vec<Probe>,
    },
    /// `Endpoint.OpenJoin`.
    OpenJoin {
        /// The leader's.
        proof: TicketProof,
        /// What the joiner will be.
        role: Role,
    },
    /// `Endpoint.CloseJoin`.
    CloseJoin {
        /// The leader's.
        proof: TicketProof,
        /// Which one.
        number: SessionNumber,
    },
    /// `Endpoint.Lookup`. The shell checks its limiter before.
    Lookup {
        /// The nine digits; `None` when what was sent cannot be a number: answered as an unknown one.
        number: Option<SessionNumber>,
        /// The joiner's attach key.
        attach_key: [u8; 32],
        /// For placement.
        probes: Vec<Probe>,
    },
    /// `Endpoint.Admit`.
    Admit {
        /// The leader's.
        proof: TicketProof,
        /// The guest.
        number: SenderNumber,
    },
    /// `Endpoint.RenewTicket`.
    RenewTicket {
        /// The member's.
        proof: TicketProof,
    },
    /// `Endpoint.RemoveMember`.
    RemoveMember {
        /// The leader's.
        proof: TicketProof,
        /// The member or guest.
        number: SenderNumber,
    },
    /// `Endpoint.EndSession`.
    EndSession {
        /// The creator's.
        proof: TicketProof,
    },
    /// `Admin.AddAccount`.
    AddAccount(NewAccount),
    /// `Admin.ListAccounts`.
    ListAccounts {
        /// Continue after this address; empty for the start.
        after: String,
        /// At most [`crate::config::PAGE_MAX`]; 0 for that.
        limit: usize,
    },
    /// `Admin.ShowAccount`.
    ShowAccount {
        /// Whose.
        email: String,
    },
    /// `Admin.LockAccount`.
    LockAccount {
        /// Whose.
        email: String,
    },
    /// `Admin.UnlockAccount`.
    UnlockAccount {
        /// Whose.
        email: String,
    },
    /// `Admin.RemoveAccount`.
    RemoveAccount {
        /// Whose.
        email: String,
    },
    /// `Admin.SetPassword`.
    SetPassword(NewPassword),
    /// `Admin.ListSessions`.
    ListSessions {
        /// Those that ended as well.
        ended_too: bool,
        /// Continue after this one.
        after: Option<SessionId>,
        /// At most [`crate::config::PAGE_MAX`]; 0 for that.
        limit: usize,
    },
    /// `Admin.ShowSession`.
    ShowSession {
        /// Which.
        session: SessionId,
    },
    /// `Admin.CloseSession`.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// `Admin.ShowNode`: the broker only permits; the shell knows the node.
    ShowNode,
    /// `Admin.DrainNode`, of the node that is asked or of another: the broker permits and writes it down, the shell acts.
    DrainNode {
        /// Which.
        node: NodeNumber,
    },
    /// `Admin.UndrainNode`, likewise.
    UndrainNode {
        /// Which.
        node: NodeNumber,
    },
    /// `Admin.ShowMesh`: the broker only permits.
    ShowMesh,
    /// `Admin.ShowRoute`: the broker only permits.
    ShowRoute,
    /// `Admin.ShowSessionPart`: the broker only permits.
    ShowSessionPart,
    /// `Admin.ShowPlacement` of an endpoint that there is not.
    ShowPlacement {
        /// Of this session; `None` for a new one, or for the last placements, which the shell keeps.
        session: Option<SessionId>,
        /// Its round trips.
        probes: Vec<Probe>,
    },
    /// `Admin.PublishRevocations`: the broker permits and writes it down; the shell has checked the list and puts it in
    /// force.
    PublishRevocations {
        /// The list's number.
        number: u64,
        /// Certificates that it names.
        revoked: usize,
    },
    /// `Admin.TailAudit`, one page.
    TailAudit {
        /// From this record on; 0 for the first.
        from_index: u64,
        /// Instead of `from_index`: this many of the newest; 0 for "not so".
        last: u32,
        /// At most [`crate::config::PAGE_MAX`]; 0 for that.
        limit: usize,
    },
    /// From the shell alone, every few seconds: ends what nobody can come back to, forgets what is over, signs a
    /// checkpoint when one is due.
    Housekeeping {
        /// Where the last one stopped; `None` for the start.
        after: Option<SessionId>,
    },
}

impl Request {
    /// The call of the .proto file; `None` for what the shell asks by itself.
    pub const fn method(&self) -> Option<Method> {
        Some(match self {
            Self::About => Method::About,
            Self::Login(_) => Method::Login,
            Self::Logout => Method::Logout,
            Self::CreateSession { .. } => Method::CreateSession,
            Self::OpenJoin { .. } => Method::OpenJoin,
            Self::CloseJoin { .. } => Method::CloseJoin,
            Self::Lookup { .. } => Method::Lookup,
            Self::Admit { .. } => Method::Admit,
            Self::RenewTicket { .. } => Method::RenewTicket,
            Self::RemoveMember { .. } => Method::RemoveMember,
            Self::EndSession { .. } => Method::EndSession,
            Self::AddAccount(_) => Method::AddAccount,
            Self::ListAccounts { .. } => Method::ListAccounts,
            Self::ShowAccount { .. } => Method::ShowAccount,
            Self::LockAccount { .. } => Method::LockAccount,
            Self::UnlockAccount { .. } => Method::UnlockAccount,
            Self::RemoveAccount { .. } => Method::RemoveAccount,
            Self::SetPassword(_) => Method::SetPassword,
            Self::ListSessions { .. } => Method::ListSessions,
            Self::ShowSession { .. } => Method::ShowSession,
            Self::CloseSession { .. } => Method::CloseSession,
            Self::ShowNode => Method::ShowNode,
            Self::DrainNode { .. } => Method::DrainNode,
            Self::UndrainNode { .. } => Method::UndrainNode,
            Self::ShowMesh => Method::ShowMesh,
            Self::ShowRoute => Method::ShowRoute,
            Self::ShowSessionPart => Method::ShowSessionPart,
            Self::ShowPlacement { .. } => Method::ShowPlacement,
            Self::PublishRevocations { .. } => Method::PublishRevocations,
            Self::TailAudit { .. } => Method::TailAudit,
            Self::FinishLogin { .. } | Self::Housekeeping { .. } => return None,
        })
    }

    /// The ticket and proof that come with the request.
    pub(crate) const fn proof(&self) -> Option<&TicketProof> {
        match self {
            Self::OpenJoin { proof, .. }
            | Self::CloseJoin { proof, .. }
            | Self::Admit { proof, .. }
            | Self::RenewTicket { proof }
            | Self::RemoveMember { proof, .. }
            | Self::EndSession { proof } => Some(proof),
            _ => None,
        }
    }
}

/// An account as administrators see it: never its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Its number.
    pub id: u64,
    /// Its address.
    pub email: String,
    /// As others see it.
    pub display_name: String,
    /// What it may do.
    pub roles: Vec<AccountRole>,
    /// Locked by an administrator.
    pub locked: bool,
    /// Soft lock after failures; 0 when there is none.
    pub locked_until: WallTime,
    /// Failures in a row.
    pub failures: u32,
    /// When it was made.
    pub created: WallTime,
    /// Last login, 0 for never.
    pub last_login: WallTime,
    /// Credentials held.
    pub credentials: u32,
}

impl AccountView {
    pub(crate) fn new(account: &AccountRecord, now: WallTime) -> AccountView {
        let over = account.locked_until <= now;
        AccountView {
            id: account.id,
            email: account.email.clone(),
            display_name: account.display_name.clone(),
            roles: account.roles.clone(),
            locked: account.locked,
            locked_until: if over { WallTime(0) } else { account.locked_until },
            failures: if over && account.locked_until.0 > 0 { 0 } else { account.failures },
            created: account.created,
            last_login: account.last_login,
            credentials: account.credentials,
        }
    }
}

/// A member as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its number.
    pub number: SenderNumber,
    /// Provider or customer.
    pub role: Role,
    /// By the broker's knowledge; the gateways know who is attached.
    pub state: MemberState,
    /// A provider's address; empty for customers and for accounts that are gone.
    pub account: String,
}

/// A session as administrators see it: never its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// Address of the account that opened it; empty when that is gone.
    pub provider: String,
    /// When it was opened.
    pub created: WallTime,
    /// When it ended.
    pub ended: Option<WallTime>,
    /// Who is or was in it; empty in lists.
    pub members: Vec<MemberView>,
    /// Whether a number awaits a joiner.
    pub joinable: bool,
}

/// An audit record as handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place.
    pub index: u64,
    /// The bytes that were hashed.
    pub canonical: Vec<u8>,
    /// Its link.
    pub hash: [u8; 32],
    /// The signed checkpoint on it, if there is one.
    pub checkpoint: Option<Vec<u8>>,
}

/// What a call gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Done, or permitted; nothing more to say.
    Done,
    /// The mesh's name.
    About {
        /// The mesh's name.
        mesh: String,
    },
    /// Not a reply to the caller: verify, then come back with [`Request::FinishLogin`].
    VerifyPassword(PendingLogin),
    /// A credential.
    LoggedIn {
        /// Its id.
        credential_id: [u8; 16],
        /// The account's name.
        display_name: String,
        /// What the account may do.
        roles: Vec<AccountRole>,
    },
    /// A session opened.
    SessionCreated {
        /// Its id.
        session: SessionId,
        /// The creator's number.
        number: SenderNumber,
        /// The creator's ticket.
        ticket: String,
        /// Where to attach.
        nodes: Vec<Placed>,
        /// Where to attach a second time.
        standby: Option<Placed>,
    },
    /// A number opened.
    JoinOpened {
        /// The nine digits.
        number: SessionNumber,
    },
    /// A number found.
    Found {
        /// The session.
        session: SessionId,
        /// The joiner's number.
        number: SenderNumber,
        /// The leader's number.
        leader: SenderNumber,
        /// A lobby ticket.
        ticket: String,
        /// What the joiner will be.
        role: Role,
        /// Where to attach.
        nodes: Vec<Placed>,
        /// Where to attach a second time.
        standby: Option<Placed>,
    },
    /// A member ticket.
    Ticket {
        /// The token.
        ticket: String,
    },
    /// One account.
    Account(AccountView),
    /// A page of accounts.
    Accounts {
        /// In the order of their addresses.
        accounts: Vec<AccountView>,
        /// Whether there are more.
        more: bool,
    },
    /// One session.
    Session(SessionView),
    /// A page of sessions.
    Sessions {
        /// In the order of their ids.
        sessions: Vec<SessionView>,
        /// Whether there are more.
        more: bool,
    },
    /// What a placement would be.
    Placement(Box<Located>),
    /// A page of the audit.
    Audit {
        /// In their order.
        entries: Vec<AuditEntry>,
        /// Index of the newest record there is.
        head_index: u64,
    },
    /// Housekeeping done so far; `None` when it has come around.
    Housekept {
        /// Where to go on.
        after: Option<SessionId>,
    },
}
