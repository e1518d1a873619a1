//! Questions to the person at the terminal. Answers never come from arguments.

use std::io::{BufRead, IsTerminal, Read, Write};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// Longest password read, as the broker takes them, and a line end.
const PASSWORD_LENGTH_MAX: usize = 256;

/// A new password: asked for twice on a terminal, or one line of standard input.
pub(crate) fn new_password(from_stdin: bool) -> Result<Zeroizing<String>, Failure> {
    if from_stdin {
        return password_line(std::io::stdin().lock());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to be asked for the password: use --password-stdin"));
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .map_err(|error| Failure::other(format!("the password could not be read: {error}")))
    };
    let password = ask("Password: ")?;
    if *ask("Again: ")? != *password {
        return Err(Failure::other("the two passwords differ: try again"));
    }
    Ok(password)
}

fn password_line(input: impl BufRead) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(PASSWORD_LENGTH_MAX + 2));
    input
        .take(PASSWORD_LENGTH_MAX as u64 + 2)
        .read_line(&mut line)
        .map_err(|error| Failure::other(format!("the password could not be read: {error}")))?;
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    if line.is_empty() {
        return Err(Failure::usage("standard input holds no password"));
    }
    if line.len() > PASSWORD_LENGTH_MAX {
        return Err(Failure::usage(format!("the password is longer than {PASSWORD_LENGTH_MAX} bytes")));
    }
    Ok(line)
}

/// Asks before something cannot be undone; `yes` answers beforehand.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} Nobody is there to be asked: add --yes")));
    }
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .take(16)
        .read_line(&mut answer)
        .map_err(|error| Failure::other(format!("the answer could not be read: {error}")))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::other("nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_a_password_up_to_the_limit() {
        assert_eq!(*password_line(b"correct horse 1\r\nmore".as_slice()).unwrap(), "correct horse 1");
        assert!(password_line(b"\n".as_slice()).is_err());
        let longest = "p".repeat(PASSWORD_LENGTH_MAX);
        assert_eq!(*password_line(format!("{longest}\n").as_bytes()).unwrap(), longest);
        assert!(password_line(format!("{longest}p\n").as_bytes()).is_err());
    }
}
