//! Questions on the normal screen, before a session: an address, a password, a code. Asked on standard error, so that
//! standard output stays for data.

use std::io::{self, BufRead, IsTerminal, Write};

use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::typed::{self, Typed};

/// Longest password read, in bytes: longer ones are refused, not cut.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// Asks for a line. The input has to be a terminal: otherwise nobody would see the question.
pub(crate) fn line(question: &str, instead: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, instead));
    }
    eprint!("{question} ");
    io::stderr().flush().map_err(|error| Failure::other(error.to_string()))?;
    match typed::next(&mut io::stdin().lock()) {
        Ok(Some(Typed::Line(line))) => Ok(line.trim().to_owned()),
        Ok(Some(Typed::Unusable)) => {
            Err(Failure::new(Exit::Usage, "that line cannot be used: it is too long"))
        }
        Ok(None) => Err(Failure::new(Exit::Usage, "nothing was entered")),
        Err(error) => Err(Failure::other(format!("the terminal cannot be read: {error}"))),
    }
}

/// Asks for a password without showing it, or reads it from the first line of standard input.
pub(crate) fn password(from_stdin: bool) -> Result<Zeroizing<String>, Failure> {
    let password = if from_stdin {
        password_line(&mut io::stdin().lock())
    } else if io::stdin().is_terminal() {
        rpassword::prompt_password("Password: ").map(Zeroizing::new)
    } else {
        return Err(Failure::new(
            Exit::Usage,
            "there is no terminal to ask for the password: use --password-stdin",
        ));
    };
    let password =
        password.map_err(|error| Failure::other(format!("the password cannot be read: {error}")))?;
    if password.is_empty() {
        return Err(Failure::new(Exit::Usage, "no password was given"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::new(
            Exit::Usage,
            format!("the password is longer than {PASSWORD_BYTES_MAX} bytes"),
        ));
    }
    Ok(password)
}

fn password_line(input: &mut impl BufRead) -> io::Result<Zeroizing<String>> {
    use std::io::Read;
    let mut line = Zeroizing::new(String::new());
    input.by_ref().take(PASSWORD_BYTES_MAX as u64 + 2).read_line(&mut line)?;
    while line.ends_with(['\n', '\r']) {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line() {
        assert_eq!(*password_line(&mut &b"pass word \r\nrest"[..]).unwrap(), "pass word ");
        assert_eq!(*password_line(&mut &b"x"[..]).unwrap(), "x");
        let long = vec![b'x'; 5_000];
        assert!(password_line(&mut &long[..]).unwrap().len() > PASSWORD_BYTES_MAX);
    }
}
