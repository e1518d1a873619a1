//! `relayctl account`.

use sealcast_rpc::{self as rpc, AccountRequest, AddAccountRequest, ListAccountsRequest, SetPasswordRequest};
use serde_json::json;

use crate::cli::{Account, Global, RoleArg};
use crate::connect::{connect, request};
use crate::failure::Failure;
use crate::output::{Table, time};
use crate::prompt;

/// Accounts asked for at once.
const PAGE: u32 = 500;

/// Runs one command.
pub(crate) async fn run(command: Account, global: &Global) -> Result<(), Failure> {
    match command {
        Account::Add { email, name, roles, password } => {
            let password = prompt::new_password(password.password_stdin)?;
            let display_name = name.unwrap_or_else(|| email.split('@').next().unwrap_or_default().to_owned());
            let message = AddAccountRequest {
                email,
                display_name,
                password: password.to_string(),
                roles: roles.into_iter().map(|role| role_number(role) as i32).collect(),
            };
            let added = connect(global).await?.add_account(request(message)).await?.into_inner();
            print_one(&added, global)
        }
        Account::List => list(global).await,
        Account::Show { email } => {
            let shown =
                connect(global).await?.show_account(request(AccountRequest { email })).await?.into_inner();
            print_one(&shown, global)
        }
        Account::Lock { email } => {
            let locked =
                connect(global).await?.lock_account(request(AccountRequest { email })).await?.into_inner();
            print_one(&locked, global)
        }
        Account::Unlock { email } => {
            let unlocked =
                connect(global).await?.unlock_account(request(AccountRequest { email })).await?.into_inner();
            print_one(&unlocked, global)
        }
        Account::Remove { email } => {
            prompt::confirm(&format!("Remove {email} for good?"), global.yes)?;
            connect(global).await?.remove_account(request(AccountRequest { email: email.clone() })).await?;
            eprintln!("{email} is removed.");
            Ok(())
        }
        Account::Passwd { email, password } => {
            let password = prompt::new_password(password.password_stdin)?;
            let message = SetPasswordRequest { email, password: password.to_string() };
            let changed = connect(global).await?.set_password(request(message)).await?.into_inner();
            print_one(&changed, global)
        }
    }
}

async fn list(global: &Global) -> Result<(), Failure> {
    let mut client = connect(global).await?;
    let mut table = table();
    let mut after = String::new();
    loop {
        let page =
            client.list_accounts(request(ListAccountsRequest { after, limit: PAGE })).await?.into_inner();
        page.accounts.iter().for_each(|account| push(&mut table, account));
        match page.accounts.last() {
            Some(last) if page.more => after = last.email.clone(),
            _ => return table.print(global.output),
        }
    }
}

fn print_one(account: &rpc::Account, global: &Global) -> Result<(), Failure> {
    let mut table = table();
    push(&mut table, account);
    table.print_one(global.output)
}

fn table() -> Table {
    Table::new(
        &["email", "name", "roles", "state", "last_login"],
        &["id", "created", "failures", "credentials"],
    )
}

fn push(table: &mut Table, account: &rpc::Account) {
    let roles: Vec<&str> = account.roles().map(role_name).collect();
    let state = match (account.locked, account.locked_until_ms) {
        (true, _) => "locked".to_owned(),
        (false, 0) => "open".to_owned(),
        (false, until) => format!("locked until {}", time(until)),
    };
    let row = vec![
        account.email.clone(),
        account.display_name.clone(),
        roles.join(" "),
        state,
        time(account.last_login_ms),
        account.id.to_string(),
        time(account.created_ms),
        account.failures.to_string(),
        account.credentials.to_string(),
    ];
    let json = json!({
        "id": account.id, "email": account.email, "name": account.display_name, "roles": roles,
        "locked": account.locked, "locked_until_ms": account.locked_until_ms, "failures": account.failures,
        "created_ms": account.created_ms, "last_login_ms": account.last_login_ms,
        "credentials": account.credentials,
    });
    table.push(row, json);
}

fn role_number(role: RoleArg) -> rpc::Role {
    match role {
        RoleArg::AccountAdmin => rpc::Role::AccountAdmin,
        RoleArg::NetworkAdmin => rpc::Role::NetworkAdmin,
        RoleArg::Provider => rpc::Role::Provider,
        RoleArg::Auditor => rpc::Role::Auditor,
    }
}

fn role_name(role: rpc::Role) -> &'static str {
    match role {
        rpc::Role::AccountAdmin => "account-admin",
        rpc::Role::NetworkAdmin => "network-admin",
        rpc::Role::Provider => "provider",
        rpc::Role::Auditor => "auditor",
        rpc::Role::Unspecified => "none",
    }
}
