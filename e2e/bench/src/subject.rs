//! The two programs that are compared: how they are started and ended, and what the kernel says they used.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

/// The namespace that the controller calls its own.
pub(crate) const NAMESPACE: &str = "tsutsumi-system";

/// One of the two.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Subject {
    /// The controller.
    Tsutsumi,
    /// The operator that does nothing.
    Null,
}

/// Where the programs and the files of a run lie.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The controller.
    pub(crate) controller: PathBuf,
    /// The operator that does nothing.
    pub(crate) null: PathBuf,
    /// Kubeconfigs, by subject, and logs.
    pub(crate) folder: PathBuf,
    /// The processor that the subject has to itself.
    pub(crate) core: Option<usize>,
}

/// A running subject; it ends with this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Subject {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Tsutsumi, Self::Null];

    /// Its user at the API server, and the name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tsutsumi => "tsutsumi",
            Self::Null => "null",
        }
    }
}

impl Programs {
    /// Starts a subject.
    pub(crate) fn start(&self, subject: Subject) -> Result<Running> {
        let program = match subject {
            Subject::Tsutsumi => &self.controller,
            Subject::Null => &self.null,
        };
        let mut command = match self.core {
            // It replaces itself, so the process is the subject's.
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("--cpu-list").arg(core.to_string()).arg(program);
                command
            }
            None => Command::new(program),
        };
        if subject == Subject::Tsutsumi {
            command.args(["controller", "--namespace", NAMESPACE, "--pod-name", "bench-0"]);
            command.args(["--admin-address", "127.0.0.1:0"]);
            command.args(["--config-map", "kube-system/coredns,kube-system/kubeadm-config"]);
        }
        let log = self.folder.join(format!("{}.log", subject.name()));
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .env("KUBECONFIG", self.kubeconfig(subject.name()))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Running { child, log })
    }

    /// The kubeconfig of a user.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    /// The API server's record of calls.
    pub(crate) fn audit(&self) -> PathBuf {
        self.folder.join("audit.log")
    }
}

impl Running {
    /// Asks it to end and waits, so that it gives its lease back.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-s", "TERM", &pid]).status()?;
        let limit = Instant::now() + Duration::from_secs(20);
        while Instant::now() < limit {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Fails with the last words where it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(5).collect();
                bail!("the subject ended with {status}:\n{}", last.join("\n"))
            }
        }
    }

    /// Most memory so far and memory now, in MiB.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(self.proc("status"))?;
        Ok((
            kibibytes(&status, "VmHWM:")? / 1024.0,
            kibibytes(&status, "VmRSS:")? / 1024.0,
        ))
    }

    /// Processor time used so far, in seconds; its threads live as long as it does.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for task in fs::read_dir(self.proc("task"))? {
            // A thread of the pool may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let run = text.split_whitespace().next().context("a time in schedstat")?;
            nanoseconds += run.parse::<f64>()?;
        }
        Ok(nanoseconds / 1e9)
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kibibytes(status: &str, field: &str) -> Result<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let number = value.and_then(|value| value.split_whitespace().next());
    number
        .with_context(|| format!("{field} is missing"))?
        .parse()
        .context("reading a size")
}
