//! Programs of another Debian release, unpacked into a folder of the cache; the machine's own packages stay as they
//! are. apt works in folders of its own, from the mirrors that the machine uses, and checks their signatures.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Cache, Version};
use crate::run;

const SUITE: &str = "trixie";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where such a folder has its libraries.
pub(crate) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Where such a folder has the program that loads them.
pub(crate) const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// The folder that `packages` and all they depend on are unpacked into, without running any of their scripts.
/// `version` is the first package's, whose epoch may stand behind its name (`bind9=1:`); `needs` are files that must be
/// there.
pub(crate) fn rootfs(cache: &Cache, version: &Version, packages: &[&str], needs: &[&str]) -> Result<PathBuf> {
    let [first, others @ ..] = packages else {
        bail!("no package is named")
    };
    let (name, epoch) = first.split_once('=').unwrap_or((first, ""));
    let family = format!("{SUITE}-{name}");
    cache.ensure(&family, version, needs, |out| {
        let first = format!("{name}={epoch}{version}*");
        let names: Vec<&str> = [first.as_str()]
            .into_iter()
            .chain(others.iter().copied())
            .collect();
        unpack(&names, out)
    })
}

/// A program of such a folder, started by the folder's own loader, so that it runs beside an older C library.
pub(crate) fn command(root: &Path, path: &str) -> Command {
    let mut command = run::command(root.join(LOADER));
    command
        .arg("--library-path")
        .arg(root.join(LIBRARIES))
        .arg(root.join(path));
    command
}

/// A program of such a folder and the files that it loads: where each lies in an image, and where it is read from.
pub(crate) fn program(root: &Path, path: &str) -> Result<Vec<(String, PathBuf)>> {
    let program = root.join(path);
    let mut files = loaded(root, &program)?;
    files.push((format!("/{path}"), program));
    Ok(files)
}

/// The files of such a folder that a program loads, wherever that comes from.
pub(crate) fn loaded(root: &Path, program: &Path) -> Result<Vec<(String, PathBuf)>> {
    let libraries = root.join(LIBRARIES);
    let listed = run::output(
        run::command(root.join(LOADER))
            .arg("--library-path")
            .arg(&libraries)
            .arg("--list")
            .arg(program),
    )?;
    let mut files = vec![("/lib64/ld-linux-x86-64.so.2".to_owned(), root.join(LOADER))];
    for name in needed(&listed)? {
        files.push((format!("/{LIBRARIES}/{name}"), libraries.join(name)));
    }
    Ok(files)
}

/// The names in what a loader lists: `libssl.so.3 => /…/libssl.so.3 (0x…)`. The kernel's and the loader have no
/// place among the libraries.
fn needed(listed: &str) -> Result<Vec<&str>> {
    let mut names = Vec::new();
    for line in listed.lines() {
        let Some((name, found)) = line.trim().split_once(" => ") else {
            continue;
        };
        if found.starts_with("not found") {
            bail!("the library {name} is in none of the packages");
        }
        if !name.contains('/') {
            names.push(name);
        }
    }
    Ok(names)
}

fn unpack(packages: &[&str], out: &Path) -> Result<()> {
    let work = tempfile::tempdir()?;
    let folder = work.path();
    for part in [
        "state/lists/partial",
        "cache/archives/partial",
        "etc/preferences.d",
    ] {
        fs::create_dir_all(folder.join(part)).with_context(|| format!("creating {part}"))?;
    }
    // Nothing counts as installed, so everything that is needed is fetched.
    fs::write(folder.join("state/status"), "")?;
    let uris = run::output(run::command("apt-get").args(["update", "--print-uris"]))?;
    fs::write(folder.join("etc/sources.list"), sources(&uris)?)?;
    let apt = |arguments: &[&str]| {
        let mut command = run::command("apt-get");
        for (option, place) in [
            ("Dir::State", "state"),
            ("Dir::State::status", "state/status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc", "etc"),
            ("Dir::Etc::sourcelist", "etc/sources.list"),
        ] {
            command
                .arg("-o")
                .arg(format!("{option}={}", folder.join(place).display()));
        }
        command.args([
            "-o",
            "Dir::Etc::sourceparts=/dev/null",
            "-o",
            "Debug::NoLocking=1",
        ]);
        // Whoever runs this may read the folder; apt's own user may not.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]);
        command.args(["-o", "Acquire::Retries=3", "-o", "APT::Architecture=amd64", "-qq"]);
        run::output(command.args(arguments))
    };
    apt(&["update", "-o", "APT::Update::Error-Mode=any"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends", "--download-only"];
    arguments.extend(packages);
    apt(&arguments)?;
    let mut archives: Vec<PathBuf> = fs::read_dir(folder.join("cache/archives"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    archives.sort();
    for archive in archives {
        run::output(run::command("dpkg-deb").arg("--extract").arg(archive).arg(out))?;
    }
    Ok(())
}

/// apt's list for [`SUITE`], from the mirrors that `apt-get update --print-uris` names.
fn sources(uris: &str) -> Result<String> {
    let mirrors: BTreeSet<&str> = uris
        .lines()
        .filter_map(|line| line.trim_start_matches('\'').split_once("/dists/"))
        .map(|(mirror, _)| mirror.trim_end_matches('/'))
        .collect();
    let lines: String = mirrors
        .iter()
        .filter_map(|mirror| {
            let suite = match mirror.rsplit('/').next()? {
                "debian" => SUITE.to_owned(),
                "debian-security" => format!("{SUITE}-security"),
                _ => return None,
            };
            Some(format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
        })
        .collect();
    if lines.is_empty() {
        bail!("apt knows no mirror of Debian: add one to /etc/apt/sources.list");
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_s_own_mirrors_are_used() {
        let uris = "'http://m.test/debian/dists/bookworm/InRelease' m.test_x 0 \n\
                    'http://m.test/debian/dists/bookworm-updates/InRelease' y 0 \n\
                    'https://node.test/node_20.x/dists/nodistro/InRelease' z 0 \n\
                    'http://m.test/debian-security/dists/bookworm-security/InRelease' w 0 \n";
        let found = sources(uris).unwrap();
        let lines: Vec<&str> = found
            .lines()
            .map(|line| line.split_once("] ").unwrap().1)
            .collect();
        assert_eq!(
            lines,
            [
                "http://m.test/debian trixie main",
                "http://m.test/debian-security trixie-security main"
            ]
        );
        assert!(sources("").is_err());
    }

    #[test]
    fn libraries_are_read_from_the_loader_s_list() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibssl.so.3 => /r/libssl.so.3 (0x2)\n\
                      \t/lib64/ld-linux-x86-64.so.2 => /r/ld (0x3)\n";
        assert_eq!(needed(listed).unwrap(), ["libssl.so.3"]);
        assert!(needed("\tliba.so => not found\n").is_err());
    }
}
