//! `--accept LIST`: which questions are answered with yes beforehand. Owns the words; the session gives the answers.

use sealcast_endpoint::Accept;
use sealcast_endpoint::event::Question;

/// Reads a list such as `join,files`.
///
/// # Errors
/// A sentence naming the word that is unknown.
pub(crate) fn parse(list: &str) -> Result<Accept, String> {
    let mut accept = Accept::default();
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "join" => accept.join = true,
            "member" => accept.member = true,
            "files" => accept.files = true,
            "all" => accept = Accept { join: true, member: true, files: true },
            other => {
                return Err(format!(
                    "'{other}' cannot be accepted beforehand: use join, member, files or all, separated by commas"
                ));
            }
        }
    }
    Ok(accept)
}

/// Whether this question is answered with yes beforehand.
pub(crate) fn covers(accept: Accept, question: &Question) -> bool {
    match question {
        Question::Join { .. } => accept.join,
        Question::Member { .. } => accept.member,
        Question::Files { .. } => accept.files,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_unknown_words_refused() {
        assert_eq!(parse("join, files"), Ok(Accept { join: true, member: false, files: true }));
        assert_eq!(parse("all"), Ok(Accept { join: true, member: true, files: true }));
        assert_eq!(parse(""), Ok(Accept::default()));
        assert!(parse("joint").unwrap_err().contains("'joint'"));
    }
}
