//! Accounts, as administrators make, lock and remove them \[GW-3\].

use proto_spec::WallTime;

use super::auth::Who;
use super::login::revoke_all;
use super::{Broker, Draft, Stop, Tx, page};
use crate::config::DISPLAY_NAME_LENGTH_MAX;
use crate::denial::Denial;
use crate::record::{AccountRecord, decode};
use crate::request::{AccountView, NewAccount, NewPassword, Reply};
use crate::{email, keys, password};

/// How every hash starts that the shell may hand over.
const HASH_PREFIX: &str = "$argon2id$";

impl Broker {
    pub(super) fn add_account(&self, tx: &mut Tx<'_>, who: &Who, new: &NewAccount) -> Result<Reply, Stop> {
        let address = email::normalise(&new.email).ok_or(Denial::Invalid("this is not an e-mail address"))?;
        let name = new.display_name.trim();
        if name.is_empty() || name.len() > DISPLAY_NAME_LENGTH_MAX || name.chars().any(char::is_control) {
            return Err(Denial::Invalid("a display name has 1 to 64 bytes and no control characters").into());
        }
        let mut roles = new.roles.clone();
        roles.sort();
        roles.dedup();
        if roles.is_empty() {
            return Err(Denial::Invalid(
                "an account needs a role: provider, account-admin, network-admin or auditor",
            )
            .into());
        }
        password::check(&new.password, &[&address, name, self.mesh()]).map_err(Denial::WeakPassword)?;
        require_hash(&new.password_hash)?;
        if tx.get::<u64>(&keys::email(&address), "address")?.is_some() {
            return Err(Denial::AccountExists.into());
        }
        let id = tx.get::<u64>(&keys::next_account(), "account counter")?.unwrap_or(1);
        let role_names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let draft = Draft::done(who.actor(), "account.add").account(id).with("roles", &role_names.join(" "));
        let account = AccountRecord {
            id,
            email: address.clone(),
            display_name: name.to_owned(),
            roles,
            password_hash: new.password_hash.clone(),
            locked: false,
            failures: 0,
            locked_until: WallTime(0),
            created: tx.now,
            last_login: WallTime(0),
            credentials: 0,
            sessions_opened: 0,
        };
        tx.put(keys::next_account(), &(id + 1));
        tx.put(keys::email(&address), &id);
        tx.put(keys::account(id), &account);
        tx.audit(draft);
        Ok(Reply::Account(AccountView::new(&account, tx.now)))
    }

    pub(super) fn list_accounts(&self, tx: &mut Tx<'_>, after: &str, limit: usize) -> Result<Reply, Stop> {
        let after = match after {
            "" => String::new(),
            some => email::normalise(some).ok_or(Denial::Invalid("this is not an e-mail address"))?,
        };
        let limit = page(limit);
        let entries = tx.range(keys::emails_after(&after, limit + 1))?;
        let ids: Vec<u64> = entries.iter().take(limit).filter_map(|(_, value)| decode(value)).collect();
        tx.need_all(ids.iter().map(|id| keys::account(*id)))?;
        let mut accounts = Vec::new();
        for id in ids {
            let account: Option<AccountRecord> = tx.get(&keys::account(id), "account")?;
            accounts.extend(account.map(|account| AccountView::new(&account, tx.now)));
        }
        Ok(Reply::Accounts { accounts, more: entries.len() > limit })
    }

    pub(super) fn show_account(&self, tx: &mut Tx<'_>, email: &str) -> Result<Reply, Stop> {
        let account = named(tx, email)?;
        Ok(Reply::Account(AccountView::new(&account, tx.now)))
    }

    pub(super) fn lock_account(&self, tx: &mut Tx<'_>, who: &Who, email: &str) -> Result<Reply, Stop> {
        let mut account = named(tx, email)?;
        account.locked = true;
        revoke_all(tx, &mut account)?;
        self.changed(tx, who, "account.lock", account)
    }

    pub(super) fn unlock_account(&self, tx: &mut Tx<'_>, who: &Who, email: &str) -> Result<Reply, Stop> {
        let mut account = named(tx, email)?;
        account.locked = false;
        account.failures = 0;
        account.locked_until = WallTime(0);
        self.changed(tx, who, "account.unlock", account)
    }

    pub(super) fn set_password(&self, tx: &mut Tx<'_>, who: &Who, new: &NewPassword) -> Result<Reply, Stop> {
        let mut account = named(tx, &new.email)?;
        let about = [account.email.as_str(), &account.display_name, self.mesh()];
        password::check(&new.password, &about).map_err(Denial::WeakPassword)?;
        require_hash(&new.password_hash)?;
        account.password_hash = new.password_hash.clone();
        account.failures = 0;
        account.locked_until = WallTime(0);
        revoke_all(tx, &mut account)?;
        self.changed(tx, who, "account.passwd", account)
    }

    pub(super) fn remove_account(&self, tx: &mut Tx<'_>, who: &Who, email: &str) -> Result<Reply, Stop> {
        let mut account = named(tx, email)?;
        revoke_all(tx, &mut account)?;
        tx.delete(keys::account(account.id));
        tx.delete(keys::email(&account.email));
        tx.audit(Draft::done(who.actor(), "account.remove").account(account.id));
        Ok(Reply::Done)
    }

    fn changed(
        &self,
        tx: &mut Tx<'_>,
        who: &Who,
        action: &str,
        account: AccountRecord,
    ) -> Result<Reply, Stop> {
        tx.put(keys::account(account.id), &account);
        tx.audit(Draft::done(who.actor(), action).account(account.id));
        Ok(Reply::Account(AccountView::new(&account, tx.now)))
    }
}

fn named(tx: &mut Tx<'_>, email: &str) -> Result<AccountRecord, Stop> {
    let address = email::normalise(email).ok_or(Denial::Invalid("this is not an e-mail address"))?;
    let id: Option<u64> = tx.get(&keys::email(&address), "address")?;
    let id = id.ok_or(Denial::NotFound("account"))?;
    let account: Option<AccountRecord> = tx.get(&keys::account(id), "account")?;
    account.ok_or(Stop::Denied(Denial::NotFound("account")))
}

fn require_hash(hash: &str) -> Result<(), Stop> {
    if hash.starts_with(HASH_PREFIX) {
        Ok(())
    } else {
        Err(Denial::Invalid("the password was not hashed: this is a fault of relayd").into())
    }
}
