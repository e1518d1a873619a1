//! Who calls, and whether the call is theirs to make \[GW-1\].

use proto_spec::ticket::{Claims, TicketKind};
use sealcast_trust::audit::Actor;
use sealcast_trust::{verify_credential, verify_ticket_call};

use super::{Broker, Stop, Tx};
use crate::call::{AdminCaller, Call, Credential};
use crate::denial::Denial;
use crate::keys;
use crate::record::{AccountRecord, CredentialRecord, MemberRecord, MemberState, SessionRecord};
use crate::request::{Request, TicketProof};
use crate::role::{Holder, Requirement};

/// A caller as verified.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// Nobody known.
    Anyone,
    /// An account, by one of its credentials.
    Account { account: AccountRecord, credential: [u8; 16] },
    /// A member, by its ticket.
    Member { claims: Claims, session: SessionRecord, member: MemberRecord },
    /// An administrator.
    Admin(AdminCaller),
    /// The shell itself.
    Shell,
}

impl Who {
    /// As the audit names them.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Who::Anyone => Actor::Anonymous,
            Who::Account { account, .. } => Actor::Account { id: account.id },
            Who::Member { claims, .. } => Actor::Member { number: claims.number },
            Who::Admin(admin) => admin.actor(),
            Who::Shell => Actor::Broker,
        }
    }

    /// Whether someone answers for it, so that refusals may be written down one by one.
    pub(crate) fn is_accountable(&self) -> bool {
        matches!(self, Who::Account { .. } | Who::Admin(_))
    }
}

impl Broker {
    /// Verifies the caller and holds it against the table; `who` is set as soon as it is known, so that a refusal can
    /// name it.
    pub(super) fn authorise(
        &self,
        tx: &mut Tx<'_>,
        call: &Call,
        request: &Request,
        who: &mut Who,
    ) -> Result<(), Stop> {
        let Some(method) = request.method() else {
            *who = Who::Shell;
            return Ok(());
        };
        match method.requirement() {
            Requirement::Anyone => {}
            Requirement::LoggedIn => *who = self.account(tx, call)?,
            Requirement::Account(role) => {
                *who = self.account(tx, call)?;
                if let Who::Account { account, .. } = &*who
                    && !account.roles.contains(&role)
                {
                    return Err(Denial::RoleMissing(role.name()).into());
                }
            }
            Requirement::Ticket(holder) => {
                let proof = request.proof().ok_or(Denial::ProofWrong)?;
                *who = self.member(tx, call, proof)?;
                if let Who::Member { claims, session, .. } = &*who {
                    match holder {
                        Holder::Leader if claims.number != session.leader => {
                            return Err(Denial::NotThatMember("leader").into());
                        }
                        Holder::Creator if claims.number != session.creator => {
                            return Err(Denial::NotThatMember("creator").into());
                        }
                        _ => {}
                    }
                }
            }
            Requirement::Admin(_) => {
                if let Some(admin) = &call.admin {
                    *who = Who::Admin(admin.clone());
                }
                method.permit(call.admin.as_ref())?;
            }
        }
        Ok(())
    }

    /// The account whose credential makes the call \[GW-6\].
    pub(super) fn account(&self, tx: &mut Tx<'_>, call: &Call) -> Result<Who, Stop> {
        let (Some(Credential { id, signature }), Some(exporter)) = (call.credential, call.exporter) else {
            return Err(Denial::NotLoggedIn.into());
        };
        let held: Option<CredentialRecord> = tx.get(&keys::credential(&id), "credential")?;
        let held = held.ok_or(Denial::NotLoggedIn)?;
        verify_credential(&held.key, &exporter, &id, &signature).map_err(|_| Denial::NotLoggedIn)?;
        let account: Option<AccountRecord> = tx.get(&keys::account(held.account), "account")?;
        match account {
            // The soft lock stops guessing at the door; it must not throw out who is inside.
            Some(account) if !account.locked => Ok(Who::Account { account, credential: id }),
            _ => Err(Denial::NotLoggedIn.into()),
        }
    }

    /// The member whose ticket makes the call \[GW-7\].
    fn member(&self, tx: &mut Tx<'_>, call: &Call, proof: &TicketProof) -> Result<Who, Stop> {
        let exporter = call.exporter.ok_or(Denial::ProofWrong)?;
        let claims = self.verifier.verify(&proof.ticket, tx.now).map_err(Denial::Ticket)?;
        verify_ticket_call(&claims.attach_key, &exporter, &proof.ticket, &proof.signature)
            .map_err(|_| Denial::ProofWrong)?;
        let session: Option<SessionRecord> = tx.get(&keys::session(claims.session), "session")?;
        let session = session.ok_or(Denial::SessionEnded)?;
        if session.ended.is_some() {
            return Err(Denial::SessionEnded.into());
        }
        if claims.kind != TicketKind::Member {
            return Err(Denial::NotThatMember("members").into());
        }
        match session.member(claims.number) {
            Some(member) if member.state == MemberState::Member => {
                let member = member.clone();
                Ok(Who::Member { claims, session, member })
            }
            _ => Err(Denial::MemberRemoved.into()),
        }
    }
}
