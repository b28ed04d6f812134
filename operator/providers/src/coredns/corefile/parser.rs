//! From words to server blocks: `parse.go`, step by step, so that its accidents are kept too.
//!
//! The words are one list with a cursor. `import` replaces two of them by what it names, wherever it stands.

use super::env;
use super::import::{Surroundings, has_too_many_wildcards, is_malformed};
use super::lexer::Lexeme;
use super::tree::{Block, Directive, Import, Imported, SyntaxError, Token};
use std::collections::BTreeMap;
use std::rc::Rc;

/// As upstream.
const MAX_SNIPPET_EXPANSIONS: usize = 10_000;
/// Upstream has none; a ConfigMap holds at most 1 MiB, and this many words only come from imports that multiply.
const MAX_TOKENS: usize = 1_000_000;

/// Server blocks, and the `import` lines between them.
type Parsed = (Vec<Block>, Vec<Import>);

pub(super) fn parse(lexemes: &[Lexeme], surroundings: &Surroundings) -> Result<Parsed, SyntaxError> {
    let tokens = lexemes.iter().enumerate().map(|(index, word)| Token {
        text: word.text.clone(),
        line: word.line,
        file: None,
        lexeme: Some(index),
        snippet: None,
    });
    let parser = Parser {
        tokens: tokens.collect(),
        cursor: None,
        eof: false,
        block: Block::default(),
        snippets: BTreeMap::new(),
        expansions: 0,
        outside: Vec::new(),
        surroundings,
    };
    parser.all()
}

struct Parser<'a> {
    tokens: Vec<Token>,
    /// `None` before the first word; may stand one past the last.
    cursor: Option<usize>,
    eof: bool,
    block: Block,
    snippets: BTreeMap<String, Vec<Token>>,
    expansions: usize,
    outside: Vec<Import>,
    surroundings: &'a Surroundings,
}

