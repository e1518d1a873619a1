//! Making a file's name safe: whatever a member claims, what comes out is a plain name in the download folder.

use proto_spec::app::FILE_NAME_LENGTH_MAX;

/// The name used when nothing is left of the claimed one.
const NAMELESS: &str = "file";

/// Device names that some systems give to no file, with or without an extension.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// A name without folders, of at most [`FILE_NAME_LENGTH_MAX`] bytes, that is safe on any system \[APP-4\].
///
/// Only what follows the last separator counts. Control and direction-changing characters are dropped, characters that
/// some systems refuse become `_`, as do a leading dot or dash and trailing dots and spaces; device names are prefixed.
pub fn safe_name(claimed: &str) -> String {
    let base = claimed.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible = base.chars().filter(|character| !is_invisible(*character));
    let mut name: String = visible
        .map(
            |character| {
                if matches!(character, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { character }
            },
        )
        .collect();
    name = shortened(name.trim_matches(char::is_whitespace));
    let hidden = name.starts_with(['.', '-', '~']);
    if hidden {
        name.replace_range(..1, "_");
    }
    while name.ends_with(|end: char| end == '.' || end.is_whitespace()) {
        name.pop();
    }
    if name.chars().all(|character| matches!(character, '_' | '.')) {
        return NAMELESS.to_owned();
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    if RESERVED.iter().any(|reserved| stem.eq_ignore_ascii_case(reserved)) {
        name = shortened(&format!("_{name}"));
    }
    name
}

/// A further name for the same file: `name (1).ext`, `name (2).ext` and so on, of at most [`FILE_NAME_LENGTH_MAX`]
/// bytes. `name` is a safe one.
pub fn numbered_name(name: &str, number: u32) -> String {
    let (stem, extension) = split(name);
    let suffix = format!(" ({number}){extension}");
    let room = FILE_NAME_LENGTH_MAX.saturating_sub(suffix.len());
    format!("{}{suffix}", cut(stem, room).trim_end())
}

/// Stem, and the extension with its dot; an extension is short.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= 16 => name.split_at(at),
        _ => (name, ""),
    }
}

/// Keeps the extension of a name that is too long.
fn shortened(name: &str) -> String {
    if name.len() <= FILE_NAME_LENGTH_MAX {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    format!("{}{extension}", cut(stem, FILE_NAME_LENGTH_MAX - extension.len()))
}

/// At most `length` bytes, never half a character.
fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// Control characters, and those that hide, join or turn around what is read.
const fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffc}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// \[APP-4\]: what members may claim, and what is made of it.
    #[test]
    fn names_are_made_safe() {
        for (claimed, safe) in [
            ("report.pdf", "report.pdf"),
            ("two words.tar.gz", "two words.tar.gz"),
            ("grüße 你好.txt", "grüße 你好.txt"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Windows\\system.ini", "system.ini"),
            ("/absolute", "absolute"),
            ("folder/", "file"),
            ("", "file"),
            (".", "file"),
            ("..", "file"),
            ("...", "file"),
            ("   ", "file"),
            (".bashrc", "_bashrc"),
            ("-rf", "_rf"),
            ("a\u{0}b\nc\u{1b}[31m", "abc[31m"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("zero\u{200b}width", "zerowidth"),
            ("what?.txt", "what_.txt"),
            ("stream.txt:hidden", "stream.txt_hidden"),
            ("trailing. . .", "trailing"),
            ("no-break\u{a0}.", "no-break"),
            ("CON", "_CON"),
            ("con.txt", "_con.txt"),
            ("Lpt1.log", "_Lpt1.log"),
            ("console.txt", "console.txt"),
        ] {
            assert_eq!(safe_name(claimed), safe, "of {claimed:?}");
        }
    }

    /// \[APP-4\]: long names keep their extension.
    #[test]
    fn long_names_keep_their_extension() {
        let name = safe_name(&format!("{}.jpeg", "ü".repeat(300)));
        assert!(name.len() <= FILE_NAME_LENGTH_MAX && name.ends_with("ü.jpeg"));
        let name = numbered_name(&name, 12);
        assert!(name.len() <= FILE_NAME_LENGTH_MAX && name.ends_with("ü (12).jpeg"));
    }

    #[test]
    fn further_names_are_numbered() {
        assert_eq!(numbered_name("report.pdf", 1), "report (1).pdf");
        assert_eq!(numbered_name("Makefile", 2), "Makefile (2)");
        assert_eq!(numbered_name("_bashrc", 1), "_bashrc (1)");
    }

    proptest! {
        /// \[APP-4\]: no name escapes its folder, hides, or is too long.
        #[test]
        fn no_name_is_unsafe(claimed in "\\PC{0,300}|[./\\\\ -~\u{202e}\u{0}a]{0,40}") {
            let name = safe_name(&claimed);
            prop_assert!((1..=FILE_NAME_LENGTH_MAX).contains(&name.len()));
            let separators = ['/', '\\', '\u{0}', ':', '\u{202e}'];
            prop_assert!(!name.contains(separators));
            prop_assert!(!name.starts_with(['.', '-', ' ']) && !name.ends_with(['.', ' ']));
            prop_assert!(!name.chars().any(char::is_control));
            prop_assert_eq!(safe_name(&name), name);
        }
    }
}
