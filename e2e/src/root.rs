//! The rig's own root while its keys change.

use anyhow::{Context, Result};

use crate::rig::{run_xtask, xtask};

/// A key that the root publishes beside its own, until this is dropped.
#[derive(Debug)]
pub struct NewKey {
    /// Its DS record, as a line of a zone file.
    pub ds: String,
    /// Its tag.
    pub tag: u16,
}

impl NewKey {
    /// Has the root publish one, as at the beginning of a roll-over.
    ///
    /// # Errors
    /// If the root's server does not do so.
    pub fn publish() -> Result<Self> {
        let ds = xtask(&["cluster", "publish-root-key"])?.trim().to_owned();
        let tag = tag(&ds)?;
        Ok(Self { ds, tag })
    }
}

impl Drop for NewKey {
    fn drop(&mut self) {
        if let Err(error) = run_xtask(&["cluster", "withdraw-root-keys"]) {
            eprintln!("the root keeps a key of a test: {error:#}");
        }
    }
}

/// The tag in a DS record.
///
/// # Errors
/// If it is none.
pub fn tag(ds: &str) -> Result<u16> {
    let words: Vec<&str> = ds.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| *word == "DS");
    at.and_then(|at| words.get(at + 1)?.parse().ok())
        .with_context(|| format!("`{ds}` is no DS record"))
}
