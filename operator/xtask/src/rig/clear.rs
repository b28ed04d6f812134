//! Taking a rig away: what its record names, and what the record's programs make in places of their own. Works
//! after any kind of end, also in the middle of a start; a thing that is gone already is no error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::state::{self, Journal, MARK, Process, ROOT, RUN, Record};
use super::{containerd, network};
use crate::run;

/// Clears what an earlier run recorded, and nothing else.
pub(crate) fn clear() -> Result<()> {
    let Some(record) = Journal::earlier()? else {
        return Ok(());
    };
    if record.boot == state::boot()? {
        end_processes(&record)?;
        for path in containerd::shim_sockets() {
            let _ = fs::remove_file(path);
        }
        unmount(&|point| point.starts_with(ROOT) || point.starts_with(RUN))?;
        network::remove(&record)?;
        if !record.netns_mounted && fs::read_dir("/run/netns").is_ok_and(|mut names| names.next().is_none()) {
            unmount(&|point| point == Path::new("/run/netns"))?;
            let _ = fs::remove_dir("/run/netns");
        }
        for setting in &record.settings {
            let _ = fs::write(&setting.path, &setting.before);
        }
    }
    remove_strays()?;
    for folder in &record.folders {
        let _ = fs::remove_file(folder.join("device-plugins/kubelet.sock"));
        remove_empty(folder);
    }
    for folder in [RUN, ROOT] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                bail!("removing {folder}: {error}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Start time of a process in ticks from boot, if it lives.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    fields(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
        .filter(|stat| !stat.zombie)
        .map(|stat| stat.start)
}

/// Ends these processes and all their descendants, and nothing that only carries the mark.
pub(crate) fn end(processes: &[Process]) -> Result<()> {
    end_all(&|| members(processes, false))
}

/// Ends recorded and marked processes and all their descendants. Containers descend from their shims, which carry
/// the mark; a runtime that is ended first starts nothing new, and the loop catches what it started meanwhile.
fn end_processes(record: &Record) -> Result<()> {
    end_all(&|| members(&record.processes, true))
}

fn end_all(members: &dyn Fn() -> BTreeSet<u32>) -> Result<()> {
    run::wait_for("the rig's processes to end", Duration::from_secs(60), || {
        let members = members();
        if members.is_empty() {
            return Ok(());
        }
        let mut kill = run::command("sh");
        kill.args(["-c", "kill -KILL \"$@\" 2>/dev/null", "kill"])
            .args(members.iter().map(u32::to_string));
        kill.status()?;
        bail!("still there: {members:?}")
    })
}

struct Stat {
    parent: u32,
    start: u64,
    zombie: bool,
}

fn members(known: &[Process], with_marked: bool) -> BTreeSet<u32> {
    let all = processes();
    let mark = format!("{MARK}={ROOT}");
    let marked = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == mark.as_bytes())
        })
    };
    let recorded = |pid: &u32, stat: &Stat| {
        known
            .iter()
            .any(|process| process.pid == *pid && process.start == stat.start)
    };
    let mut found: BTreeSet<u32> = all
        .iter()
        .filter(|(pid, stat)| recorded(pid, stat) || with_marked && marked(pid))
        .map(|(pid, _)| *pid)
        .collect();
    loop {
        let children: Vec<u32> = all
            .iter()
            .filter(|(pid, stat)| found.contains(&stat.parent) && !found.contains(*pid))
            .map(|(pid, _)| *pid)
            .collect();
        if children.is_empty() {
            break;
        }
        found.extend(children);
    }
    found.remove(&std::process::id());
    found
}

fn processes() -> BTreeMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            Some((
                pid,
                fields(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?,
            ))
        })
        .filter(|(_, stat)| !stat.zombie)
        .collect()
}

/// The command's name stands in parentheses and may hold anything, so fields count from the last one (proc(5)).
fn fields(stat: &str) -> Option<Stat> {
    let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        parent: rest.get(1)?.parse().ok()?,
        start: rest.get(19)?.parse().ok()?,
        zombie: matches!(*rest.first()?, "Z" | "X"),
    })
}

fn unmount(ours: &dyn Fn(&Path) -> bool) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| ours(point))
        .collect();
    points.reverse();
    for point in points {
        // One that went with its parent is no error; one that stays makes the removal of its folder fail.
        let _ = run::output(run::command("umount").args(["--lazy", "--no-mtab"]).arg(&point));
    }
    Ok(())
}

/// Links to container logs and results of network set-ups lie in fixed places; ours are told by what they name.
fn remove_strays() -> Result<()> {
    for entry in entries("/var/log/containers") {
        if fs::read_link(&entry).is_ok_and(|target| target.starts_with(ROOT)) {
            fs::remove_file(&entry)?;
        }
    }
    for entry in entries("/var/lib/cni/results") {
        if fs::read_to_string(&entry).is_ok_and(|result| result.contains(RUN)) {
            fs::remove_file(&entry)?;
        }
    }
    Ok(())
}

/// Removes a tree of folders that hold nothing: a control group's own files go with it.
fn remove_empty(folder: &Path) {
    for entry in entries(folder) {
        if entry.is_dir() && !entry.is_symlink() {
            remove_empty(&entry);
        }
    }
    let _ = fs::remove_dir(folder);
}

fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let tail = " 0".repeat(17);
        let stat = fields(&format!("7 (a) (b c) S 3{tail} 99 1 2")).unwrap();
        assert_eq!((stat.parent, stat.start, stat.zombie), (3, 99, false));
    }

    #[test]
    fn our_own_start_time_does_not_change() {
        let start = start_of(std::process::id()).unwrap();
        assert_eq!(start_of(std::process::id()), Some(start));
        assert_eq!(start_of(0), None);
    }

    #[test]
    fn a_process_whose_start_differs_is_not_ours() {
        let pid = std::process::id();
        let process = Process {
            name: "x".into(),
            pid,
            start: 0,
        };
        assert_eq!(members(&[process], false), BTreeSet::new());
    }
}
