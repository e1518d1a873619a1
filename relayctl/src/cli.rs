//! What can be typed: nouns and verbs, and the options that all share. Parses and nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Administers Sealcast relay nodes: keys and certificates, mesh, accounts, sessions, audit.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 denied, 5 unreachable, 6 partly done.
#[derive(Debug, Parser)]
#[command(name = "relayctl", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How results are written
    #[arg(short, long, global = true, value_enum, default_value = "table", env = "RELAYCTL_OUTPUT")]
    pub(crate) output: Format,
    /// The node's admin socket on this machine
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "SEALCAST_ADMIN_SOCKET",
        conflicts_with = "address"
    )]
    pub(crate) socket: Option<PathBuf>,
    /// A node's administration port elsewhere; wants --cert, --key and --ca
    #[arg(long, global = true, value_name = "HOST:PORT", env = "SEALCAST_ADMIN_ADDRESS")]
    pub(crate) address: Option<String>,
    /// Admin certificate, PEM
    #[arg(long, global = true, value_name = "FILE", env = "SEALCAST_ADMIN_CERT")]
    pub(crate) cert: Option<PathBuf>,
    /// The admin certificate's key, PEM
    #[arg(long, global = true, value_name = "FILE", env = "SEALCAST_ADMIN_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Root certificate of the mesh, PEM
    #[arg(long, global = true, value_name = "FILE", env = "SEALCAST_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Do not ask before something is removed or ended
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
}

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// The same with all columns.
    Wide,
    /// One JSON document, or one a line where records stream.
    Json,
    /// With a header line.
    Csv,
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keys and certificates of a mesh; works on files, needs no node
    #[command(subcommand)]
    Pki(Pki),
    /// Who may log in
    #[command(subcommand)]
    Account(Account),
    /// Support sessions
    #[command(subcommand)]
    Session(Session),
    /// Relay nodes: the one that answers, and the others by their numbers
    #[command(subcommand)]
    Node(Node),
    /// The nodes together: links, ways, how well they are backed up
    #[command(subcommand)]
    Mesh(Mesh),
    /// Where endpoints are sent, and why
    #[command(subcommand)]
    Placement(Placement),
    /// What was done by whom
    #[command(subcommand)]
    Audit(Audit),
    /// Shell completions, to be sourced
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// `relayctl pki`.
#[derive(Debug, Subcommand)]
pub(crate) enum Pki {
    /// A new mesh: its root, and an issuing key under it
    Init {
        /// The mesh's name: lower-case letters, digits, hyphens and dots
        #[arg(long)]
        mesh: String,
        #[command(flatten)]
        dir: PkiDir,
    },
    /// A certificate and its key
    #[command(subcommand)]
    Issue(Issue),
    /// A certificate anew, for the same key, identity and names; the old one is kept in old/ and stays good until its end
    Renew {
        /// The certificate, such as pki/node-1.pem; its key lies beside it
        certificate: PathBuf,
        /// Days of validity
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=1825))]
        days: u32,
        #[command(flatten)]
        dir: PkiDir,
    },
    /// Takes certificates back: writes the next revocation list, and publishes it if --socket or --address names a node
    Revoke {
        /// A certificate's file, or `node N`, `broker N`, `admin NAME` for all that the folder holds of it
        #[arg(required = true, num_args = 1..=2, value_name = "FILE | KIND NAME")]
        what: Vec<String>,
        #[command(flatten)]
        dir: PkiDir,
    },
    /// Puts the newest revocation list in force at a node, which floods it
    Publish {
        #[command(flatten)]
        dir: PkiDir,
    },
    /// What certificates say: one file's, or all of the folder
    Show {
        /// A PEM file
        file: Option<PathBuf>,
        #[command(flatten)]
        dir: PkiDir,
    },
}

/// Where keys and certificates lie.
#[derive(Debug, Args)]
pub(crate) struct PkiDir {
    /// Folder of keys and certificates
    #[arg(long, default_value = "pki", value_name = "DIR", env = "SEALCAST_PKI_DIR")]
    pub(crate) dir: PathBuf,
}

