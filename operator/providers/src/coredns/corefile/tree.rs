//! The tree: server blocks, their directives, and where each word came from.

use super::import::Surroundings;
use super::lexer::{Lexeme, lex};
use super::parser;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// A Corefile that CoreDNS's grammar accepts.
#[derive(Clone, Debug)]
pub struct Corefile {
    pub(super) source: String,
    pub(super) lexemes: Vec<Lexeme>,
    pub(super) blocks: Vec<Block>,
    pub(super) imports: Vec<Import>,
}

/// What CoreDNS's grammar rejects.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct SyntaxError {
    /// Line of the word at which reading stopped; 0 where there is none.
    pub line: usize,
    /// What was found and what was expected.
    pub what: String,
}

impl Corefile {
    /// Reads the text alone. Files that it imports are taken for empty and listed in [`Block::imports`].
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        Self::parse_with(text, &Surroundings::default())
    }

    /// Reads the text with the files and the environment that CoreDNS would see.
    pub fn parse_with(text: &str, surroundings: &Surroundings) -> Result<Self, SyntaxError> {
        let lexemes = lex(text);
        let (blocks, imports) = parser::parse(&lexemes, surroundings)?;
        Ok(Self {
            source: text.to_owned(),
            lexemes,
            blocks,
            imports,
        })
    }

    /// The text, byte for byte as it was read.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::with_capacity(self.source.len());
        let mut at = 0;
        for word in &self.lexemes {
            text.push_str(&self.source[at..word.span.start]);
            text.push_str(&self.source[word.span.clone()]);
            at = word.span.end;
        }
        text.push_str(&self.source[at..]);
        text
    }

    /// The server blocks that CoreDNS would serve, in order; snippets are not among them.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// `import` lines outside of server blocks; they bring blocks, or the addresses of one.
    #[must_use]
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// The words of the main file.
    #[must_use]
    pub fn lexemes(&self) -> &[Lexeme] {
        &self.lexemes
    }
}

impl fmt::Display for Corefile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print())
    }
}

/// One word as the parser saw it, after imports were put in place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// Its text, environment references replaced where the environment is known.
    pub text: String,
    /// Line in its own file.
    pub line: usize,
    /// Absolute path of an imported file, or `None` in the main file.
    pub file: Option<Rc<str>>,
    /// Index into [`Corefile::lexemes`], or `None` if an import brought it here.
    pub lexeme: Option<usize>,
    /// Name of the snippet that brought it, if one did.
    pub snippet: Option<Rc<str>>,
}

impl Token {
    /// Whether its value depends on an environment that is not known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        super::env::refers(&self.text)
    }

    pub(super) fn last_line(&self) -> usize {
        self.line + self.text.matches('\n').count()
    }
}

/// One server block.
#[derive(Clone, Debug, Default)]
pub struct Block {
    pub(super) keys: Vec<String>,
    pub(super) directives: Vec<Directive>,
    pub(super) imports: Vec<Import>,
    pub(super) opening: Option<usize>,
    pub(super) braces: bool,
}

impl Block {
    /// Addresses served, such as `.:53` or `tls://example.org`.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Directives in the order in which CoreDNS reads them, those of imports included.
    #[must_use]
    pub fn directives(&self) -> &[Directive] {
        &self.directives
    }

    /// Every directive of that name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.directives
            .iter()
            .filter(move |directive| directive.name == name)
    }

    /// `import` lines that stand in the main file within this block.
    #[must_use]
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// Whether there may be directives that are not seen here: in files that are not known, or behind a variable
    /// that stands for a directive's name.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.imports.iter().any(Import::is_opaque) || self.directives.iter().any(Directive::is_opaque)
    }

    /// The word of the main file after which the body begins; `None` if the block came from an imported file.
    #[must_use]
    pub fn opening(&self) -> Option<usize> {
        self.opening
    }

    /// Whether the body stands in braces of its own.
    #[must_use]
    pub fn has_braces(&self) -> bool {
        self.braces
    }
}

/// What an `import` line brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Imported {
    /// A snippet of this file.
    Snippet,
    /// Files whose content is known.
    Files,
    /// Files whose content is not known.
    Opaque,
}

/// An `import` line of the main file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Import {
    /// Name of a snippet, or pattern of files.
    pub pattern: String,
    /// What it stands for.
    pub imported: Imported,
    /// Its two words; `None` if it stands in imported text itself.
    pub lexemes: Option<Range<usize>>,
    /// How many directives of the block came before it.
    pub after: usize,
    /// Whether it stands inside a directive's own braces.
    pub nested: bool,
}

impl Import {
    /// Whether its content is not known.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.imported == Imported::Opaque
    }
}

/// Where a directive is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// In this block, these words.
    Here(Range<usize>),
    /// At least partly in imported text.
    Elsewhere,
}

/// A directive with everything up to the next one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directive {
    /// Its name, environment references replaced.
    pub name: String,
    /// Its words, the name as written first.
    pub tokens: Vec<Token>,
}

impl Directive {
    /// Whether its name depends on an environment that is not known.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        super::env::refers(&self.name)
    }

    /// Arguments on the directive's own line.
    #[must_use]
    pub fn args(&self) -> Vec<&str> {
        self.lines()
            .first()
            .map(|line| {
                line.words
                    .iter()
                    .skip(1)
                    .map(|token| token.text.as_str())
                    .collect()
            })
            .unwrap_or_default()
    }

    /// The directive as lines; braces are left out, what stood between them is one level deeper.
    #[must_use]
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        let mut depth = 0;
        let mut fresh = true;
        for (index, token) in self.tokens.iter().enumerate() {
            let on_new_line = index > 0
                && (self.tokens[index - 1].file != token.file
                    || self.tokens[index - 1].last_line() < token.line);
            match token.text.as_str() {
                "{" => {
                    depth += 1;
                    fresh = true;
                }
                "}" if depth > 0 => {
                    depth -= 1;
                    fresh = true;
                }
                _ => {
                    match lines.last_mut() {
                        Some(line) if !fresh && !on_new_line => line.words.push(token),
                        _ => lines.push(Line {
                            depth,
                            words: vec![token],
                        }),
                    }
                    fresh = false;
                }
            }
        }
        lines
    }

    /// Where it is written.
    #[must_use]
    pub fn place(&self) -> Place {
        let first = self.tokens.first().and_then(|token| token.lexeme);
        let runs = |first: usize| {
            self.tokens
                .iter()
                .enumerate()
                .all(|(i, token)| token.lexeme == Some(first + i))
        };
        match first {
            Some(first) if runs(first) => Place::Here(first..first + self.tokens.len()),
            _ => Place::Elsewhere,
        }
    }

    /// The texts of its words.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }
}

/// One line of a directive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line<'a> {
    /// 0 for the directive's own line, 1 inside its braces, and so on.
    pub depth: usize,
    /// Its words.
    pub words: Vec<&'a Token>,
}
