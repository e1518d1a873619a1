//! Makes text from peers fit for a terminal: no control characters, no escape sequences, nothing that turns the
//! direction of reading or hides itself. Every name, file name, chat line and sentence passes here before it is drawn
//! or written; nothing else in the program decides what is harmless.

/// Longest name shown of a member, in characters: what is longer is cut, since it shares a line with others.
pub(crate) const NAME_CHARS_MAX: usize = 24;

/// Longest file name shown, in characters.
pub(crate) const FILE_CHARS_MAX: usize = 60;

/// One line of harmless text: line breaks and tabs become a space, every other forbidden character `\u{fffd}`.
pub(crate) fn line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
            c if forbidden(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// [`line()`], cut to `chars_max` characters with an ellipsis in the middle, so that both a name's beginning and a
/// file's extension stay visible.
pub(crate) fn short(text: &str, chars_max: usize) -> String {
    let text = line(text);
    let count = text.chars().count();
    if count <= chars_max {
        return text;
    }
    let kept = chars_max.saturating_sub(1);
    let tail = kept / 3;
    let head = kept - tail;
    let mut out: String = text.chars().take(head).collect();
    out.push('…');
    out.extend(text.chars().skip(count - tail));
    out
}

/// A member's name.
pub(crate) fn name(text: &str) -> String {
    short(text.trim(), NAME_CHARS_MAX)
}

/// A file's name.
pub(crate) fn file(text: &str) -> String {
    short(text, FILE_CHARS_MAX)
}

/// JSON in which forbidden characters are escaped too. JSON itself escapes only those below U+0020; outside of
/// strings there are none of the others, so that the result is JSON of the same meaning.
pub(crate) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if forbidden(c) {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Controls (C0, DEL, C1), directional controls, invisible joiners and fillers, tags, byte-order mark, noncharacters.
fn forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_cannot_reach_the_terminal() {
        let shown = line("a\u{1b}[2Jb\u{9b}31mc\u{7f}\u{7}\rd\u{202e}exe.txt");
        assert_eq!(shown, "a\u{fffd}[2Jb\u{fffd}31mc\u{fffd}\u{fffd} d\u{fffd}exe.txt");
        assert_eq!(name("  Zoë Ångström  "), "Zoë Ångström");
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(short("abcdefghij", 10), "abcdefghij");
        assert_eq!(short("a-very-long-file-name-indeed.tar.gz", 16), "a-very-lon…ar.gz");
        assert_eq!(short("abc", 0), "…");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let text = serde_json::to_string("x\u{9b}y\u{202e}z\u{e0001}\u{1b}\"\\").unwrap();
        let safe = json(&text);
        assert!(!safe.chars().any(forbidden), "{safe}");
        let (a, b): (String, String) =
            (serde_json::from_str(&text).unwrap(), serde_json::from_str(&safe).unwrap());
        assert_eq!(a, b);
    }
}
