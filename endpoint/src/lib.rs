//! The client library of Sealcast: finds a node, logs in, carries a session, moves files. A tokio shell around
//! `sealcast-endpoint-core`, which holds all of the logic.
//!
//! ```no_run
//! # async fn run() -> Result<(), sealcast_endpoint::Error> {
//! use sealcast_endpoint::{Invite, JoinCode, Mesh, Options, Session};
//! let text = std::fs::read_to_string("invite.toml").expect("the invite file");
//! let mesh = Mesh::from_invite(Invite::parse(&text).expect("an invite"), None)?;
//! let code: JoinCode = "483-920-117 lucky-ocean-zoo".parse().expect("a join code");
//! let mut session = Session::join(mesh, code, None, Options::new("Ada", "/tmp".into())).await?;
//! while let Some(event) = session.next_event().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod config;
mod connect;
mod credential;
mod disk;
mod driver;
mod error;
mod files;
mod gateway;
mod mesh;
mod probe;
mod session;
mod tls;
mod wire;
mod wires;

pub use credential::{Credential, login, logout};
pub use error::{Error, ErrorKind};
pub use mesh::Mesh;
pub use proto_spec::invite::{Invite, InviteError, InviteNode};
pub use proto_spec::ticket::Role;
pub use proto_spec::{SenderNumber, SessionId};
pub use sealcast_endpoint_core::command::Command;
pub use sealcast_endpoint_core::event::{self, Event};
pub use sealcast_endpoint_core::{JoinCode, Suite};
pub use session::{Accept, Commander, Options, Session};

/// Fresh randomness of the operating system.
fn random<const N: usize>() -> Result<zeroize::Zeroizing<[u8; N]>, Error> {
    let mut bytes = zeroize::Zeroizing::new([0u8; N]);
    getrandom::fill(bytes.as_mut()).map_err(|error| {
        let text =
            format!("the operating system gives no randomness ({error}): nothing can be sealed without it");
        Error::new(ErrorKind::Failed, text)
    })?;
    Ok(bytes)
}
