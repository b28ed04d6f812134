//! Edits on the tree: insert, replace, remove. No byte outside the edit changes, and the result is parsed again.

use super::tree::{Block, Corefile, Place, SyntaxError};
use std::ops::Range;

/// Text that takes the place of a range of the source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Splice {
    /// Bytes to be replaced; empty to insert.
    pub at: Range<usize>,
    /// What stands there afterwards.
    pub text: String,
}

/// One change to a server block. Lines come with their depth below the directive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// Before every other directive.
    InsertFirst {
        /// Index into [`Corefile::blocks`].
        block: usize,
        /// The directive's lines.
        lines: Vec<(usize, String)>,
    },
    /// Behind a directive written in this block.
    InsertAfter {
        /// Index into [`Corefile::blocks`].
        block: usize,
        /// Index into [`Block::directives`].
        directive: usize,
        /// The directive's lines.
        lines: Vec<(usize, String)>,
    },
    /// In place of a directive written in this block.
    Replace {
        /// Index into [`Corefile::blocks`].
        block: usize,
        /// Index into [`Block::directives`].
        directive: usize,
        /// The directive's lines.
        lines: Vec<(usize, String)>,
    },
    /// A directive written in this block goes, and with it its line.
    Remove {
        /// Index into [`Corefile::blocks`].
        block: usize,
        /// Index into [`Block::directives`].
        directive: usize,
    },
}

/// Why an edit cannot be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EditError {
    /// The block or directive does not exist, or its words are in imported text.
    #[error("block {block} has no such directive in the main file")]
    NotHere {
        /// Index of the block.
        block: usize,
    },
    /// Two edits touch the same bytes.
    #[error("two edits overlap at byte {at}")]
    Overlap {
        /// Offset in the source.
        at: usize,
    },
    /// The edited text is no Corefile.
    #[error("the edited text is not accepted")]
    Syntax(#[source] SyntaxError),
}

/// Where and how lines are put behind a word.
#[derive(Clone, Debug)]
pub(crate) struct Insertion {
    pub(crate) at: usize,
    pub(crate) lead: String,
    pub(crate) trail: String,
    newline: &'static str,
    indent: String,
    unit: String,
}

impl Insertion {
    /// One directive's lines, without what precedes the first.
    pub(crate) fn render(&self, lines: &[(usize, String)]) -> String {
        let mut text = String::new();
        for (index, (depth, line)) in lines.iter().enumerate() {
            if index > 0 {
                text.push_str(self.newline);
                text.push_str(&self.indent);
            }
            text.push_str(&self.unit.repeat(*depth));
            text.push_str(line);
        }
        text
    }
}

impl Corefile {
    /// Makes the edits, all of them or none.
    pub fn edit(&self, edits: &[Edit]) -> Result<Self, EditError> {
        let splices: Result<Vec<_>, _> = edits.iter().map(|edit| self.splice_for(edit)).collect();
        self.apply(splices?)
    }

    /// Replaces ranges of the source and parses the result.
    pub fn apply(&self, splices: Vec<Splice>) -> Result<Self, EditError> {
        Self::parse(&self.splice(splices)?).map_err(EditError::Syntax)
    }

