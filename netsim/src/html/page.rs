//! The page's frame: head, style, sections, figures and the escaping of everything that comes from outside.
//!
//! Knows nothing of what is reported. Nothing in a page is loaded from anywhere, and nothing in it runs.

use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// A page in the making.
pub(super) struct Page {
    body: String,
}

/// A word with what it says of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mood {
    Good,
    Bad,
}

impl Page {
    /// Begins with the title, the verdict and a sentence about what was played.
    pub(super) fn new(kind: &str, name: &str, (mood, verdict): (Mood, &str), about: &str) -> Page {
        let (class, sign) = match mood {
            Mood::Good => ("good", "✓"),
            Mood::Bad => ("bad", "✗"),
        };
        let (kind, name, verdict, about) = (escaped(kind), escaped(name), escaped(verdict), escaped(about));
        let body = format!(
            "<header>\n<p class=\"kind\">{kind}</p>\n<h1>{name}</h1>\n<p class=\"about\">{about}</p>\n\
             <p class=\"verdict {class}\"><span aria-hidden=\"true\">{sign}</span> {verdict}</p>\n</header>\n<main>\n"
        );
        Page { body }
    }

    /// The figures that matter most, large: each value with what it is.
    pub(super) fn headline(&mut self, figures: &[(String, String)]) {
        self.body.push_str("<dl class=\"headline\">\n");
        for (value, name) in figures {
            let (value, name) = (escaped(value), escaped(name));
            let _ = writeln!(self.body, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        self.body.push_str("</dl>\n");
    }

    /// A section; `inner` is HTML, made of escaped parts.
    pub(super) fn section(&mut self, title: &str, note: &str, inner: &str) {
        let note = if note.is_empty() { String::new() } else { format!("<p class=\"note\">{note}</p>\n") };
        let _ = writeln!(self.body, "<section>\n<h2>{}</h2>\n{note}{inner}</section>", escaped(title));
    }

    /// The whole document.
    pub(super) fn finish(self, title: &str, foot: &str) -> String {
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}</main>\n<footer>{}</footer>\n</body>\n</html>\n",
            escaped(title),
            self.body,
            escaped(foot)
        )
    }
}

/// A picture with its title above and what one has to know below; both are HTML, made of escaped parts.
pub(super) fn figure(class: &str, title: &str, picture: &str, note: &str) -> String {
    let title = if title.is_empty() { String::new() } else { format!("<h3>{title}</h3>\n") };
    let note = if note.is_empty() { String::new() } else { format!("<figcaption>{note}</figcaption>\n") };
    format!("<figure class=\"{class}\">\n{title}{picture}{note}</figure>\n")
}

/// Pictures side by side where there is room.
pub(super) fn row(class: &str, figures: &[String]) -> String {
    if figures.is_empty() {
        String::new()
    } else {
        format!("<div class=\"{class}\">\n{}</div>\n", figures.concat())
    }
}

/// Text from anywhere, as text in a page or an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            one if one.is_control() => out.push(' '),
            one => out.push(one),
        }
    }
    out
}

/// A time of the run, as `1:05` or `1:00:05`; with what is left of a second if there is something.
pub(super) fn clock(ms: u64) -> String {
    let (hours, minutes, seconds, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    let rest = match rest {
        0 => String::new(),
        rest => format!(".{rest:03}").trim_end_matches('0').to_owned(),
    };
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}{rest}")
    } else {
        format!("{minutes}:{seconds:02}{rest}")
    }
}

/// A whole number with its thousands apart.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            // A narrow space that does not break.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escaped("<script>alert('&\"')</script>\n"),
            "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt; "
        );
    }

    #[test]
    fn times_and_numbers_are_readable() {
        assert_eq!([0, 65_000, 3_605_250].map(clock), ["0:00", "1:05", "1:00:05.25"]);
        assert_eq!([7, 1_000, 12_345_678].map(thousands), ["7", "1\u{202f}000", "12\u{202f}345\u{202f}678"]);
    }
}
