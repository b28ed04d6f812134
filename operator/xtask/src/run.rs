//! Running other programs. Every failure names the command and carries what it printed, because the person who
//! reads it usually cannot run the step again by hand. Waiting is always for a condition, with a bound.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A command whose search path also holds the administrator's folders, where `nft` and `ip` lie.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin"));
    command
}

/// A `cargo` in the checkout, as if nobody had started this program through another one: what that one tells about
/// its own package would make build scripts run, and crates compile, anew each time.
pub(crate) fn cargo() -> Command {
    let mut command = command("cargo");
    command.current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// What a `cargo test` of the end-to-end programs begins with. With the whole workspace, so that the features of other
/// crates are those that the unit tests were built with: else half of them would be compiled anew.
pub(crate) const E2E: &[&str] = &["--workspace", "--features", "tsutsumi-e2e/cluster"];

/// Runs to the end and returns standard output; the program's own words are the error otherwise.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    fed(command, Stdio::null())
}

fn fed(command: &mut Command, input: impl Into<Stdio>) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(input)
        .output()
        .with_context(|| format!("starting `{}`", shown(command)))?;
    if !status.success() {
        bail!(
            "`{}` ended with {status}:\n{}{}",
            shown(command),
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// As [`output`], with a text to read.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<String> {
    let mut file = tempfile::tempfile()?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    fed(command, file)
}

/// Runs to the end with the terminal as output, for steps a person watches.
pub(crate) fn visible(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs one line of arguments, split at blanks: for `ip` and `nft`, whose arguments hold none.
pub(crate) fn line(text: &str) -> Result<String> {
    let mut words = text.split_whitespace();
    let program = words.next().context("an empty command line")?;
    output(command(program).args(words))
}

/// Why waiting longer is of no use.
#[derive(Debug)]
pub(crate) struct Hopeless(pub(crate) String);

impl fmt::Display for Hopeless {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Asks again every 100 ms until there is an answer or an error is [`Hopeless`]; the last reason for waiting is the
/// error.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(value) => return Ok(value),
            Err(error) if error.is::<Hopeless>() => return Err(error.context(format!("waiting for {what}"))),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!("gave up after {} s waiting for {what}", limit.as_secs())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Says what is being done and, when it is done, how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let value = work().with_context(|| what.to_owned())?;
    println!("{:7.1} s  {what}", start.elapsed().as_secs_f64());
    Ok(value)
}

/// The checkout's top folder.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_command_and_its_words() {
        let error = output(command("sh").args(["-c", "echo out; echo err >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sh -c") && error.contains("out\nerr") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn waiting_gives_the_last_reason() {
        let error = wait_for::<()>("nothing", Duration::ZERO, || bail!("not yet")).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "gave up after 0 s waiting for nothing: not yet"
        );
    }

    #[test]
    fn waiting_ends_where_it_is_hopeless() {
        let mut asked = 0;
        let error = wait_for::<()>("etcd", Duration::from_secs(3600), || {
            asked += 1;
            Err(Hopeless("etcd ended".into()).into())
        });
        assert_eq!(
            (format!("{:#}", error.unwrap_err()), asked),
            ("waiting for etcd: etcd ended".into(), 1)
        );
    }
}
