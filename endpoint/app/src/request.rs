//! What a typed line asks for, the same on a terminal and from a script. Text becomes a [`Request`] here, and nowhere
//! else; carrying it out is the session's.

use std::path::PathBuf;

use sealcast_endpoint::event::{PromptId, TransferId};
use sealcast_endpoint::{Command, Role, SenderNumber};

/// Longest line read, in bytes: a chat text of 4,096 bytes and a path of 4,096 fit with room to spare; a longer line
/// is refused whole, so that its end is never taken for a command.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// A line, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// For the session.
    Command(Command),
    /// Tell who is here.
    Who,
    /// Tell the commands.
    Help,
    /// An empty line.
    Nothing,
}

/// Every command with its meaning, for `/help` and the documentation.
pub(crate) const HELP: [(&str, &str); 13] = [
    ("TEXT  or  /say TEXT", "chat to everybody; // at the beginning says a line that begins with a slash"),
    ("/send PATH [to N[,N]]", "offer a file to everybody, or to the members with these numbers"),
    ("/cancel FROM:SERIAL", "give up a transfer, for example /cancel 2:1"),
    (
        "/invite [provider|customer]",
        "show a code under which one more may join; a provider if nothing is said",
    ),
    ("/remove N", "remove a member and change the keys"),
    ("/allow ID", "answer a question with yes"),
    ("/deny ID", "answer a question with no"),
    ("/who", "tell who is here"),
    ("/leave", "leave; the others go on, unless you lead: that ends the session"),
    ("/end", "end the session for everybody: the leader's, and a customer's"),
    ("/help", "show this"),
    ("Ctrl-C", "leave politely; a second time: at once"),
    ("Page Up, Page Down", "move through the log"),
];

/// Understands a line.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn parse(line: &str) -> Result<Request, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!(
            "the line is longer than {LINE_BYTES_MAX} bytes and was ignored: send a file instead"
        ));
    }
    let line = line.trim();
    if line.is_empty() {
        return Ok(Request::Nothing);
    }
    let Some(command) = line.strip_prefix('/') else {
        return Ok(say(line));
    };
    if command.starts_with('/') {
        return Ok(say(command));
    }
    let (word, rest) = match command.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (command, ""),
    };
    let alone = |request: Request| match rest {
        "" => Ok(request),
        _ => Err(format!("/{word} takes nothing after it")),
    };
    match word {
        "say" if rest.is_empty() => Err("say what? For example: /say good morning".into()),
        "say" => Ok(say(rest)),
        "send" => send(rest),
        "cancel" => Ok(Request::Command(Command::Cancel { transfer: transfer(rest)? })),
        "invite" => Ok(Request::Command(Command::Invite { role: role(rest)? })),
        "remove" => Ok(Request::Command(Command::Remove { number: number(rest)? })),
        "allow" | "deny" => {
            Ok(Request::Command(Command::Answer { prompt: prompt(rest)?, allow: word == "allow" }))
        }
        "who" => alone(Request::Who),
        "help" | "?" => alone(Request::Help),
        "leave" | "quit" | "exit" => alone(Request::Command(Command::Leave)),
        "end" => alone(Request::Command(Command::End)),
        other => Err(format!(
            "there is no command /{other}: /help lists them, and // at the beginning says a line that begins with a slash"
        )),
    }
}

fn say(text: &str) -> Request {
    Request::Command(Command::Say { text: text.to_owned() })
}

/// `PATH [to N[,N]]`, where a path in double quotes may itself end in " to 2".
fn send(rest: &str) -> Result<Request, String> {
    const USAGE: &str = "send what? For example: /send report.pdf, or /send report.pdf to 2,3";
    let (path, to) = if let Some(quoted) = rest.strip_prefix('"') {
        let Some((path, after)) = quoted.split_once('"') else {
            return Err("the closing quote after the path is missing".into());
        };
        match after.trim().strip_prefix("to ") {
            Some(list) => (path, numbers(list)?),
            None if after.trim().is_empty() => (path, Vec::new()),
            None => return Err(USAGE.into()),
        }
    } else {
        match rest.rsplit_once(" to ").and_then(|(path, list)| Some((path.trim_end(), numbers(list).ok()?))) {
            Some((path, to)) => (path, to),
            None => (rest, Vec::new()),
        }
    };
    if path.is_empty() {
        return Err(USAGE.into());
    }
    Ok(Request::Command(Command::Send { path: expand_home(path), to }))
}

