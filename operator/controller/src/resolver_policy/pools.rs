//! The pools of Calico and Cilium, from which pods get their addresses. Their kinds are optional.

use std::sync::Arc;

use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tsutsumi_engine::ranges::{Pool, PoolKind};

use super::optional::Optional;

/// Watches the kinds that the cluster has.
pub(super) async fn start(client: &Client, trigger: &mpsc::Sender<()>) -> Optional<Arc<Pool>> {
    let mut pools = Optional::default();
    for kind in PoolKind::ALL {
        let read = move |object: &kube::core::DynamicObject| {
            let spec = object.data.get("spec").unwrap_or(&Value::Null);
            Arc::new(kind.read(&object.name_any(), spec))
        };
        pools
            .watch(client, (kind.group(), kind.kind()), read, trigger)
            .await;
    }
    pools
}

#[cfg(test)]
#[path = "pools_tests.rs"]
mod tests;
