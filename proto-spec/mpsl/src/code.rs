//! Join codes: nine digits that a server resolves, and words that no server ever sees \[COD-4\]. Owns their form,
//! making and reading; never compares them, that is SRP's work.

use std::fmt;

use bip39::Language;
use proto_spec::SessionNumber;
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::limits::{CODE_TEXT_MAX, CODE_WORDS};

/// Digits of a session number.
const DIGITS: usize = 9;

/// The secret words of a code, erased when dropped \[COD-4\].
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Words([u16; CODE_WORDS]);

impl Words {
    /// Fresh words: 11 random bits each.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let list_mask = u32::from(u16::try_from(word_list().len() - 1).expect("2,048 words"));
        Words(std::array::from_fn(|_| (rng.next_u32() & list_mask) as u16))
    }

    /// SRP's P \[SRP-1\]: the words in lower case, joined by hyphens.
    pub fn phrase(&self) -> Zeroizing<String> {
        let list = word_list();
        // Room for the longest words: growing would leave a copy behind.
        let mut phrase = Zeroizing::new(String::with_capacity(CODE_WORDS * 9));
        for index in self.0 {
            if !phrase.is_empty() {
                phrase.push('-');
            }
            phrase.push_str(list[usize::from(index)]);
        }
        phrase
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(..)")
    }
}

/// A whole join code. Displays as people read it aloud, `483-920-117 lucky-ocean-zoo`; `Debug` shows nothing.
///
/// ```
/// use sealcast_mpsl::JoinCode;
///
/// let code: JoinCode = "483 920 117, Lucky Abandon zoo".parse()?;
/// assert_eq!(code.to_string(), "483-920-117 lucky-abandon-zoo");
/// assert_eq!(format!("{code:?}"), "JoinCode(..)");
/// # Ok::<(), sealcast_mpsl::code::CodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct JoinCode {
    /// What the gateway resolves.
    pub number: SessionNumber,
    /// What only the two people know.
    pub words: Words,
}

impl JoinCode {
    /// A code for a number with fresh words.
    pub fn generate(number: SessionNumber, rng: &mut impl CryptoRng) -> Self {
        JoinCode { number, words: Words::generate(rng) }
    }
}

impl fmt::Display for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.words.phrase().as_str())
    }
}

impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinCode(..)")
    }
}

/// What is wrong with a typed code. Never says which word it is: what was typed may be shown on a shared screen or kept
/// in a log \[COD-2\].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CodeError {
    /// Nothing was typed.
    #[error("no code was given; it looks like 483-920-117 followed by three words")]
    Empty,
    /// Far too long to be a code.
    #[error("this is too long for a code; it is nine digits followed by three words")]
    TooLong,
    /// Another count of digits than nine, or digits after the words, or a leading zero.
    #[error("a code starts with nine digits, the first of them not 0; please check the number")]
    Number,
    /// A character that no code holds.
    #[error("a code holds only digits, letters, spaces, commas and hyphens")]
    Character,
    /// The digits are there, the words are not, or not three.
    #[error("a code ends with three words; please check that none is missing and none too many")]
    WordCount,
    /// Not words of the list.
    #[error("a word of the code is misspelt; please ask for the words to be spelt out")]
    UnknownWord,
}

impl std::str::FromStr for JoinCode {
    type Err = CodeError;

    /// Reads what people type \[COD-2\]: case, spaces, hyphens, commas and full stops between digits and words do not
    /// matter, nor does it if words are run together.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        if text.len() > CODE_TEXT_MAX {
            return Err(CodeError::TooLong);
        }
        let is_separator =
            |c: char| c.is_whitespace() || matches!(c, '-' | ',' | '.' | '\u{2010}'..='\u{2015}');
        if text.chars().all(is_separator) {
            return Err(CodeError::Empty);
        }
        let mut digits = Zeroizing::new(String::with_capacity(CODE_TEXT_MAX));
        let mut letters = Zeroizing::new(String::with_capacity(CODE_TEXT_MAX + 1));
        for c in text.chars() {
            match c {
                c if c.is_ascii_digit() && letters.is_empty() => digits.push(c),
                c if c.is_ascii_digit() => return Err(CodeError::Number),
                c if c.is_ascii_alphabetic() => letters.push(c.to_ascii_lowercase()),
                // One space stands for any run of separators between words.
                c if is_separator(c) => {
                    if !letters.is_empty() && !letters.ends_with(' ') {
                        letters.push(' ');
                    }
                }
                _ => return Err(CodeError::Character),
            }
        }
        if digits.len() != DIGITS {
            return Err(CodeError::Number);
        }
        let number = digits.parse().ok().and_then(SessionNumber::new).ok_or(CodeError::Number)?;
        Ok(JoinCode { number, words: read_words(letters.trim_end())? })
    }
}

fn word_list() -> &'static [&'static str; 2048] {
    Language::English.word_list()
}

/// The list is in alphabetical order.
fn find_word(word: &str) -> Option<u16> {
    word_list().binary_search(&word).ok().and_then(|index| u16::try_from(index).ok())
}

