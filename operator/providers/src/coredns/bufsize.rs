//! `bufsize [SIZE]`: the largest answer over UDP. Only the first directive of a block counts
//! (`plugin/bufsize/setup.go` returns at it; later ones are not even read).

use super::corefile::{Block, Directive, Dispenser};
use super::version::Capabilities;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes in one UDP answer, 512 to 4096 as the plugin takes them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct MessageBytes(u16);

/// Not a size that `bufsize` takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a message size is 512 to 4096 bytes, not {0}")]
pub struct SizeOutOfRange(pub u16);

impl MessageBytes {
    /// Passes every path of IPv6 without fragments (DNS flag day 2020).
    pub const UNFRAGMENTED: Self = Self(1232);

    /// Takes 512 to 4096.
    pub fn new(bytes: u16) -> Result<Self, SizeOutOfRange> {
        if (512..=4096).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(SizeOutOfRange(bytes))
        }
    }

    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for MessageBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u16> for MessageBytes {
    type Error = SizeOutOfRange;

    fn try_from(bytes: u16) -> Result<Self, SizeOutOfRange> {
        Self::new(bytes)
    }
}

impl From<MessageBytes> for u16 {
    fn from(size: MessageBytes) -> Self {
        size.0
    }
}

/// The size a block sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BufSize {
    /// Without a number: 512 up to CoreDNS 1.10.1, 1232 since 1.11.0.
    Default,
    /// This number.
    Set(MessageBytes),
    /// Not readable here: an environment variable, or nothing the plugin accepts.
    Unknown,
}

impl BufSize {
    /// The number of bytes, if it can be told.
    #[must_use]
    pub fn bytes(self, capabilities: Capabilities) -> Option<u16> {
        match self {
            Self::Default => capabilities.default_bufsize(),
            Self::Set(size) => Some(size.bytes()),
            Self::Unknown => None,
        }
    }
}

/// What the block's first `bufsize` sets, if it has one.
#[must_use]
pub fn of(block: &Block) -> Option<BufSize> {
    of_directives(block.directives())
}

/// What the first `bufsize` among some of a block's directives sets.
#[must_use]
pub fn of_directives<'a>(directives: impl IntoIterator<Item = &'a Directive>) -> Option<BufSize> {
    let named = directives
        .into_iter()
        .filter(|directive| directive.name == "bufsize");
    let mut words = Dispenser::over(named.flat_map(|directive| &directive.tokens));
    words.step()?;
    Some(match words.remaining_args().as_slice() {
        [] => BufSize::Default,
        [size] => {
            let number = size
                .text
                .parse()
                .ok()
                .and_then(|bytes| MessageBytes::new(bytes).ok());
            number.map_or(BufSize::Unknown, BufSize::Set)
        }
        _ => BufSize::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coredns::corefile::Corefile;

    #[test]
    fn the_first_counts() {
        let of = |body: &str| of(&Corefile::parse(&format!(". {{\n{body}\n}}\n")).unwrap().blocks()[0]);
        assert_eq!(of("errors"), None);
        assert_eq!(of("bufsize"), Some(BufSize::Default));
        assert_eq!(
            of("bufsize 1400\nbufsize 512"),
            Some(BufSize::Set(MessageBytes(1400)))
        );
        assert_eq!(of("bufsize 100"), Some(BufSize::Unknown));
        assert_eq!(of("bufsize {$SIZE}"), Some(BufSize::Unknown));
    }
}