/// `relayctl pki issue`.
#[derive(Debug, Subcommand)]
pub(crate) enum Issue {
    /// For a relay node
    Node {
        /// The node's number in the mesh, 1 to 65535
        #[arg(long)]
        number: u16,
        /// DNS name or IP address under which endpoints reach it; again for more
        #[arg(long = "name", required = true, value_name = "HOST")]
        names: Vec<String>,
        #[command(flatten)]
        common: IssueCommon,
    },
    /// For the broker in a node: signs tickets
    Broker {
        /// The node's number
        #[arg(long)]
        number: u16,
        #[command(flatten)]
        common: IssueCommon,
    },
    /// For a person who runs relayctl from elsewhere
    Admin {
        /// account-admin, network-admin or auditor
        #[arg(long)]
        role: String,
        /// Who it is, for the audit
        #[arg(long)]
        name: String,
        #[command(flatten)]
        common: IssueCommon,
    },
}

/// Options of every certificate.
#[derive(Debug, Args)]
pub(crate) struct IssueCommon {
    /// Days of validity
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=1825))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) dir: PkiDir,
}

/// `relayctl account`.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Add an account; asks for the password
    Add {
        /// E-mail address
        email: String,
        /// Name as others see it; absent: what stands before the @
        #[arg(long)]
        name: Option<String>,
        /// What it may do; again for more
        #[arg(long = "role", value_enum, default_values = ["provider"])]
        roles: Vec<RoleArg>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// All accounts
    List,
    /// One account
    Show {
        /// E-mail address
        email: String,
    },
    /// Nobody logs in to it any more; what it is logged in to ends
    Lock {
        /// E-mail address
        email: String,
    },
    /// Ends a lock, also that after wrong passwords
    Unlock {
        /// E-mail address
        email: String,
    },
    /// Removes it for good
    Remove {
        /// E-mail address
        email: String,
    },
    /// Sets a new password; asks for it
    Passwd {
        /// E-mail address
        email: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

/// Where a password comes from: never from an argument, which others on the machine can read.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// Read the password from standard input, one line
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// Roles of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    /// Manages accounts.
    AccountAdmin,
    /// Manages nodes and sessions.
    NetworkAdmin,
    /// Gives support.
    Provider,
    /// Reads everything, changes nothing.
    Auditor,
}

/// `relayctl session`.
#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// Sessions that last
    List {
        /// Those that have ended too
        #[arg(long)]
        all: bool,
    },
    /// One session: members and traffic
    Show {
        /// The session's id, 32 hexadecimal digits
        id: String,
    },
    /// Ends it for all members
    End {
        /// The session's id, 32 hexadecimal digits
        id: String,
    },
}

/// `relayctl node`.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// All nodes of the mesh
    List,
    /// State, listeners, traffic, refusals and trunks
    Show {
        /// Another node's number
        number: Option<u16>,
    },
    /// Takes a node out of service: its endpoints move, nothing is lost
    Drain {
        /// Another node's number
        number: Option<u16>,
        /// Seconds that it may take; absent: as its configuration says
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
        within: Option<u64>,
    },
    /// Puts it back into service
    Undrain {
        /// Another node's number
        number: Option<u16>,
    },
}

/// `relayctl mesh`.
#[derive(Debug, Subcommand)]
pub(crate) enum Mesh {
    /// Nodes, links, backups, trunks and alarms
    Status,
    /// A picture of it
    Graph {
        /// Write it as SVG to this file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// The ways from the node that answers, hop by hop
    Trace {
        /// To a node's number, or to all nodes of a session's id
        to: String,
    },
    /// The mesh as JSON, for the simulator
    Export {
        /// Into this file; absent: to standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// `relayctl placement`.
#[derive(Debug, Subcommand)]
pub(crate) enum Placement {
    /// The last placements with their reasons, or what one would be
    Explain {
        /// As for a joiner of this session
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// As for an endpoint that measures this round trip in milliseconds; again for more
        #[arg(long = "from", value_name = "HOST[:PORT]:MS")]
        from: Vec<String>,
        /// As for a new session without any round trip
        #[arg(long)]
        new: bool,
    },
}

/// `relayctl audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// The newest records
    Tail {
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
        /// How many of the newest
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        lines: u32,
        /// From this index on, instead of the newest
        #[arg(long, conflicts_with = "lines")]
        from: Option<u64>,
    },
    /// Checks the chain of records: every one is there, in order, unaltered
    Verify {
        /// A file that `audit tail -o json` wrote; absent: what the node holds
        file: Option<PathBuf>,
        /// The mesh's name, for a file
        #[arg(long, requires = "file")]
        mesh: Option<String>,
        /// A broker's certificate, PEM, whose signed checkpoints are checked too; wants --ca; again for more
        #[arg(long = "broker", value_name = "FILE")]
        brokers: Vec<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