/// `~/x` as a shell would read it: people expect it here too.
fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

fn numbers(list: &str) -> Result<Vec<SenderNumber>, String> {
    list.split(',').map(|text| number(text.trim())).collect()
}

fn number(text: &str) -> Result<SenderNumber, String> {
    text.parse::<u16>()
        .ok()
        .and_then(SenderNumber::new)
        .ok_or_else(|| "say which member by number, as /who shows it; for example: /remove 3".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "" | "provider" => Ok(Role::Provider),
        "customer" => Ok(Role::Customer),
        _ => Err("invite a provider or a customer: /invite provider, or /invite customer".into()),
    }
}

fn prompt(text: &str) -> Result<PromptId, String> {
    text.parse()
        .map(PromptId)
        .map_err(|_| "say which question by its number, for example: /allow 1".to_owned())
}

fn transfer(text: &str) -> Result<TransferId, String> {
    let usage = || "say which transfer as FROM:SERIAL, for example: /cancel 2:1".to_owned();
    let (from, serial) = text.split_once(':').ok_or_else(usage)?;
    Ok(TransferId {
        from: from.parse().ok().and_then(SenderNumber::new).ok_or_else(usage)?,
        serial: serial.parse().map_err(|_| usage())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(number: u16) -> SenderNumber {
        SenderNumber::new(number).unwrap()
    }

    fn command(line: &str) -> Command {
        match parse(line) {
            Ok(Request::Command(command)) => command,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn lines_become_commands() {
        assert_eq!(command(" hello /there "), Command::Say { text: "hello /there".into() });
        assert_eq!(command("/say  hi"), Command::Say { text: "hi".into() });
        assert_eq!(command("//etc is a folder"), Command::Say { text: "/etc is a folder".into() });
        assert_eq!(command("/send a b.txt"), Command::Send { path: "a b.txt".into(), to: vec![] });
        assert_eq!(
            command("/send a to b to 2,3"),
            Command::Send { path: "a to b".into(), to: vec![n(2), n(3)] }
        );
        assert_eq!(command("/send a to 0"), Command::Send { path: "a to 0".into(), to: vec![] });
        assert_eq!(command("/send \"a to 2\""), Command::Send { path: "a to 2".into(), to: vec![] });
        assert_eq!(command("/send \"a to 2\" to 4"), Command::Send { path: "a to 2".into(), to: vec![n(4)] });
        assert_eq!(command("/invite"), Command::Invite { role: Role::Provider });
        assert_eq!(command("/invite customer"), Command::Invite { role: Role::Customer });
        assert_eq!(command("/remove 65535"), Command::Remove { number: n(65535) });
        assert_eq!(command("/allow 7"), Command::Answer { prompt: PromptId(7), allow: true });
        assert_eq!(command("/deny 7"), Command::Answer { prompt: PromptId(7), allow: false });
        assert_eq!(
            command("/cancel 2:9"),
            Command::Cancel { transfer: TransferId { from: n(2), serial: 9 } }
        );
        assert_eq!(command("/leave"), Command::Leave);
        assert_eq!(command("/end"), Command::End);
        assert_eq!(parse("/who"), Ok(Request::Who));
        assert_eq!(parse("/help"), Ok(Request::Help));
        assert_eq!(parse("   "), Ok(Request::Nothing));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in [
            "/say",
            "/send",
            "/send \"a",
            "/send \"a\" b",
            "/send \"a\" to x",
            "/remove",
            "/remove 0",
            "/remove 65536",
            "/invite me",
            "/allow",
            "/deny x",
            "/cancel 2",
            "/cancel 0:1",
            "/end now",
            "/frobnicate",
            "/",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse(&"x".repeat(LINE_BYTES_MAX + 1)).is_err());
        assert!(parse(&"x".repeat(LINE_BYTES_MAX)).is_ok());
    }

    #[test]
    fn every_command_of_the_help_is_known_and_documented() {
        let text = include_str!("../../../docs/EVENTS.md");
        for (usage, _) in HELP.iter().filter(|(usage, _)| usage.starts_with('/')) {
            let word = usage.split_whitespace().next().unwrap();
            let answer = parse(word);
            assert!(!matches!(&answer, Err(text) if text.contains("there is no command")), "{word}");
            assert!(
                text.contains(&format!("`{}`", usage.replace('|', "\\|"))),
                "docs/EVENTS.md lacks {usage}"
            );
        }
    }
}
