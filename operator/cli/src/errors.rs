//! Errors and names for a terminal.

use std::error::Error;

/// An error and what caused it, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    plain(&text)
}

/// Without what a terminal would take for a command.
pub(crate) fn plain(text: &str) -> String {
    let visible = |letter: char| match letter {
        '\n' => ' ',
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        letter => letter,
    };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(plain("a\u{1b}[2J\nb"), "a\u{fffd}[2J b");
    }
}
