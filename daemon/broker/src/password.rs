//! What a password must be when it is set or changed \[GW-12\]. Hashing is the shell's.
//!
//! zxcvbn measures its own running time, which is not looked at; its verdict depends on the password alone.

use thiserror::Error;

/// Fewest characters.
pub const LENGTH_MIN: usize = 8;
/// Longest password in bytes: no passphrase is longer, and hashing has a bound.
pub const LENGTH_MAX: usize = 256;
/// Lowest accepted score of zxcvbn, 0..=4: 3 takes at least 10^8 guesses, which no lock-out lets through and which cost
/// a thief of the store a month of one core against the hash.
const SCORE_MIN: u8 = 3;

/// Why a password is refused, for the one who chose it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WeakPassword {
    /// Too few characters.
    #[error("the password is too short: use at least {LENGTH_MIN} characters, with letters and digits")]
    TooShort,
    /// Too many bytes.
    #[error("the password is too long: use at most {LENGTH_MAX} bytes")]
    TooLong,
    /// No letter or no digit.
    #[error("the password needs letters and digits: a sentence with a number in it does well")]
    OneKind,
    /// Easily guessed.
    #[error(
        "the password is easily guessed{why}: use a longer one, such as four or more unrelated words and a number"
    )]
    Guessable {
        /// What zxcvbn saw in it, or nothing.
        why: String,
    },
}

/// Checks a password; `about` are texts that a guesser would try first: address, name, mesh.
///
/// # Errors
/// [`WeakPassword`] says what to do better.
pub fn check(password: &str, about: &[&str]) -> Result<(), WeakPassword> {
    if password.chars().count() < LENGTH_MIN {
        return Err(WeakPassword::TooShort);
    }
    if password.len() > LENGTH_MAX {
        return Err(WeakPassword::TooLong);
    }
    if !password.chars().any(char::is_alphabetic) || !password.chars().any(char::is_numeric) {
        return Err(WeakPassword::OneKind);
    }
    // An address is guessed in parts too.
    let parts: Vec<&str> = about
        .iter()
        .flat_map(|text| text.split(['@', '.', ' ', '-', '_']).chain([*text]))
        .filter(|part| part.len() > 2)
        .collect();
    let estimate = zxcvbn::zxcvbn(password, &parts);
    if u8::from(estimate.score()) < SCORE_MIN {
        let why = estimate.feedback().and_then(|feedback| feedback.warning());
        let why = why.map_or(String::new(), |warning| {
            format!(" ({})", warning.to_string().trim_end_matches('.').to_lowercase())
        });
        return Err(WeakPassword::Guessable { why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[GW-12\]: at each limit and one beside it.
    #[test]
    fn weak_passwords_are_named() {
        assert_eq!(check("tr4vel", &[]), Err(WeakPassword::TooShort));
        assert_eq!(check("correct horse battery staple", &[]), Err(WeakPassword::OneKind));
        assert_eq!(check("4711081547110815", &[]), Err(WeakPassword::OneKind));
        for guessable in ["password1", "qwerty12345", "aaaaaaaa1", "abcdefg1"] {
            assert!(matches!(check(guessable, &[]), Err(WeakPassword::Guessable { .. })), "{guessable}");
        }
        assert!(check("vq8-trombone-ledger", &[]).is_ok());
        let long = "vq8-trombone-ledger ".repeat(13);
        assert_eq!(check(&long, &[]), Err(WeakPassword::TooLong));
        assert!(check(&long[..LENGTH_MAX], &[]).is_ok());
    }

    #[test]
    fn what_is_known_of_the_owner_does_not_count() {
        assert!(check("zorquandel7", &[]).is_ok());
        let about = ["zorquandel@example.org"];
        assert!(matches!(check("zorquandel7", &about), Err(WeakPassword::Guessable { .. })));
    }

    #[test]
    fn the_refusal_says_why_and_never_the_password() {
        let text = check("password1", &[]).unwrap_err().to_string();
        assert!(text.contains("easily guessed (") && !text.contains("password1"), "{text}");
    }
}
