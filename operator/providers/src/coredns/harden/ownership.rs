//! The record of what we wrote. It is kept outside the Corefile, since tools that migrate Corefiles drop comments.
//!
//! Nothing foreign is ever replaced: ours stands beside it and takes effect by order. So the record needs no
//! former values, and taking ours out brings back what stood there.

use serde::{Deserialize, Serialize};

/// What we wrote into which server block. Equal text and wishes give equal records.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ownership {
    /// In the order of the text; blocks without anything of ours are left out.
    pub blocks: Vec<OwnedBlock>,
}

/// What we wrote into one server block.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnedBlock {
    /// Its addresses.
    pub keys: Vec<String>,
    /// How many blocks before it have the same addresses (views).
    pub nth: usize,
    /// What we wrote.
    pub written: Vec<Written>,
}

/// A directive, an option or a brace of ours.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// What it is for.
    pub role: Role,
    /// The `forward` stanza that it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stanza: Option<Stanza>,
    /// Its words.
    pub tokens: Vec<String>,
    /// White space that came with it, before and behind.
    pub lead: String,
    /// See `lead`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trail: String,
}

/// Why something was written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Role {
    /// Our `acl`, behind every foreign one.
    Acl,
    /// `bufsize`.
    BufSize,
    /// A brace of a `forward` that had none.
    ForwardBrace,
    /// An option of a `forward`.
    ForwardOption,
    /// Our `acl` in front of foreign allowances, which it narrows.
    Guard,
    /// `nsid`.
    Nsid,
    /// A `forward` of the probe zone to its own server.
    ProbeForward,
    /// A `forward` of the root, in front of a foreign one.
    RootForward,
    /// A `dnstap` that tells what the server is asked.
    Tap,
}

/// A `forward` stanza.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stanza {
    /// The words before its braces.
    pub head: Vec<String>,
    /// How many stanzas before it in the block have the same head.
    pub nth: usize,
}

impl Ownership {
    /// Whether nothing is ours.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn of(&self, keys: &[String], nth: usize) -> Option<&OwnedBlock> {
        self.blocks
            .iter()
            .find(|block| block.keys == keys && block.nth == nth)
    }
}
