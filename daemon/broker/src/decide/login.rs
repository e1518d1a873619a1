//! Login in two steps, and logout \[GW-5\] \[GW-9\].
//!
//! ```text
//!  Login ─▶ commit: failure counted ─▶ VerifyPassword ─▶ shell: Argon2 ─▶ FinishLogin ─▶ commit: credential, or refusal
//! ```
//! The failure is counted before the password is looked at, so that guesses made at once count each by itself. An unknown
//! address takes the same steps: a commit, a verification of the same cost, a commit, one answer.

use proto_spec::WallTime;
use rand_core::Rng;
use sealcast_trust::audit::Actor;

use super::auth::Who;
use super::{Broker, Draft, Stop, Tx};
use crate::config::{CREDENTIALS_MAX, FAILURES_MAX, LABEL_LENGTH_MAX, SOFT_LOCK};
use crate::denial::Denial;
use crate::kv::Key;
use crate::record::{AccountRecord, CredentialRecord, decode};
use crate::request::{LoginRequest, PendingLogin, Reply};
use crate::{email, keys, password};

impl Broker {
    pub(super) fn begin_login(&self, tx: &mut Tx<'_>, login: &LoginRequest) -> Result<Reply, Stop> {
        if login.password.len() > password::LENGTH_MAX {
            return Err(Denial::Invalid("the password is longer than any can be").into());
        }
        if login.label.len() > LABEL_LENGTH_MAX || login.label.chars().any(char::is_control) {
            return Err(Denial::Invalid(
                "the credential's label has at most 64 bytes and no control characters",
            )
            .into());
        }
        let id: Option<u64> = match email::normalise(&login.email) {
            Some(address) => tx.get(&keys::email(&address), "address")?,
            None => None,
        };
        let account: Option<AccountRecord> = match id {
            Some(id) => tx.get(&keys::account(id), "account")?,
            None => None,
        };
        let (password_hash, refused) = match &account {
            Some(account) if account.locked => (&account.password_hash, Some("locked")),
            Some(account) if tx.now < account.locked_until => (&account.password_hash, Some("soft_locked")),
            Some(account) => (&account.password_hash, None),
            None => (&self.dummy_hash, Some("unknown")),
        };
        match &account {
            Some(account) if refused.is_none() => {
                let account = with_failure_counted(account.clone(), tx.now);
                tx.put(keys::account(account.id), &account);
            }
            // A write like the other's, so that it takes as long.
            _ => {
                let count: Option<u64> = tx.get(&keys::unknown_logins(), "login counter")?;
                tx.put(keys::unknown_logins(), &count.unwrap_or(0).wrapping_add(1));
            }
        }
        Ok(Reply::VerifyPassword(PendingLogin {
            password_hash: password_hash.clone(),
            password: login.password.clone(),
            account: account.map(|account| account.id),
            refused,
            credential_key: login.credential_key,
            label: login.label.clone(),
        }))
    }

    pub(super) fn finish_login(
        &self,
        tx: &mut Tx<'_>,
        pending: &PendingLogin,
        verified: bool,
        rng: &mut impl Rng,
    ) -> Result<Reply, Stop> {
        let account: Option<AccountRecord> = match pending.account {
            Some(id) => tx.get(&keys::account(id), "account")?,
            None => None,
        };
        let reason = match &account {
            // Locked, removed or given a new password while Argon2 ran.
            Some(account) if account.locked || account.password_hash != pending.password_hash => {
                Some("changed")
            }
            None if pending.account.is_some() => Some("changed"),
            _ => pending.refused.or((!verified).then_some("wrong_password")),
        };
        let (Some(mut account), None) = (account, reason) else {
            let draft = Draft::refused(Actor::Anonymous, "login", reason.unwrap_or("unknown"));
            let draft = match pending.account {
                Some(id) => draft.account(id),
                None => draft,
            };
            tx.audit(draft);
            return Err(Stop::Refused(Denial::LoginFailed));
        };
        let held = tx.range(keys::held_by(account.id, CREDENTIALS_MAX + 1))?;
        for key in oldest_beyond(held, CREDENTIALS_MAX - 1) {
            revoke(tx, key);
        }
        let mut credential_id = [0u8; 16];
        rng.fill_bytes(&mut credential_id);
        let credential = CredentialRecord {
            account: account.id,
            key: pending.credential_key,
            label: pending.label.clone(),
            created: tx.now,
        };
        tx.put(keys::credential(&credential_id), &credential);
        let now = tx.now;
        tx.put(keys::held(account.id, &credential_id), &now);
        account.failures = 0;
        account.locked_until = WallTime(0);
        account.last_login = tx.now;
        account.credentials = (held.len().min(CREDENTIALS_MAX - 1) + 1) as u32;
        tx.put(keys::account(account.id), &account);
        let actor = Actor::Account { id: account.id };
        tx.audit(Draft::done(actor, "login").with("label", &account_label(&pending.label)));
        Ok(Reply::LoggedIn { credential_id, display_name: account.display_name, roles: account.roles })
    }

    pub(super) fn logout(&self, tx: &mut Tx<'_>, who: &Who) -> Result<Reply, Stop> {
        let Who::Account { account, credential } = who else { return Err(Denial::NotLoggedIn.into()) };
        tx.delete(keys::credential(credential));
        tx.delete(keys::held(account.id, credential));
        let credentials = account.credentials.saturating_sub(1);
        tx.put(keys::account(account.id), &AccountRecord { credentials, ..account.clone() });
        tx.audit(Draft::done(who.actor(), "logout"));
        Ok(Reply::Done)
    }
}

/// Removes every credential of an account and counts them down.
pub(super) fn revoke_all(tx: &mut Tx<'_>, account: &mut AccountRecord) -> Result<(), Stop> {
    for (key, _) in tx.range(keys::held_by(account.id, CREDENTIALS_MAX + 1))? {
        revoke(tx, key);
    }
    account.credentials = 0;
    Ok(())
}

fn revoke(tx: &mut Tx<'_>, held: &Key) {
    if let Some(id) = keys::credential_of(held) {
        tx.delete(keys::credential(&id));
    }
    tx.delete(held.clone());
}

/// What has to go so that `keep` are left, oldest first.
fn oldest_beyond(held: &[(Key, Vec<u8>)], keep: usize) -> impl Iterator<Item = &Key> {
    let mut by_age: Vec<(WallTime, &Key)> =
        held.iter().map(|(key, issued)| (decode(issued).unwrap_or_default(), key)).collect();
    by_age.sort();
    let excess = by_age.len().saturating_sub(keep);
    by_age.into_iter().take(excess).map(|(_, key)| key)
}

fn with_failure_counted(mut account: AccountRecord, now: WallTime) -> AccountRecord {
    if account.locked_until > WallTime(0) {
        // The lock is over: a new row of failures begins.
        account.failures = 0;
        account.locked_until = WallTime(0);
    }
    account.failures += 1;
    if account.failures >= FAILURES_MAX {
        account.locked_until = now.plus(SOFT_LOCK);
    }
    account
}

/// A host's name in the audit helps to recognise a stolen credential.
fn account_label(label: &str) -> String {
    if label.is_empty() { "unnamed".to_owned() } else { label.to_owned() }
}
