//! `sealcast login [EMAIL]`: exchanges a password for a credential bound to a key of this computer. The password is
//! asked for or read from standard input, never taken from the command line, and kept no longer than the call.

use sealcast_endpoint::login;

use super::{block_on, find_mesh};
use crate::ask;
use crate::cli::{Global, Login};
use crate::exit::{Exit, Failure};

pub(super) fn run(global: &Global, args: Login) -> Result<Exit, Failure> {
    if args.email.is_none() && args.password_stdin {
        return Err(Failure::new(
            Exit::Usage,
            "with --password-stdin, name the account: sealcast login EMAIL",
        ));
    }
    let (places, mesh) = find_mesh(global)?;
    let path = places.credential(mesh.name())?;
    let email = match args.email {
        Some(email) => email,
        None => ask::line("E-mail address:", "name the account: sealcast login EMAIL")?,
    };
    let password = ask::password(args.password_stdin)?;
    let label = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let credential = block_on(async { Ok(login(&mesh, &email, &password, &label).await?) })?;
    drop(password);
    credential.save(&path)?;
    let name = crate::clean::line(credential.display_name());
    eprintln!("Logged in at {} as {name}.", crate::clean::line(mesh.name()));
    let mut next = "sealcast host".to_owned();
    if let Some(given) = &global.invite {
        match places.keep_invite(given)? {
            Some(kept) => eprintln!("The invite is kept as {}: no need to name it again.", kept.display()),
            None => next = format!("sealcast --invite {} host", given.display()),
        }
    }
    if credential.is_provider() {
        eprintln!("Next: {next}");
    } else {
        eprintln!(
            "This account may not open sessions: ask your administrator for the role of a support provider."
        );
    }
    Ok(Exit::Success)
}
