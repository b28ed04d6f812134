//! What a managed resolver needs before a policy may ask for one.

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Scenario;
use crate::{
    cluster::MADE,
    install::{self, NAMESPACE},
    policy::{ANCHORS, HINTS},
};

impl Scenario {
    /// Installs with the right to run resolvers, and says what the rig's root is.
    ///
    /// # Errors
    /// If something does not come up.
    pub async fn may_run_resolvers(&self) -> Result<()> {
        install::install(
            &self.rig,
            &install::with_resolvers(&self.rig, &self.rig.unbound_image()?),
        )?;
        self.give(HINTS, "named.root", &self.rig.root("named.root")?)
            .await?;
        self.give(ANCHORS, "root.key", &self.rig.root("root.key")?).await
    }

    /// Puts a text into a ConfigMap of our namespace.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn give(&self, name: &str, key: &str, text: &str) -> Result<()> {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {MADE: ""}},
            "data": {key: text},
        });
        self.cluster
            .within::<ConfigMap>(NAMESPACE)
            .patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&map))
            .await?;
        Ok(())
    }
}
