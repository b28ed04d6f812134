//! What the rig made on this machine, written down before it is made, so that a later run can take away exactly
//! that after any kind of end. Processes are known by number and start time, and every one also carries a mark in
//! its environment, for the instant between its start and its record.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::facts::Facts;

/// Everything the rig stores; removed as a whole.
pub(crate) const ROOT: &str = "/var/lib/tsutsumi-rig";
/// Sockets and mounts of containers.
pub(crate) const RUN: &str = "/run/tsutsumi-rig";
/// The mark in the environment of each process of the rig.
pub(crate) const MARK: &str = "TSUTSUMI_RIG_MEMBER";

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// What it is to the rig.
    pub(crate) name: String,
    /// Its number.
    pub(crate) pid: u32,
    /// Clock ticks from boot to its start: tells it from a later process of the same number.
    pub(crate) start: u64,
}

/// One nftables table, `ip nat` or the like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// `ip`, `ip6`, `inet` and so on.
    pub(crate) family: String,
    /// Its name.
    pub(crate) name: String,
}

/// A kernel setting and what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// File under `/proc/sys`.
    pub(crate) path: PathBuf,
    /// The value to put back.
    pub(crate) before: String,
}

/// The record of one rig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The boot it belongs to: after another, only files are left.
    pub(crate) boot: String,
    /// Processes that were started, in order.
    pub(crate) processes: Vec<Process>,
    /// Network devices.
    pub(crate) links: Vec<String>,
    /// Named network namespaces.
    pub(crate) namespaces: Vec<String>,
    /// Tables that were there before and stay.
    pub(crate) tables_before: Vec<Table>,
    /// Kernel settings that were changed.
    pub(crate) settings: Vec<Setting>,
    /// Folders and control groups that programs of the rig make in fixed places and that were not there before.
    pub(crate) folders: Vec<PathBuf>,
    /// Whether `/run/netns` was a mount already.
    pub(crate) netns_mounted: bool,
    /// What `cluster env` prints, once the rig is up.
    pub(crate) facts: Option<Facts>,
}

/// A record that is on disk before the thing it names exists.
pub(crate) struct Journal {
    path: PathBuf,
    record: Record,
}

impl Journal {
    /// Starts an empty record.
    pub(crate) fn start(record: Record) -> Result<Self> {
        let journal = Self {
            path: Path::new(ROOT).join("state.json"),
            record,
        };
        journal.save()?;
        Ok(journal)
    }

    /// Goes on with the record of the rig that is up.
    pub(crate) fn resume() -> Result<Self> {
        let record = Self::earlier()?.filter(|record| record.facts.is_some());
        let record =
            record.context("no rig is up on this machine: start one with `cargo xtask cluster up`")?;
        Ok(Self {
            path: Path::new(ROOT).join("state.json"),
            record,
        })
    }

    /// The record an earlier run left, if any.
    pub(crate) fn earlier() -> Result<Option<Record>> {
        read(&Path::new(ROOT).join("state.json"))
    }

    /// Changes the record and writes it out.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Record)) -> Result<()> {
        change(&mut self.record);
        self.save()
    }

    /// What is recorded now.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    fn save(&self) -> Result<()> {
        let folder = self.path.parent().context("the record needs a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(&self.record)?)?;
        file.persist(&self.path).context("writing the rig's record")?;
        Ok(())
    }
}

/// A number that the kernel draws at each boot.
pub(crate) fn boot() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("reading the boot's number")?;
    Ok(id.trim().to_owned())
}

fn read(path: &Path) -> Result<Option<Record>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("reading the rig's record"),
    };
    let record = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is not a record that this version wrote; clear it with the version that did",
            path.display()
        )
    })?;
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let record = Record {
            boot: "b".into(),
            processes: vec![Process {
                name: "etcd".into(),
                pid: 7,
                start: 9,
            }],
            tables_before: vec![Table {
                family: "ip".into(),
                name: "nat".into(),
            }],
            ..Record::default()
        };
        let mut journal = Journal {
            path: path.clone(),
            record,
        };
        journal
            .note(|record| record.links.push("tsutsumi0".into()))
            .unwrap();
        assert_eq!(read(&path).unwrap().as_ref(), Some(journal.record()));
    }

    #[test]
    fn no_record_is_none_and_a_foreign_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read(&path).unwrap(), None);
        fs::write(&path, r#"{"boot": "b", "surprise": 1}"#).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("state.json"));
    }
}
