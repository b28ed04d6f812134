//! Rules of a test in the kernel's packet filter, by a table of its own.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{place::Place, rig::output};

/// A table for IPv4, which goes with this value. The rig takes away those that begin with `tsutsumi-e2e-` too, where a
/// test was killed.
#[derive(Debug)]
pub struct Table {
    place: Place,
    name: &'static str,
}

impl Table {
    /// Adds a table by its text, and takes it away again once the value is dropped.
    ///
    /// # Errors
    /// If the packet filter does not take it.
    pub fn add(place: &Place, name: &'static str, rules: &str) -> Result<Self> {
        let text = rules.to_owned();
        place.run(move || {
            let mut nft = Command::new("nft");
            let nft = nft.args(["-f", "-"]).stdin(Stdio::piped());
            let mut nft = nft.spawn().context("starting nft")?;
            nft.stdin
                .take()
                .context("nft's input")?
                .write_all(text.as_bytes())?;
            ensure!(nft.wait()?.success(), "nft refuses {text}");
            Ok(())
        })?;
        Ok(Self {
            place: place.clone(),
            name,
        })
    }

    /// What nft says there.
    ///
    /// # Errors
    /// If it fails.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        self.place
            .run(move || output(Command::new("nft").args(arguments)))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _ = self.tell(&["delete", "table", "ip", self.name]);
    }
}
