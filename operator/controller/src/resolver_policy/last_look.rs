//! The last look before a write: the nodes are read anew, because the watch may be late, and a list of clients that
//! misses a node locks out everything on it until the watch catches up.
//!
//! Only nodes: their ranges hold the pods, and there are few enough to read them at each change of the text.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams};
use tsutsumi_engine::{
    cluster::{self, Cluster},
    ranges::allow_list,
};

use super::apply::Scene;

/// Nodes to read at once.
const PAGE: u32 = 100;

/// Whether the nodes that are there now make the list of clients that the plan was made with.
pub(crate) async fn is_planned(scene: &Scene<'_>) -> kube::Result<bool> {
    let (Some(clients), Some(planned)) = (&scene.checked.policy.spec.clients, &scene.checked.allow) else {
        return Ok(true);
    };
    let present = Cluster {
        nodes: nodes(&scene.ctx.client).await?,
        ..scene.cluster.clone()
    };
    Ok(allow_list(&present, clients).nets == planned.nets)
}

async fn nodes(client: &Client) -> kube::Result<Vec<Arc<Node>>> {
    let api: Api<Node> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut all = Vec::new();
    loop {
        let listed = api.list(&page).await?;
        all.extend(listed.items.into_iter().map(|mut node| {
            cluster::prune_node(&mut node);
            Arc::new(node)
        }));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(all),
        }
    }
}