fn read_words(text: &str) -> Result<Words, CodeError> {
    let separated = text.split(' ').filter(|word| !word.is_empty());
    let count = separated.clone().count();
    if count == CODE_WORDS {
        let mut words = Words([0; CODE_WORDS]);
        let mut known = 0;
        for (index, word) in
            words.0.iter_mut().zip(separated).filter_map(|(i, w)| find_word(w).map(|w| (i, w)))
        {
            *index = word;
            known += 1;
        }
        if known == CODE_WORDS {
            return Ok(words);
        }
    }
    // Run together or pulled apart: accept if the letters make three words in one way alone.
    let letters = Zeroizing::new(text.replace(' ', ""));
    let mut found = Vec::with_capacity(2);
    divide(&letters, &mut Words([0; CODE_WORDS]), 0, &mut found);
    match (found.len(), count) {
        (1, _) => Ok(found.remove(0)),
        (_, CODE_WORDS) => Err(CodeError::UnknownWord),
        (_, _) => Err(CodeError::WordCount),
    }
}

/// Collects up to two ways to divide `letters` into words, from the `at`th word on. Words have 3 to 8 letters, so the
/// search visits at most 6 x 6 places.
fn divide(letters: &str, words: &mut Words, at: usize, found: &mut Vec<Words>) {
    if at == CODE_WORDS {
        if letters.is_empty() && found.len() < 2 {
            found.push(words.clone());
        }
        return;
    }
    for length in 3..=8.min(letters.len()) {
        let (head, tail) = letters.split_at(length);
        if let Some(word) = find_word(head) {
            words.0[at] = word;
            divide(tail, words, at + 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// \[COD-1\]: the list is what the code's form relies on.
    #[test]
    fn list_is_sorted_and_words_differ_in_their_first_four_letters() {
        let list = word_list();
        assert_eq!(list.len(), 2048);
        let start = |word: &'static str| &word[..word.len().min(4)];
        assert!(list.windows(2).all(|pair| pair[0] < pair[1] && start(pair[0]) != start(pair[1])));
        assert!(list.iter().all(|word| (3..=8).contains(&word.len())));
        assert!(list.iter().all(|word| word.bytes().all(|letter| letter.is_ascii_lowercase())));
    }

    /// \[COD-1\]: what is displayed reads back; codes differ.
    #[test]
    fn generated_codes_read_back() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let number = SessionNumber::new(483_920_117).unwrap();
        let codes: Vec<_> = (0..200).map(|_| JoinCode::generate(number, &mut rng)).collect();
        for code in &codes {
            assert_eq!(code.to_string().parse().as_ref(), Ok(code));
            assert_eq!(code.to_string().to_uppercase().replace('-', " ").parse().as_ref(), Ok(code));
        }
        assert!(codes.windows(2).all(|pair| pair[0].words != pair[1].words));
    }

    /// \[COD-2\]: however it is typed.
    #[test]
    fn typing_is_forgiven() {
        let expected = "483-920-117 lucky-abandon-zoo";
        for typed in [
            "483920117 lucky abandon zoo",
            "483920117luckyabandonzoo",
            " 483 920 117 , LUCKY, Abandon ,zoo. ",
            "4-8-3-9-2-0-1-1-7-lucky-abandon-zoo",
            "483\u{2011}920\u{2013}117\u{a0}lucky abandon zoo\r\n",
            "483920117 lucky aban don zoo",
        ] {
            assert_eq!(
                typed.parse::<JoinCode>().map(|code| code.to_string()).as_deref(),
                Ok(expected),
                "{typed}"
            );
        }
    }

    /// \[COD-2\]: what is wrong is said, which word it is is not.
    #[test]
    fn wrong_codes_are_explained_without_their_words() {
        for (typed, error) in [
            ("", CodeError::Empty),
            (" - ", CodeError::Empty),
            ("lucky abandon zoo", CodeError::Number),
            ("48392011 lucky abandon zoo", CodeError::Number),
            ("4839201177 lucky abandon zoo", CodeError::Number),
            ("083920117 lucky abandon zoo", CodeError::Number),
            ("483920117", CodeError::WordCount),
            ("483920117 lucky abandon", CodeError::WordCount),
            ("483920117 lucky abandon zoo zoo", CodeError::WordCount),
            ("483920117 lucky abandon qqqq", CodeError::UnknownWord),
            ("483920117 lucky abandon zoo 1", CodeError::Number),
            ("483920117 lucky abandon zo\u{f6}", CodeError::Character),
            ("483920117 lucky/abandon/zoo", CodeError::Character),
        ] {
            assert_eq!(typed.parse::<JoinCode>(), Err(error), "{typed}");
            assert!(!error.to_string().contains("qqqq"));
        }
        assert_eq!("1".repeat(CODE_TEXT_MAX + 1).parse::<JoinCode>(), Err(CodeError::TooLong));
    }

    /// \[COD-4\]: neither half is printed by accident, and words are erased.
    #[test]
    fn codes_do_not_leak_into_logs() {
        fn erased<T: ZeroizeOnDrop>(_: &T) {}
        let code: JoinCode = "483920117 lucky abandon zoo".parse().unwrap();
        erased(&code.words);
        let shown = format!("{code:?} {:?} {:#?}", code.words, code.number);
        assert!(!["lucky", "abandon", "zoo", "483"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}
