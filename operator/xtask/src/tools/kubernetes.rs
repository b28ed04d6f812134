//! Kubernetes' own programs, from the module `k8s.io/kubernetes`.
//!
//! Its `go.mod` replaces the staging modules by folders that a module does not carry. Each has a published twin
//! (1.34.3 is 0.34.3 there), so the build takes the module's own `go.mod` with these replacements turned to the
//! twins: every other dependency stays at the version that the release was tested with, and nothing is resolved anew.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Cache, Version, go};
use crate::run;

const PROGRAMS: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// The folder with all six programs.
pub(crate) fn folder(cache: &Cache, version: &Version) -> Result<PathBuf> {
    cache.ensure("kubernetes", version, &PROGRAMS, |out| build(version, out))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    dir: PathBuf,
}

fn build(version: &Version, out: &Path) -> Result<()> {
    let module = format!("k8s.io/kubernetes@v{version}");
    let answer = run::output(go::go().args(["mod", "download", "-json", &module]))?;
    let Module { dir } =
        serde_json::from_str(&answer).with_context(|| format!("reading where {module} lies"))?;
    let work = tempfile::tempdir()?;
    let modfile = work.path().join("go.mod");
    let published = with_published_staging(&fs::read_to_string(dir.join("go.mod"))?, version);
    fs::write(&modfile, published)?;
    // A module in the download cache is read-only, and so would be the copy.
    fs::write(work.path().join("go.sum"), fs::read(dir.join("go.sum"))?)?;
    // Without this every program calls itself v0.0.0, and so does the cluster.
    let stamp = format!(
        "{} -X k8s.io/component-base/version.gitVersion=v{version} -X k8s.io/component-base/version.gitMajor=1 \
         -X k8s.io/component-base/version.gitMinor={}",
        go::STRIP,
        version.minor
    );
    let mut command = go::go();
    command
        .current_dir(&dir)
        .args(["build", "-mod=mod", "-trimpath", "-ldflags", &stamp, "-modfile"]);
    command.arg(&modfile).arg("-o").arg(out);
    command.args(PROGRAMS.map(|program| format!("./cmd/{program}")));
    run::output(&mut command).map(drop)
}

/// `k8s.io/api => ./staging/src/k8s.io/api` becomes `k8s.io/api => k8s.io/api v0.34.3`.
fn with_published_staging(go_mod: &str, version: &Version) -> String {
    let turn = |line: &str| match line.split_once("=> ./staging/src/") {
        Some((before, name)) => format!("{before}=> {name} v0.{}.{}\n", version.minor, version.patch),
        None => format!("{line}\n"),
    };
    go_mod.lines().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_folders_become_published_modules() {
        let text = "module k8s.io/kubernetes\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n";
        let expected = "module k8s.io/kubernetes\n\nreplace (\n\tk8s.io/api => k8s.io/api v0.34.3\n)\n";
        assert_eq!(with_published_staging(text, &"1.34.3".parse().unwrap()), expected);
    }
}
