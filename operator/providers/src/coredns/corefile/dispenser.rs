//! How a plugin walks its words: `dispenser.go`. The typed views use it, so that they see what the plugin sees.

use super::tree::{Block, Token};

/// The words of every directive of one name in a block, as one list: that is what a plugin is given.
#[derive(Debug)]
pub struct Dispenser<'a> {
    tokens: Vec<&'a Token>,
    cursor: Option<usize>,
    nesting: usize,
}

impl<'a> Dispenser<'a> {
    /// The words that the plugin `name` is given in this block.
    #[must_use]
    pub fn of(block: &'a Block, name: &'a str) -> Self {
        Self::over(block.named(name).flat_map(|directive| &directive.tokens))
    }

    /// Any list of words.
    pub fn over(tokens: impl IntoIterator<Item = &'a Token>) -> Self {
        Self {
            tokens: tokens.into_iter().collect(),
            cursor: None,
            nesting: 0,
        }
    }

    /// To the next word.
    pub fn step(&mut self) -> Option<&'a Token> {
        let next = self.cursor.map_or(0, |at| at + 1);
        let token = *self.tokens.get(next)?;
        self.cursor = Some(next);
        Some(token)
    }

    /// To the next word if it is on the same line.
    pub fn step_arg(&mut self) -> Option<&'a Token> {
        let Some(at) = self.cursor else { return self.step() };
        let (this, next) = (self.tokens.get(at)?, self.tokens.get(at + 1)?);
        (this.file == next.file && this.last_line() == next.line)
            .then(|| self.step())
            .flatten()
    }

    /// The rest of the line, up to an opening brace.
    pub fn remaining_args(&mut self) -> Vec<&'a Token> {
        let mut args = Vec::new();
        while let Some(token) = self.step_arg() {
            if token.text == "{" {
                self.cursor = self.cursor.and_then(|at| at.checked_sub(1));
                break;
            }
            args.push(token);
        }
        args
    }

    /// To the next word inside braces, which may open here; `None` behind the closing one.
    pub fn step_block(&mut self) -> Option<&'a Token> {
        if self.nesting > 0 {
            let token = self.step()?;
            if token.text == "}" {
                self.nesting -= 1;
                return None;
            }
            return Some(token);
        }
        if self.step_arg()?.text != "{" {
            self.cursor = self.cursor.and_then(|at| at.checked_sub(1));
            return None;
        }
        let token = self.step()?;
        if token.text == "}" {
            return None;
        }
        self.nesting += 1;
        Some(token)
    }
}
