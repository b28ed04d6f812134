//! Building Go programs the same way each time: static, without paths or symbols, with the installed toolchain.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Version;
use crate::run;

/// Drops the symbol tables: the programs are a third smaller and start sooner.
pub(crate) const STRIP: &str = "-s -w";

/// A `go` that no setting of the machine's user bends.
pub(crate) fn go() -> Command {
    let mut command = run::command("go");
    command
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env_remove("GOBIN");
    if std::env::var_os("PATH").is_none_or(|path| !path.to_string_lossy().contains("/go/bin")) {
        command.env(
            "PATH",
            format!("{}:/usr/local/go/bin", std::env::var("PATH").unwrap_or_default()),
        );
    }
    command
}

/// Installs one program from its module into `out`.
pub(crate) fn install(package: &str, version: &Version, out: &Path) -> Result<()> {
    let package = format!("{package}@v{version}");
    run::output(
        go().env("GOBIN", out)
            .args(["install", "-trimpath", "-ldflags", STRIP, &package]),
    )
    .map(drop)
}