impl Parser<'_> {
    fn all(mut self) -> Result<Parsed, SyntaxError> {
        let mut blocks = Vec::new();
        while self.next() {
            self.block = Block::default();
            self.one()?;
            if !self.block.keys.is_empty() {
                blocks.push(std::mem::take(&mut self.block));
            }
        }
        Ok((blocks, self.outside))
    }

    fn one(&mut self) -> Result<(), SyntaxError> {
        self.addresses()?;
        self.outside.append(&mut self.block.imports);
        if self.eof {
            self.block.opening = self.lexeme_at(self.cursor);
            return Ok(());
        }
        match self.block.keys.as_slice() {
            [key] if key.starts_with('(') && key.ends_with(')') => {
                let name = key.get(1..).unwrap_or_default();
                let name = name.strip_suffix(')').unwrap_or(name).to_owned();
                self.block.keys.clear();
                self.snippet(name)
            }
            _ => self.contents(),
        }
    }

    fn addresses(&mut self) -> Result<(), SyntaxError> {
        let mut expecting = false;
        loop {
            let mut key = env::replace(self.val(), self.surroundings.env.as_ref()).into_owned();
            if key == "import" && self.is_new_line() {
                self.import(false)?;
                continue;
            }
            if key == "{" {
                if expecting {
                    return Err(self.err("expected another address but had '{'; check for an extra comma"));
                }
                return Ok(());
            }
            if !key.is_empty() {
                expecting = key.ends_with(',');
                if expecting {
                    key.pop();
                }
                self.block.keys.push(key);
            }
            let has_next = self.next();
            if expecting && !has_next {
                return Err(self.err("unexpected end of file after a comma"));
            }
            if !has_next {
                self.eof = true;
                return Ok(());
            }
            if !expecting && self.is_new_line() {
                return Ok(());
            }
        }
    }

    fn contents(&mut self) -> Result<(), SyntaxError> {
        self.block.braces = self.val() == "{";
        if !self.block.braces {
            self.back();
        }
        self.block.opening = self.lexeme_at(self.cursor);
        self.directives()?;
        // Upstream looks at the last word only, whatever it closes.
        if self.block.braces && self.val() != "}" {
            return Err(self.unexpected("}"));
        }
        Ok(())
    }

    fn directives(&mut self) -> Result<(), SyntaxError> {
        while self.next() {
            match self.val() {
                "}" => break,
                "import" => {
                    self.import(false)?;
                    self.back();
                }
                _ => self.directive()?,
            }
        }
        Ok(())
    }

    fn directive(&mut self) -> Result<(), SyntaxError> {
        let name = env::replace(self.val(), self.surroundings.env.as_ref()).into_owned();
        let mut tokens: Vec<Token> = self.current().cloned().into_iter().collect();
        let mut nesting = 0_usize;
        while self.next() {
            match self.val() {
                "{" => nesting += 1,
                _ if self.is_new_line() && nesting == 0 => {
                    self.back();
                    break;
                }
                "}" if nesting > 0 => nesting -= 1,
                "}" => return Err(self.err("unexpected '}' because no matching opening brace")),
                "import" if self.is_new_line() => {
                    self.import(true)?;
                    self.back();
                    continue;
                }
                _ => {}
            }
            if let Some(at) = self.cursor.filter(|at| *at < self.tokens.len()) {
                let replaced =
                    env::replace(&self.tokens[at].text, self.surroundings.env.as_ref()).into_owned();
                self.tokens[at].text = replaced;
                tokens.push(self.tokens[at].clone());
            }
        }
        if nesting > 0 {
            return Err(self.err("unexpected end of file inside braces"));
        }
        self.block.directives.push(Directive { name, tokens });
        Ok(())
    }

    fn snippet(&mut self, name: String) -> Result<(), SyntaxError> {
        if self.snippets.contains_key(&name) {
            return Err(self.err(&format!("snippet {name} is declared twice")));
        }
        if self.val() != "{" {
            return Err(self.unexpected("{"));
        }
        let mut tokens: Vec<Token> = Vec::new();
        let mut depth = 1_usize;
        while self.next() {
            match self.val() {
                "}" if depth == 1 => {
                    depth = 0;
                    break;
                }
                "}" => depth -= 1,
                "{" => depth += 1,
                _ => {}
            }
            tokens.extend(self.current().cloned());
        }
        if depth != 0 {
            return Err(self.unexpected("}"));
        }
        for at in 0..tokens.len().saturating_sub(1) {
            let starts_line =
                at == 0 || tokens[at - 1].file != tokens[at].file || tokens[at - 1].line != tokens[at].line;
            let imports_itself = env::replace(&tokens[at + 1].text, self.surroundings.env.as_ref()) == name;
            if tokens[at].text == "import" && starts_line && imports_itself {
                return Err(self.err(&format!("snippet {name} imports itself")));
            }
        }
        let snippet: Rc<str> = Rc::from(name.as_str());
        for token in &mut tokens {
            token.lexeme = None;
            token.snippet = Some(Rc::clone(&snippet));
        }
        self.snippets.insert(name, tokens);
        Ok(())
    }

    /// Replaces `import X` by what X names. Afterwards the cursor is on the first new word.
    fn import(&mut self, nested: bool) -> Result<(), SyntaxError> {
        let start = self.cursor.unwrap_or_default();
        if !self.next_arg() {
            return Err(self.err("import needs a snippet or a file on the same line"));
        }
        let pattern = env::replace(self.val(), self.surroundings.env.as_ref()).into_owned();
        if pattern.is_empty() {
            return Err(self.err("import requires a non-empty file path"));
        }
        if self.next_arg() {
            return Err(self.err("import takes only one argument"));
        }
        let (imported, tokens) = if let Some(tokens) = self.snippets.get(&pattern) {
            (Imported::Snippet, tokens.clone())
        } else {
            if has_too_many_wildcards(&pattern) {
                return Err(self.err(&format!(
                    "an import pattern may contain only one wildcard: {pattern}"
                )));
            }
            if is_malformed(&pattern) {
                return Err(self.err(&format!("import pattern is malformed: {pattern}")));
            }
            match self.surroundings.find(&pattern) {
                Some(tokens) => (Imported::Files, tokens),
                None if !self.surroundings.complete => (Imported::Opaque, Vec::new()),
                None if pattern.contains(['*', '?', '[', ']']) => (Imported::Files, Vec::new()),
                None => return Err(self.err(&format!("file to import not found: {pattern}"))),
            }
        };
        self.expansions += 1;
        if self.expansions > MAX_SNIPPET_EXPANSIONS || self.tokens.len() + tokens.len() > MAX_TOKENS {
            return Err(self.err("imports are nested too deeply or multiply without end"));
        }
        self.block.imports.push(Import {
            pattern,
            imported,
            lexemes: self.tokens[start]
                .lexeme
                .zip(self.tokens[start + 1].lexeme)
                .map(|(a, b)| a..b + 1),
            after: self.block.directives.len(),
            nested,
        });
        self.tokens.splice(start..start + 2, tokens);
        self.cursor = Some(start);
        Ok(())
    }

    fn next(&mut self) -> bool {
        let next = self.cursor.map_or(0, |at| at + 1);
        let more = next < self.tokens.len();
        if more {
            self.cursor = Some(next);
        }
        more
    }

    fn next_arg(&mut self) -> bool {
        let Some(at) = self.cursor else { return self.next() };
        match (self.tokens.get(at), self.tokens.get(at + 1)) {
            (Some(this), Some(next)) if this.file == next.file && this.last_line() == next.line => {
                self.cursor = Some(at + 1);
                true
            }
            _ => false,
        }
    }

    fn back(&mut self) {
        self.cursor = self.cursor.and_then(|at| at.checked_sub(1));
    }

    fn current(&self) -> Option<&Token> {
        self.cursor.and_then(|at| self.tokens.get(at))
    }

    fn val(&self) -> &str {
        self.current().map_or("", |token| token.text.as_str())
    }

    fn lexeme_at(&self, cursor: Option<usize>) -> Option<usize> {
        cursor
            .and_then(|at| self.tokens.get(at))
            .and_then(|token| token.lexeme)
    }

    fn is_new_line(&self) -> bool {
        let at = self.cursor.unwrap_or_default();
        if at < 1 {
            return true;
        }
        match (self.tokens.get(at - 1), self.tokens.get(at)) {
            (Some(before), Some(this)) => before.file != this.file || before.last_line() < this.line,
            _ => false,
        }
    }

    fn err(&self, what: &str) -> SyntaxError {
        SyntaxError {
            line: self.current().map_or(0, |token| token.line),
            what: what.to_owned(),
        }
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        self.err(&format!("unexpected '{}', expected '{expected}'", self.val()))
    }
}