    pub(crate) fn splice(&self, mut splices: Vec<Splice>) -> Result<String, EditError> {
        splices.sort_by_key(|splice| (splice.at.start, splice.at.end));
        let mut text = String::new();
        let mut at = 0;
        for splice in splices {
            let kept = self
                .source
                .get(at..splice.at.start)
                .ok_or(EditError::Overlap { at: splice.at.start })?;
            text.push_str(kept);
            text.push_str(&splice.text);
            at = splice.at.end;
        }
        text.push_str(self.source.get(at..).ok_or(EditError::Overlap { at })?);
        Ok(text)
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Bytes that a run of words covers.
    pub(crate) fn span(&self, lexemes: &Range<usize>) -> Option<Range<usize>> {
        let first = self.lexemes.get(lexemes.start)?;
        let last = self.lexemes.get(lexemes.end.checked_sub(1)?)?;
        Some(first.span.start..last.span.end)
    }

    /// Puts new lines behind the line on which the word ends; a line that goes on with other words is broken.
    pub(crate) fn insertion_after(&self, block: &Block, lexeme: usize) -> Option<Insertion> {
        let end = self.lexemes.get(lexeme)?.span.end;
        let newline = self.newline();
        let indent = self.indent_of(block);
        let unit = if indent.contains('\t') {
            "\t".to_owned()
        } else {
            "    ".to_owned()
        };
        let lead = format!("{newline}{indent}");
        let line_end = self.source[end..]
            .find('\n')
            .map_or(self.source.len(), |offset| end + offset);
        let next = self
            .lexemes
            .get(lexeme + 1)
            .map(|word| word.span.start)
            .filter(|start| *start < line_end);
        let (at, trail) = match next {
            Some(start) => (start, lead.clone()),
            None if newline == "\r\n" && self.source[end..line_end].ends_with('\r') => {
                (line_end - 1, String::new())
            }
            None => (line_end, String::new()),
        };
        Some(Insertion {
            at,
            lead,
            trail,
            newline,
            indent,
            unit,
        })
    }

    /// The bytes to take out with a run of words: its whole line where nothing else stands there.
    pub(crate) fn removal_of(&self, lexemes: &Range<usize>) -> Option<Range<usize>> {
        let span = self.span(lexemes)?;
        let line_start = self.source[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.source[span.end..]
            .find('\n')
            .map_or(self.source.len(), |at| span.end + at + 1);
        let alone = self.source[line_start..span.start].trim().is_empty()
            && self.source[span.end..line_end].trim().is_empty();
        Some(if alone { line_start..line_end } else { span })
    }

    fn splice_for(&self, edit: &Edit) -> Result<Splice, EditError> {
        let (Edit::InsertFirst { block: index, .. }
        | Edit::InsertAfter { block: index, .. }
        | Edit::Replace { block: index, .. }
        | Edit::Remove { block: index, .. }) = edit;
        let missing = || EditError::NotHere { block: *index };
        let block = self.blocks.get(*index).ok_or_else(missing)?;
        let here = |directive: usize| match block.directives.get(directive)?.place() {
            Place::Here(lexemes) => Some(lexemes),
            Place::Elsewhere => None,
        };
        let insert = |lexeme: usize, lines: &[(usize, String)]| {
            let insertion = self.insertion_after(block, lexeme)?;
            let text = format!("{}{}{}", insertion.lead, insertion.render(lines), insertion.trail);
            Some(Splice {
                at: insertion.at..insertion.at,
                text,
            })
        };
        match edit {
            Edit::InsertFirst { lines, .. } => block.opening.and_then(|lexeme| insert(lexeme, lines)),
            Edit::InsertAfter { directive, lines, .. } => {
                here(*directive).and_then(|at| insert(at.end - 1, lines))
            }
            Edit::Replace { directive, lines, .. } => here(*directive).and_then(|lexemes| {
                let text = self.insertion_after(block, lexemes.end - 1)?.render(lines);
                Some(Splice {
                    at: self.span(&lexemes)?,
                    text,
                })
            }),
            Edit::Remove { directive, .. } => here(*directive).and_then(|lexemes| {
                Some(Splice {
                    at: self.removal_of(&lexemes)?,
                    text: String::new(),
                })
            }),
        }
        .ok_or_else(missing)
    }

    fn newline(&self) -> &'static str {
        if self.source.contains("\r\n") {
            "\r\n"
        } else {
            "\n"
        }
    }

    fn indent_of(&self, block: &Block) -> String {
        let neighbour = block.directives.iter().find_map(|directive| {
            let Place::Here(lexemes) = directive.place() else {
                return None;
            };
            let start = self.lexemes.get(lexemes.start)?.span.start;
            let line = self.source[..start].rfind('\n').map_or(0, |at| at + 1);
            let indent = &self.source[line..start];
            indent
                .chars()
                .all(|c| c == ' ' || c == '\t')
                .then(|| indent.to_owned())
        });
        neighbour.unwrap_or_else(|| {
            if block.braces {
                "    ".to_owned()
            } else {
                String::new()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ".:53 {\n\terrors # keep\n\tcache 30 {\n\t\tservfail 5s\n\t}\n}\n# end";

    fn line(text: &str) -> Vec<(usize, String)> {
        vec![(0, text.to_owned())]
    }

    #[test]
    fn edits_touch_nothing_else() {
        let tree = Corefile::parse(TEXT).unwrap();
        let edits = [
            Edit::InsertFirst {
                block: 0,
                lines: line("bufsize 1232"),
            },
            Edit::InsertAfter {
                block: 0,
                directive: 0,
                lines: vec![(0, "log {".into()), (1, "class error".into()), (0, "}".into())],
            },
            Edit::Replace {
                block: 0,
                directive: 1,
                lines: line("cache 60"),
            },
        ];
        let expected =
            ".:53 {\n\tbufsize 1232\n\terrors # keep\n\tlog {\n\t\tclass error\n\t}\n\tcache 60\n}\n# end";
        assert_eq!(tree.edit(&edits).unwrap().print(), expected);
    }

    #[test]
    fn removal_takes_its_line_but_no_comment() {
        let tree = Corefile::parse(TEXT).unwrap();
        let removed = |directive| {
            tree.edit(&[Edit::Remove { block: 0, directive }])
                .unwrap()
                .print()
        };
        assert_eq!(removed(1), ".:53 {\n\terrors # keep\n}\n# end");
        assert!(removed(0).contains("# keep"));
        let gone = Edit::Remove {
            block: 0,
            directive: 7,
        };
        assert_eq!(tree.edit(&[gone]).unwrap_err(), EditError::NotHere { block: 0 });
    }

    #[test]
    fn a_line_with_other_words_is_broken() {
        let tree = Corefile::parse(". { errors\n}").unwrap();
        let edited = tree
            .edit(&[Edit::InsertFirst {
                block: 0,
                lines: line("loop"),
            }])
            .unwrap();
        assert_eq!(edited.print(), ". { \n    loop\n    errors\n}");
    }

    #[test]
    fn crlf_is_kept() {
        let tree = Corefile::parse(". {\r\n  errors\r\n}\r\n").unwrap();
        let edited = tree
            .edit(&[Edit::InsertFirst {
                block: 0,
                lines: line("loop"),
            }])
            .unwrap();
        assert_eq!(edited.print(), ". {\r\n  loop\r\n  errors\r\n}\r\n");
    }
}
