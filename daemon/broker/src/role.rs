//! One table: every call with the role it needs \[GW-1\]. A test walks all calls of the .proto file through it.

use sealcast_trust::AdminRole;

use crate::call::AdminCaller;
use crate::denial::Denial;
use crate::record::AccountRole;

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $service:literal, $requirement:expr;)*) => {
        /// A call of the .proto file.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Method { $($(#[$doc])* $name,)* }

        impl Method {
            /// All of them, in the order of the .proto file.
            pub const ALL: &'static [Method] = &[$(Method::$name),*];

            /// As in the .proto file: `Endpoint.Login`.
            pub const fn name(self) -> &'static str {
                match self { $(Method::$name => concat!($service, ".", stringify!($name)),)* }
            }

            /// The role that the call needs.
            pub const fn requirement(self) -> Requirement {
                match self { $(Method::$name => $requirement,)* }
            }
        }
    };
}

/// What a call needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// Nothing.
    Anyone,
    /// A credential of an account that is not locked.
    LoggedIn,
    /// A credential of such an account with this role.
    Account(AccountRole),
    /// A member ticket with its proof, of a session that lasts, by one who is in it.
    Ticket(Holder),
    /// The local socket, or an admin certificate with one of these roles.
    Admin(&'static [AdminRole]),
}

/// Which member of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// Any.
    Member,
    /// Who leads it.
    Leader,
    /// Who opened it.
    Creator,
}

impl Method {
    /// Whether the call concerns one node alone: a node without a broker serves it, and nodes hand it to each other
    /// \[GW-16\].
    pub const fn is_of_one_node(self) -> bool {
        matches!(self, Self::ShowNode | Self::DrainNode | Self::UndrainNode | Self::ShowSessionPart)
    }

    /// Whether a node without a broker serves the call: those of one node, and those of the mesh as it knows it.
    pub const fn needs_no_broker(self) -> bool {
        self.is_of_one_node() || matches!(self, Self::ShowMesh | Self::ShowRoute | Self::PublishRevocations)
    }

    /// Holds an administrator against the table.
    ///
    /// # Errors
    /// [`Denial::NotAdmin`] for anyone else and for calls that are not administrators', [`Denial::RoleMissing`].
    pub fn permit(self, admin: Option<&AdminCaller>) -> Result<(), Denial> {
        let Requirement::Admin(roles) = self.requirement() else { return Err(Denial::NotAdmin) };
        let admin = admin.ok_or(Denial::NotAdmin)?;
        if admin.holds(roles) {
            Ok(())
        } else {
            Err(Denial::RoleMissing(roles.first().map_or("", |role| role.name())))
        }
    }
}

const ANY_ADMIN: Requirement = Requirement::Admin(&AdminRole::ALL);
const SEES_ACCOUNTS: Requirement = Requirement::Admin(&[AdminRole::AccountAdmin, AdminRole::Auditor]);
const CHANGES_ACCOUNTS: Requirement = Requirement::Admin(&[AdminRole::AccountAdmin]);
const SEES_SESSIONS: Requirement = Requirement::Admin(&[AdminRole::NetworkAdmin, AdminRole::Auditor]);
const CHANGES_SESSIONS: Requirement = Requirement::Admin(&[AdminRole::NetworkAdmin]);
const CHANGES_NODES: Requirement = Requirement::Admin(&[AdminRole::NetworkAdmin]);
const READS_AUDIT: Requirement = Requirement::Admin(&[AdminRole::Auditor]);

methods! {
    /// Mesh and versions.
    About = "Endpoint", Requirement::Anyone;
    /// Address and password for a credential.
    Login = "Endpoint", Requirement::Anyone;
    /// Revokes the credential.
    Logout = "Endpoint", Requirement::LoggedIn;
    /// Opens a session.
    CreateSession = "Endpoint", Requirement::Account(AccountRole::Provider);
    /// Opens a number.
    OpenJoin = "Endpoint", Requirement::Ticket(Holder::Leader);
    /// Withdraws a number.
    CloseJoin = "Endpoint", Requirement::Ticket(Holder::Leader);
    /// Number to lobby ticket; a provider's number needs a provider's credential besides.
    Lookup = "Endpoint", Requirement::Anyone;
    /// Guest to member.
    Admit = "Endpoint", Requirement::Ticket(Holder::Leader);
    /// A ticket anew.
    RenewTicket = "Endpoint", Requirement::Ticket(Holder::Member);
    /// Member out.
    RemoveMember = "Endpoint", Requirement::Ticket(Holder::Leader);
    /// Everybody out.
    EndSession = "Endpoint", Requirement::Ticket(Holder::Creator);
    /// Makes an account.
    AddAccount = "Admin", CHANGES_ACCOUNTS;
    /// Lists accounts.
    ListAccounts = "Admin", SEES_ACCOUNTS;
    /// Shows an account.
    ShowAccount = "Admin", SEES_ACCOUNTS;
    /// Locks an account and revokes its credentials.
    LockAccount = "Admin", CHANGES_ACCOUNTS;
    /// Unlocks an account, of the soft lock too.
    UnlockAccount = "Admin", CHANGES_ACCOUNTS;
    /// Removes an account and its credentials.
    RemoveAccount = "Admin", CHANGES_ACCOUNTS;
    /// Sets a password and revokes the credentials made with the old one.
    SetPassword = "Admin", CHANGES_ACCOUNTS;
    /// Lists sessions.
    ListSessions = "Admin", SEES_SESSIONS;
    /// Shows a session.
    ShowSession = "Admin", SEES_SESSIONS;
    /// Ends a session.
    CloseSession = "Admin", CHANGES_SESSIONS;
    /// Shows a node.
    ShowNode = "Admin", ANY_ADMIN;
    /// Takes a node out of service.
    DrainNode = "Admin", CHANGES_NODES;
    /// Takes it back.
    UndrainNode = "Admin", CHANGES_NODES;
    /// Shows the mesh.
    ShowMesh = "Admin", ANY_ADMIN;
    /// Shows ways through it.
    ShowRoute = "Admin", ANY_ADMIN;
    /// Shows why endpoints were placed where.
    ShowPlacement = "Admin", SEES_SESSIONS;
    /// Shows what one node knows of a session.
    ShowSessionPart = "Admin", SEES_SESSIONS;
    /// Puts a revocation list in force.
    PublishRevocations = "Admin", CHANGES_NODES;
    /// Reads the audit.
    TailAudit = "Admin", READS_AUDIT;
}
