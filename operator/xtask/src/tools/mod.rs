//! Programs the rig needs that are not ours: versions in one place, binaries cached outside the checkout as
//! `<tool>/<version>/<binary>`. A build happens in a folder of its own that is renamed when it is whole, so a
//! killed build never looks complete, and two that start together wait for one another.

pub(crate) mod coredns;
pub(crate) mod debian;
pub(crate) mod envoy;
pub(crate) mod envoy_gateway;
pub(crate) mod go;
pub(crate) mod helm;
pub(crate) mod knot;
pub(crate) mod kubernetes;
pub(crate) mod peers;
pub(crate) mod prometheus;
pub(crate) mod system;
pub(crate) mod unbound;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// What the rig runs unless told otherwise.
pub(crate) const KUBERNETES: &str = "1.34.3";
/// The newest CoreDNS whose `acl` also guards cached answers and whose plugin order is the one most clusters run.
pub(crate) const COREDNS: &str = "1.14.7";
/// The last release whose `acl` leaks cached answers; the suite proves that we say so.
pub(crate) const COREDNS_LEAKING: &str = "1.14.6";
/// The newest release, for its plugin order.
pub(crate) const COREDNS_NEWEST: &str = "1.15.0";
/// The oldest release without a published hole.
pub(crate) const UNBOUND: &str = "1.26.2";
/// What judges rules of Prometheus.
pub(crate) const PROMTOOL: &str = "2.53.3";
/// The server of the rig's own root.
pub(crate) const KNOT: &str = "3.4.6";
/// Resolvers that a user may run, and what measures resolvers: only `test --all` and `bench` need them.
const BIND: &str = "9.20.30";
const KNOT_RESOLVER: &str = "5.7.5";
const PDNS_RECURSOR: &str = "5.4.9";
const DNSPERF: &str = "2.14.0";
/// An ingress controller, and its proxy: only who puts one into a rig needs them.
pub(crate) const ENVOY_GATEWAY: &str = "1.9.0";
pub(crate) const ENVOY: &str = "1.39.3";
/// What installs the chart.
pub(crate) const HELM: &str = "3.19.0";

/// A release number without the leading `v`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Minor number, for modules whose version follows it.
    pub(crate) minor: u32,
    /// Patch number.
    pub(crate) patch: u32,
    text: String,
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let parts: Vec<u32> = text.split('.').map_while(|part| part.parse().ok()).collect();
        match parts[..] {
            [_, minor, patch] if text.split('.').count() == 3 => Ok(Self {
                minor,
                patch,
                text: text.to_owned(),
            }),
            _ => bail!("`{text}` is not a release; write three numbers, for example {KUBERNETES}"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Builds or finds everything that the rig and its suite run, one after the other: each build fills the machine.
pub(crate) fn all() -> Result<()> {
    system::ensure()?;
    let cache = Cache::open()?;
    kubernetes::folder(&cache, &KUBERNETES.parse()?)?;
    for version in [COREDNS, COREDNS_LEAKING, COREDNS_NEWEST] {
        coredns::binary(&cache, &version.parse()?)?;
    }
    unbound::folder(&cache)?;
    prometheus::promtool(&cache)?;
    knot::folder(&cache)?;
    helm::binary(&cache).map(drop)
}

/// The folder of built programs.
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$TSUTSUMI_CACHE`, else the user's cache folder.
    pub(crate) fn open() -> Result<Self> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let root = set("TSUTSUMI_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("tsutsumi")))
            .or_else(|| set("HOME").map(|folder| folder.join(".cache/tsutsumi")))
            .context("no place for built programs: set TSUTSUMI_CACHE to a folder")?;
        Ok(Self { root })
    }

    /// The folder that holds all of `binaries`, built by `build` into an empty folder when one is missing.
    pub(crate) fn ensure(
        &self,
        tool: &str,
        version: &Version,
        binaries: &[&str],
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let family = self.root.join(tool);
        let folder = family.join(format!("v{version}"));
        let whole = |folder: &Path| binaries.iter().all(|binary| folder.join(binary).is_file());
        if whole(&folder) {
            return Ok(folder);
        }
        fs::create_dir_all(&family).with_context(|| format!("creating {}", family.display()))?;
        let lock =
            File::create(family.join(format!(".v{version}.lock"))).context("creating the build's lock")?;
        lock.lock().context("waiting for another build")?;
        if whole(&folder) {
            return Ok(folder);
        }
        let prefix = format!(".building-v{version}-");
        remove_abandoned(&family, &prefix)?;
        let work = tempfile::Builder::new().prefix(&prefix).tempdir_in(&family)?;
        let out = work.path().join("out");
        fs::create_dir(&out)?;
        crate::run::step(&format!("built {tool} {version}"), || build(&out))?;
        if !whole(&out) {
            bail!("the build of {tool} {version} did not leave {binaries:?}");
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("removing the partial {}", folder.display()))?;
        }
        fs::rename(&out, &folder).with_context(|| format!("naming {}", folder.display()))?;
        Ok(folder)
    }
}

/// What a killed build of the same version left; nobody else builds it while we hold its lock.
fn remove_abandoned(family: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(family)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers() {
        assert_eq!("v1.34.3".parse::<Version>().unwrap().to_string(), "1.34.3");
        for bad in ["1.34", "1.x.3", "1.2.3.4", "", "1.2.3-rc.1"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_partial_folder_is_built_anew_and_a_whole_one_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: root.path().to_owned(),
        };
        let version: Version = "1.0.0".parse().unwrap();
        fs::create_dir_all(root.path().join("tool/v1.0.0")).unwrap();
        fs::write(root.path().join("tool/v1.0.0/one"), "old").unwrap();
        fs::create_dir_all(root.path().join("tool/.building-v1.0.0-killed/out")).unwrap();
        let write = |out: &Path| -> Result<()> {
            fs::write(out.join("one"), "new")?;
            fs::write(out.join("two"), "new")?;
            Ok(())
        };
        let folder = cache.ensure("tool", &version, &["one", "two"], write).unwrap();
        assert_eq!(fs::read_to_string(folder.join("one")).unwrap(), "new");
        assert!(!root.path().join("tool/.building-v1.0.0-killed").exists());
        cache
            .ensure("tool", &version, &["one", "two"], |_| bail!("built again"))
            .unwrap();
    }

    #[test]
    fn a_build_that_leaves_too_little_is_an_error_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: root.path().to_owned(),
        };
        let version: Version = "1.0.0".parse().unwrap();
        assert!(cache.ensure("tool", &version, &["one"], |_| Ok(())).is_err());
        assert!(!root.path().join("tool/v1.0.0").exists());
    }
}
