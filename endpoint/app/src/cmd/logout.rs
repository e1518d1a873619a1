//! `sealcast logout`: revokes the credential at the broker and forgets it here, even when the broker cannot be
//! reached: the key is gone with it.

use sealcast_endpoint::{Credential, logout};

use super::{block_on, find_mesh, load_credential, sentence};
use crate::cli::Global;
use crate::exit::{Exit, Failure};

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let (places, mesh) = find_mesh(global)?;
    let path = places.credential(mesh.name())?;
    let Some(credential) = load_credential(&places, &mesh)? else {
        eprintln!("There was no login at {} on this computer.", crate::clean::line(mesh.name()));
        return Ok(Exit::Success);
    };
    let revoked = block_on(async { Ok(logout(&mesh, &credential).await?) });
    Credential::remove(&path)?;
    match revoked {
        Ok(()) => eprintln!("Logged out at {}.", crate::clean::line(mesh.name())),
        Err(failure) => eprintln!(
            "Forgotten on this computer, but not revoked at the broker: {} Nobody can use it without the key that \
             was just deleted.",
            sentence(&crate::clean::line(&failure.text))
        ),
    }
    Ok(Exit::Success)
}
