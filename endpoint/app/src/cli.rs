//! The command line: parsed here completely, acted on elsewhere.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sealcast_endpoint::{Accept, JoinCode, Role};

use crate::accept;

const AFTER_HELP: &str = "\
Sealcast finds its mesh by an invite file: --invite, then SEALCAST_INVITE, then invite.toml in your configuration \
folder, then sealcast-invite.toml beside the program.

On a terminal a session shows a text interface. Otherwise, or with --json, events are JSON lines on standard output \
and commands are lines on standard input; docs/EVENTS.md lists both.

Exit codes: 0 done, 1 failure, 2 usage, 3 not found, 4 denied, 5 unreachable, 130 interrupted twice.";

/// Gives and receives remote support through a mesh that can read none of it.
#[derive(Parser, Debug)]
#[command(name = "sealcast", version, after_help = AFTER_HELP, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The invite file of your mesh, from your administrator
    #[arg(long, global = true, env = "SEALCAST_INVITE", value_name = "FILE", hide_env_values = true)]
    pub(crate) invite: Option<PathBuf>,
    /// Reach the nodes on these TCP ports instead of those in the invite
    #[arg(long, global = true, value_name = "PORT,...", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,
    /// What relays are told this program is, at most 16 characters: the demo's mark in the clear
    #[arg(long, global = true, env = "SEALCAST_SOFTWARE", value_name = "NAME", hide = true)]
    pub(crate) software: Option<String>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Action {
    /// Log in as a support provider; remembered on this computer until you log out
    Login(Login),
    /// Revoke and forget the login of this computer
    Logout,
    /// Open a session as a support provider, and show the code under which a customer joins
    Host(Host),
    /// Join a session by the code that was read to you
    Join(Join),
    /// Print the completions for a shell
    Completions(Completions),
}

#[derive(Args, Debug)]
pub(crate) struct Login {
    /// Your account's e-mail address; asked for if it is not given
    pub(crate) email: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Host {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// Whom the first code is for
    #[arg(long, value_name = "ROLE", default_value = "customer")]
    pub(crate) code_role: CodeRole,
}

#[derive(Args, Debug)]
pub(crate) struct Join {
    /// Such as '483-920-117 lucky-ocean-zoo'; asked for if it is not given, which keeps it out of the list of
    /// processes. Spaces, hyphens and capitals do not matter
    #[arg(value_name = "CODE")]
    pub(crate) code: Vec<String>,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
}

/// How one takes part.
#[derive(Args, Debug)]
pub(crate) struct SessionArgs {
    /// What the others see as your name [default: your account's or computer's user name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Answer these questions with yes beforehand: join, member, files, all
    #[arg(long, value_name = "LIST", value_parser = accept::parse, default_value = "", hide_default_value = true)]
    pub(crate) accept: Accept,
    /// Where received files go [default: your download folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) download_dir: Option<PathBuf>,
    /// Attach to this node first, instead of where the broker says; again for the one to stand by at
    #[arg(long = "node", value_name = "HOST:PORT", value_parser = node)]
    pub(crate) nodes: Vec<String>,
    /// Events and commands as lines, also on a terminal
    #[arg(long)]
    pub(crate) json: bool,
}

/// An address that can be dialled.
fn node(text: &str) -> Result<String, String> {
    let port = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(1..) => Ok(text.to_owned()),
        _ => Err("name a host and a port, such as relay.example.org:8200".to_owned()),
    }
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: Shell,
}

/// The role of the first code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CodeRole {
    /// For a customer
    Customer,
    /// For another support provider
    Provider,
    /// No code until /invite
    None,
}

impl CodeRole {
    pub(crate) fn role(self) -> Option<Role> {
        match self {
            CodeRole::Customer => Some(Role::Customer),
            CodeRole::Provider => Some(Role::Provider),
            CodeRole::None => None,
        }
    }
}

/// A join code from the words of a command line or of one line.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn code(words: &[String]) -> Result<JoinCode, String> {
    words.join(" ").parse::<JoinCode>().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_usual_command_lines_are_read() {
        let cli = Cli::try_parse_from([
            "sealcast",
            "host",
            "--accept",
            "join,files",
            "--invite",
            "x",
            "--ports",
            "1,2",
        ]);
        let cli = cli.unwrap();
        assert_eq!((cli.global.invite, cli.global.ports), (Some("x".into()), vec![1, 2]));
        let Action::Host(host) = cli.action else { panic!() };
        assert_eq!(host.session.accept, Accept { join: true, member: false, files: true });
        assert_eq!(host.code_role.role(), Some(Role::Customer));
        let cli = Cli::try_parse_from(["sealcast", "join", "483-920-117", "lucky-ocean-zoo"]).unwrap();
        let Action::Join(join) = cli.action else { panic!() };
        assert_eq!(join.code.len(), 2);
        for wrong in [
            &["sealcast"][..],
            &["sealcast", "host", "--accept", "view"],
            &["sealcast", "join", "--ports", "0"],
        ] {
            assert_eq!(Cli::try_parse_from(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
