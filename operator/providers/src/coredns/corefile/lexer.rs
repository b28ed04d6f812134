//! From text to words, keeping every byte: `lexer.go`, rune by rune.
//!
//! A word carries the text that CoreDNS sees and the bytes it came from. What lies between two words (white
//! space, comments, a byte order mark) is the gap between their spans.

use std::ops::Range;

/// One word with the bytes it was read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lexeme {
    /// What CoreDNS sees: quotes removed, `\"` replaced.
    pub text: String,
    /// Where the word stands in the source, quotes included.
    pub span: Range<usize>,
    /// The line it starts on, counted from 1.
    pub line: usize,
}

/// Splits `source` the way CoreDNS does. Never fails: an unfinished quote ends with the text.
pub(super) fn lex(source: &str) -> Vec<Lexeme> {
    let start = if source.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut lexer = Lexer {
        source,
        at: start,
        line: 1,
    };
    std::iter::from_fn(|| lexer.next_word()).collect()
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl Lexer<'_> {
    fn bump(&mut self) -> Option<char> {
        let next = self.source[self.at..].chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn next_word(&mut self) -> Option<Lexeme> {
        let mut text = String::new();
        let (mut start, mut line) = (self.at, self.line);
        // A comment ends with its line, or with the word that it began inside: `a#b c` reads `a`, `c`.
        let mut comment = false;
        let mut end = start;
        loop {
            let before = self.at;
            let Some(c) = self.bump() else {
                return (!text.is_empty()).then_some(Lexeme {
                    text,
                    span: start..end,
                    line,
                });
            };
            if c.is_whitespace() {
                if c == '\r' {
                    continue;
                }
                if c == '\n' {
                    self.line += 1;
                    comment = false;
                }
                if !text.is_empty() {
                    return Some(Lexeme {
                        text,
                        span: start..end,
                        line,
                    });
                }
                continue;
            }
            comment |= c == '#';
            if comment {
                continue;
            }
            if text.is_empty() {
                (start, line) = (before, self.line);
                if c == '"' {
                    return self.quoted(start, line);
                }
            }
            text.push(c);
            end = self.at;
        }
    }

    fn quoted(&mut self, start: usize, line: usize) -> Option<Lexeme> {
        let mut text = String::new();
        let mut escaped = false;
        while let Some(c) = self.bump() {
            match c {
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                '"' if !escaped => {
                    return Some(Lexeme {
                        text,
                        span: start..self.at,
                        line,
                    });
                }
                '\n' => self.line += 1,
                _ => {}
            }
            if escaped && c != '"' {
                text.push('\\');
            }
            text.push(c);
            escaped = false;
        }
        (!text.is_empty()).then_some(Lexeme {
            text,
            span: start..self.at,
            line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<(String, usize)> {
        lex(source)
            .into_iter()
            .map(|word| (word.text, word.line))
            .collect()
    }

    fn expect(source: &str, expected: &[(&str, usize)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(text, line)| ((*text).to_owned(), *line))
            .collect();
        assert_eq!(words(source), expected, "{source:?}");
    }

    #[test]
    fn quotes_comments_and_line_ends() {
        expect(
            "\u{feff}a b\r\nc # x y\nd",
            &[("a", 1), ("b", 1), ("c", 2), ("d", 3)],
        );
        expect("a\rb", &[("ab", 1)]);
        expect("a#b c\nd", &[("a", 1), ("c", 1), ("d", 2)]);
        expect("\"a\"b c\"d\"", &[("a", 1), ("b", 1), ("c\"d\"", 1)]);
        expect("\"\" x", &[("", 1), ("x", 1)]);
        expect(r#""a\"b\n\\" z"#, &[(r#"a"b\n\\"#, 1), ("z", 1)]);
        expect("\"a\nb\" c", &[("a\nb", 1), ("c", 2)]);
        expect("\"open", &[("open", 1)]);
        expect("\"", &[]);
    }
}
