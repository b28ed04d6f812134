//! A Corefile as a lossless tree.
//!
//! Follows the lexer and parser that CoreDNS itself uses (coredns/caddy `caddyfile/lexer.go`, `parse.go`,
//! `dispenser.go`), including what they do by accident: what they accept is accepted, what they reject is rejected.
//! Printing gives back the bytes that were read; an edit touches no byte outside itself. Plugins are not known here.

mod dispenser;
mod edit;
mod env;
mod hash;
mod import;
mod lexer;
mod parser;
mod tree;

pub use dispenser::Dispenser;
pub use edit::{Edit, EditError, Splice};
pub use hash::config_hash;
pub use import::Surroundings;
pub use lexer::Lexeme;
pub use tree::{Block, Corefile, Directive, Import, Imported, Line, Place, SyntaxError, Token};
