//! The chart in the rig's cluster.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::facts::Own;
use super::root;
use crate::{run, tools};

/// Where the chart is installed.
pub(crate) const NAMESPACE: &str = "tsutsumi-system";

/// The ConfigMaps with the rig's own root, as a policy's `recursion.roots` names them.
pub(crate) const HINTS: &str = "rig-hints";
pub(crate) const ANCHORS: &str = "rig-anchors";

/// The chart's values with which managed resolvers may run, from the image that every node has.
pub(crate) fn resolver_values() -> String {
    format!(
        "managedResolver.enabled=true,managedResolver.image.repository=e2e.local/unbound,\
         managedResolver.image.tag={},managedResolver.image.pullPolicy=Never",
        tools::UNBOUND
    )
}

impl Own {
    /// kubectl as an administrator runs it.
    pub(crate) fn kubectl(&self, kubeconfig: &Path) -> Command {
        let mut command = run::command(self.kubernetes.join("kubectl"));
        command.env("KUBECONFIG", kubeconfig);
        command
    }

    /// Makes the ConfigMaps with the rig's own root.
    pub(crate) fn give_root(&self, kubeconfig: &Path) -> Result<()> {
        for (name, file) in [(HINTS, "named.root"), (ANCHORS, "root.key")] {
            let mut kubectl = self.kubectl(kubeconfig);
            kubectl.args(["--namespace", NAMESPACE, "create", "configmap", name]);
            kubectl.arg(format!("--from-file={}", root::folder().join(file).display()));
            run::output(&mut kubectl)?;
        }
        Ok(())
    }

    /// Installs or upgrades with these values, in the form of `helm --set`, and waits until every part is up.
    pub(crate) fn install(&self, kubeconfig: &Path, values: &str) -> Result<()> {
        let mut helm = run::command(&self.helm);
        helm.env("KUBECONFIG", kubeconfig).current_dir(run::workspace());
        helm.args(["upgrade", "--install", "tsutsumi", "charts/tsutsumi"]);
        helm.args(["--namespace", NAMESPACE, "--create-namespace"]);
        helm.args(["--wait", "--timeout=3m", "--set", values]);
        run::output(&mut helm).map(drop)
    }
}
