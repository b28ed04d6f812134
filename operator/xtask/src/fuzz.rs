//! The fuzz targets, as `operator/fuzz/README.md` runs them: each for a minute, side by side, from the corpus of
//! the parser's own tests. A failing input stays in `artifacts/` and is named in the output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::run;

/// Seconds that each target runs.
const SECONDS: u32 = 60;
/// Given explicitly, it keeps the flags away from build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What tells libFuzzer which branches were taken, from the stable compiler.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Builds all targets, then runs them.
pub(crate) fn run() -> Result<()> {
    let folder = run::workspace().join("operator/fuzz");
    let names = targets(&folder)?;
    run::output(&mut cargo(&folder, "build"))?;
    std::thread::scope(|scope| {
        let running: Vec<_> = names
            .iter()
            .map(|name| (name, scope.spawn(|| one(&folder, name))))
            .collect();
        running.into_iter().try_for_each(|(name, thread)| {
            let result = thread.join().map_err(|_| anyhow!("its runner stopped"))?;
            result.with_context(|| format!("target {name}"))
        })
    })?;
    println!("{} ran for {SECONDS} s each", names.join(", "));
    Ok(())
}

fn one(folder: &Path, name: &str) -> Result<()> {
    let corpus = folder.join("corpus").join(name);
    for needed in [&corpus, &folder.join("artifacts")] {
        fs::create_dir_all(needed).with_context(|| format!("creating {}", needed.display()))?;
    }
    let mut command = cargo(folder, "run");
    command.args([
        "--bin",
        name,
        "--",
        "-max_len=2048",
        "-timeout=10",
        "-dict=dictionary",
    ]);
    command
        .arg(format!("-max_total_time={SECONDS}"))
        .args(["-artifact_prefix=artifacts/"])
        .arg(corpus);
    for seeds in ["accepts", "rejects"] {
        command.arg(Path::new("../providers/testdata/corpus").join(seeds));
    }
    run::output(&mut command).map(drop)
}

fn cargo(folder: &Path, verb: &str) -> Command {
    let mut command = run::cargo();
    command.current_dir(folder).env("RUSTFLAGS", FLAGS);
    command.args([verb, "--quiet", "--locked", "--release", "--target", TARGET]);
    command
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let mut names: Vec<String> = paths
        .iter()
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}
