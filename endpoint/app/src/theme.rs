//! Colours and emphases by meaning. Without colour (`NO_COLOR`) everything still differs by weight and by words.

use ratatui::style::{Color, Modifier, Style};
use sealcast_endpoint::SenderNumber;

/// What a piece of text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ink {
    Plain,
    Title,
    Dim,
    Good,
    Warning,
    Question,
    Code,
    Bar,
    Member(SenderNumber),
}

/// How ink looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    colour: bool,
}

/// Members are told apart by these, by number; all readable on dark and on light.
const MEMBERS: [Color; 6] =
    [Color::Cyan, Color::Green, Color::Magenta, Color::Blue, Color::Yellow, Color::LightRed];

impl Theme {
    /// With colour unless `NO_COLOR` is set to something (no-color.org).
    pub(crate) fn from_environment() -> Theme {
        Theme::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    pub(crate) const fn new(colour: bool) -> Theme {
        Theme { colour }
    }

    pub(crate) fn style(self, ink: Ink) -> Style {
        let emphasis = match ink {
            Ink::Plain | Ink::Good | Ink::Bar => Modifier::empty(),
            Ink::Dim => Modifier::DIM,
            Ink::Title | Ink::Warning | Ink::Question | Ink::Code | Ink::Member(_) => Modifier::BOLD,
        };
        let style = Style::default().add_modifier(emphasis);
        if !self.colour {
            return style;
        }
        match ink {
            Ink::Plain | Ink::Title | Ink::Dim => style,
            Ink::Good => style.fg(Color::Green),
            Ink::Warning | Ink::Question => style.fg(Color::Yellow),
            Ink::Code | Ink::Bar => style.fg(Color::Cyan),
            Ink::Member(number) => style.fg(MEMBERS[usize::from(number.value() - 1) % MEMBERS.len()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_there_is_none() {
        let theme = Theme::new(false);
        for number in [1, 7, u16::MAX] {
            let number = SenderNumber::new(number).unwrap();
            for ink in
                [Ink::Plain, Ink::Good, Ink::Warning, Ink::Question, Ink::Code, Ink::Bar, Ink::Member(number)]
            {
                assert_eq!((theme.style(ink).fg, theme.style(ink).bg), (None, None), "{ink:?}");
            }
            assert!(Theme::new(true).style(Ink::Member(number)).fg.is_some());
        }
    }
}
