//! What the leader keeps between two reconciles of one policy, so that its own writes need not come back by watch first.
//!
//! Everything here can be lost: the record comes back from our ConfigMap, the rollout from the status.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use tsutsumi_api::{ResolverPolicy, ResolverPolicyStatus, resolver_policy::Rollout};
use tsutsumi_engine::{
    cluster::{self, Cluster},
    resolver::Record,
};

use super::{
    closing,
    error::Error,
    switch::{Asking, Held},
    upstreams::Look,
    watch::Seen,
};

/// What is kept of one policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Which directives are ours, and the texts.
    pub(crate) record: Record,
    /// How far the change has come.
    pub(crate) rollout: Option<Rollout>,
    /// The status as it was said last.
    pub(crate) status: Option<ResolverPolicyStatus>,
    /// The evidence as it stands in our ConfigMap.
    pub(crate) evidence: Option<BTreeMap<String, String>>,
    /// The round whose evidence is kept.
    pub(crate) evidence_of: Option<jiff::Timestamp>,
    /// Per pod, the rounds in a row without an answer.
    pub(crate) misses: BTreeMap<String, u32>,
    /// The objects of the managed resolver that this process applied last, by their digest.
    pub(crate) unbound_applied: Option<String>,
    /// Those after which it removed older configurations.
    pub(crate) unbound_swept: Option<String>,
    /// Our last write of a text.
    pub(crate) own_write: Option<OwnWrite>,
    /// The last look at the user's resolvers.
    pub(crate) upstreams: Option<Look>,
    /// The change of ours that was in force when the one under way began.
    pub(crate) stood: Option<Rollout>,
    /// What cluster DNS was asked for, once it was watched.
    pub(crate) seen: Option<Seen>,
    /// The comparison of both paths that is under way.
    pub(crate) asking: Option<Asking>,
    /// What the last one found worse.
    pub(crate) held: Option<Held>,
    /// What was closed lately.
    pub(crate) closed: closing::Past,
}

/// A ConfigMap as we wrote it. A watch may be late, and the text from before our write must not look like one that
/// somebody has put back since.
#[derive(Clone, Debug)]
pub(crate) struct OwnWrite {
    over: Option<String>,
    written: Arc<ConfigMap>,
}

impl OwnWrite {
    /// What came of a write over the version that was read.
    pub(crate) fn new(over: Option<String>, mut written: ConfigMap) -> Self {
        cluster::prune_config_map(&mut written);
        Self {
            over,
            written: Arc::new(written),
        }
    }

    /// Shows the write in place of the version that it replaced. Any other version came after it, and stands.
    pub(crate) fn show(&self, cluster: &mut Cluster) {
        let (name, namespace) = (self.written.name_any(), self.written.namespace());
        for known in &mut cluster.config_maps {
            if known.name_any() == name
                && known.namespace() == namespace
                && known.metadata.resource_version == self.over
            {
                *known = Arc::clone(&self.written);
            }
        }
    }
}

/// The memories of all policies, by name.
#[derive(Debug, Default)]
pub(crate) struct Memories(Mutex<HashMap<String, Memory>>);

impl Memories {
    /// The memory of a policy: as kept, else read from our ConfigMap and from the status.
    pub(crate) async fn load(&self, policy: &ResolverPolicy, own: &Api<ConfigMap>) -> Result<Memory, Error> {
        let name = policy.metadata.name.clone().unwrap_or_default();
        if let Some(kept) = self.all().get(&name) {
            return Ok(kept.clone());
        }
        let kept = own
            .get_opt(&Record::name(&name))
            .await
            .map_err(|source| Error::Load {
                source: source.into(),
            })?;
        let data = kept.and_then(|config_map| config_map.data).unwrap_or_default();
        let record = Record::parse(&data).map_err(|source| Error::Load {
            source: source.into(),
        })?;
        let rollout = policy.status.as_ref().and_then(|status| status.rollout.clone());
        Ok(Memory {
            record,
            rollout,
            ..Memory::default()
        })
    }

    /// Keeps a memory until the next reconcile.
    pub(crate) fn keep(&self, policy: &str, memory: Memory) {
        self.all().insert(policy.to_owned(), memory);
    }

    /// Forgets a policy: it is gone, or a write failed and the cluster knows better.
    pub(crate) fn forget(&self, policy: &str) {
        self.all().remove(policy);
    }

    /// Forgets everything: another replica may have written since.
    pub(crate) fn clear(&self) {
        self.all().clear();
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("coredns".into());
        map.metadata.namespace = Some("kube-system".into());
        map.metadata.resource_version = Some(number.into());
        map
    }

    #[test]
    fn our_write_stands_in_for_what_it_replaced_and_for_nothing_newer() {
        let write = OwnWrite::new(Some("7".into()), version("8"));
        for (cached, shown) in [("7", "8"), ("8", "8"), ("9", "9")] {
            let mut cluster = Cluster::default();
            cluster.config_maps.push(Arc::new(version(cached)));
            write.show(&mut cluster);
            let found = cluster.config_map("kube-system", "coredns").unwrap();
            assert_eq!(found.metadata.resource_version.as_deref(), Some(shown));
        }
    }
}
