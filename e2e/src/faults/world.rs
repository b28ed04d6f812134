//! One world for the tests of one mode: cluster DNS that runs, a prober, the proxy, and changes to be made.
//!
//! Every change begins from the same Corefile with a controller that starts anew, and ends where [`End`] says. The
//! world's objects are what kubelet, the workload controllers and the chart would have made.

use std::{
    env,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::{
    Client, Config, ResourceExt as _,
    api::{DeleteParams, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tsutsumi_api::{
    ResolverPolicy,
    conditions::{ConditionType, Reason},
    resolver_policy::RolloutState,
};
use tsutsumi_model::{ControlId, ControlState};

use super::{
    fault::Rule,
    network::Network,
    node::Node,
    outcome::{End, Outcome},
    prober::Prober,
    proxy::{Made, Proxy},
    stage,
};
use crate::{
    cluster::Cluster,
    controller::{Local, Running},
    dns::{API, Question, ask},
    install::NAMESPACE,
    place::Place,
    policy,
    steady::Steady,
    wait,
};

/// The policy that is changed.
pub const POLICY: &str = "faults";
/// How long a change may take in the worst case: a call that hangs, the pause after it, and everything once more.
pub const SETTLES: Duration = Duration::from_secs(60);

/// The world of a test.
pub struct World {
    /// The cluster as an administrator sees it.
    pub cluster: Cluster,
    /// Between the controller and the API server.
    pub proxy: Proxy,
    controller: Local,
    _node: Node,
    _prober: Prober,
    _network: Arc<Network>,
}

/// Namespaces and the one API server are taken.
static WORLD: Mutex<()> = Mutex::new(());

/// Runs a test in a world of its own; its failure is told with the controller's last words. A client asks a pod of
/// cluster DNS all along, and the test fails if it ever gets no answer.
///
/// # Errors
/// As the test fails, if a question was lost, or if the world could not begin.
pub fn run(test: impl AsyncFnOnce(&World) -> Result<()>) -> Result<()> {
    let _alone = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let world = Box::pin(World::begin()).await.context("preparing the world")?;
        let pods = world.cluster.dns_pods().await?;
        let first = pods.first().context("there are pods")?;
        let client = Steady::start(&Network::world(), (first.address, 53).into());
        let outcome = test(&world).await;
        if outcome.is_err() {
            let log = world.controller.log();
            let last: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!(
                "the controller's last words, the last first:\n{}",
                last.join("\n")
            );
        }
        outcome?;
        client.lost_nothing().map(drop)
    })
}

impl World {
    async fn begin() -> Result<Self> {
        let client = administrator().await?;
        let cluster = Cluster {
            client: client.clone(),
        };
        let network = Network::make()?;
        stage::set(&cluster)
            .await
            .context("making the cluster's objects")?;
        let node = Node::start(client.clone(), Arc::clone(&network), fact("TSUTSUMI_COREDNS")?)?;
        stage::dns(&cluster).await.context("starting cluster DNS")?;
        let proxy = Proxy::start(&Network::world(), client)?;
        let controller = Local::with(arguments(), proxy.address, Network::world())?;
        // The first controller issues the certificates with which the prober starts.
        let prober = {
            let _first = controller.start(None)?;
            Prober::start(&cluster, &network).await?
        };
        Ok(Self {
            cluster,
            proxy,
            controller,
            _node: node,
            _prober: prober,
            _network: network,
        })
    }

    /// Makes the one change from the start to its end, while these rules spoil calls.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn change(&self, rules: Vec<Rule>) -> Result<Outcome> {
        let _running = self.started(rules).await?;
        self.ended().await
    }

    /// Makes the change once for each case and compares where it ends; tells every case that ends elsewhere.
    ///
    /// # Errors
    /// If one does, or if the first call of its kind was to be spoiled and was not.
    pub async fn sweep(&self, reference: &Outcome, cases: Vec<(String, Vec<Rule>)>) -> Result<()> {
        let (count, mut wrong) = (cases.len(), Vec::new());
        for (told, rules) in cases {
            let first = rules.iter().any(|rule| rule.nth.is_none_or(|nth| nth == 1));
            let found = self.change(rules).await.and_then(|found| {
                let spoiled = found.made.iter().any(|made| made.spoiled);
                ensure!(spoiled || !first, "the call was never made");
                found.ends_like(reference)
            });
            if let Err(error) = found {
                eprintln!("{told}: {error:#}");
                wrong.push(told);
            }
        }
        ensure!(
            wrong.is_empty(),
            "{} of {count} changes went wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        Ok(())
    }

    /// Begins the one change: the same start, the policy, and a new controller.
    ///
    /// # Errors
    /// If it cannot begin.
    pub async fn started(&self, rules: Vec<Rule>) -> Result<Running> {
        self.wished(&wish(), rules).await
    }

    /// As [`World::started`], with a policy of the test's own.
    ///
    /// # Errors
    /// If it cannot begin.
    pub async fn wished(&self, policy: &Value, rules: Vec<Rule>) -> Result<Running> {
        self.reset().await.context("going back to the start")?;
        self.cluster.apply_policy(policy).await?;
        self.proxy.arm(rules);
        self.controller.clear_log()?;
        self.controller.start(None)
    }

    /// A controller in place of one that was killed.
    ///
    /// # Errors
    /// If it does not start.
    pub fn again(&self) -> Result<Running> {
        self.controller.start(None)
    }

    /// Waits for the end of the change.
    ///
    /// # Errors
    /// If it does not come.
    pub async fn ended(&self) -> Result<Outcome> {
        // Without a client outside the controls do not pass as a whole; a round of an older change would be told as
        // stale. DNS-12 passes only in a round that reached the prober, which a controller that has just started may
        // not have found yet.
        let settled = |policy: &ResolverPolicy| {
            let verified = policy::condition(policy, ConditionType::Verified);
            policy::rollout(policy) == Some(RolloutState::Settled)
                && verified.is_some_and(|found| found.reason == Reason::Undetermined.as_str())
                && policy::came_to(policy, ControlId::Dns12, ControlState::Pass)
        };
        let found = wait::object(
            &self.cluster.policies(),
            POLICY,
            "settled and verified",
            SETTLES,
            |found| found.is_some_and(settled),
        )
        .await?;
        wait::until("the canaries are removed", SETTLES, async || {
            let (pods, maps) = self.canaries().await?;
            ensure!(pods + maps == 0, "{pods} pods and {maps} ConfigMaps are left");
            Ok(())
        })
        .await?;
        let status = found.and_then(|policy| policy.status).unwrap_or_default();
        let conditions = status
            .conditions
            .iter()
            .map(|one| format!("{}={} ({})", one.type_, one.status, one.reason));
        let rollout = status
            .rollout
            .iter()
            .map(|one| format!("{:?} {}, {} reverts", one.state, one.identity, one.reverts.len()));
        let maps = self
            .cluster
            .within::<ConfigMap>(NAMESPACE)
            .list(&ListParams::default())
            .await?;
        let ours = maps
            .into_iter()
            .filter(|map| map.name_any().starts_with("tsutsumi-"));
        let ours = ours.map(|map| {
            let name = map.name_any();
            let evidence = name.starts_with("tsutsumi-evidence");
            let data = map.data.unwrap_or_default().into_iter();
            let data = data.map(|(key, text)| (key, if evidence { String::new() } else { text }));
            (name, data.collect())
        });
        Ok(Outcome {
            end: End {
                corefile: self.cluster.corefile().await?,
                ours: ours.collect(),
                status: conditions.chain(rollout).collect(),
            },
            made: self.proxy.made(),
        })
    }

    /// Waits until the controller has made such a call.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn until(&self, what: &str, mut such: impl FnMut(&Made) -> bool) -> Result<()> {
        let made = self.proxy.until(|made| made.iter().any(&mut such));
        tokio::time::timeout(SETTLES, made)
            .await
            .with_context(|| format!("never came: {what}"))
    }

    /// Canary pods and ConfigMaps that are there.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub async fn canaries(&self) -> Result<(usize, usize)> {
        let canaries = ListParams::default().labels("tsutsumi.dev/canary");
        let pods = self.cluster.within::<Pod>(NAMESPACE).list(&canaries).await?;
        let maps = self
            .cluster
            .within::<ConfigMap>(NAMESPACE)
            .list(&canaries)
            .await?;
        Ok((pods.items.len(), maps.items.len()))
    }

    /// The start: nothing of ours, and a text that every pod runs.
    async fn reset(&self) -> Result<()> {
        let (all, now) = (ListParams::default(), DeleteParams::default());
        self.cluster.policies().delete_collection(&now, &all).await?;
        let maps = self.cluster.within::<ConfigMap>(NAMESPACE);
        maps.delete_collection(&now, &all).await?;
        self.cluster
            .within::<Event>("default")
            .delete_collection(&now, &all)
            .await?;
        self.cluster
            .within::<Pod>(NAMESPACE)
            .delete_collection(&now, &all.clone().labels("tsutsumi.dev/canary"))
            .await?;
        self.cluster.write_corefile(stage::COREFILE, "e2e").await?;
        wait::until("every pod runs the text of the start", SETTLES, async || {
            let (pods, maps) = self.canaries().await?;
            ensure!(
                pods + maps == 0,
                "{pods} pods and {maps} ConfigMaps of canaries are left"
            );
            for pod in self.cluster.dns_pods().await? {
                let answer = ask(&Network::world(), (pod.address, 53).into(), &Question::a(API))?;
                let answer = answer.with_context(|| format!("{} does not answer", pod.name))?;
                ensure!(answer.nsid.is_none(), "{} is {:?} still", pod.name, answer.nsid);
            }
            Ok(())
        })
        .await
    }
}

/// The policy of the one change.
#[must_use]
pub fn wish() -> Value {
    let mut policy = policy::enforcing(POLICY);
    // There is no outside here, and a round each half minute would come at another call in every run.
    policy["spec"]["verification"] = json!({"interval": "10m", "vantages": ["inside"]});
    policy
}

/// As the chart starts it.
fn arguments() -> Vec<String> {
    [
        "controller",
        "--admin-address=127.0.0.1:0",
        "--lease-name=tsutsumi-controller",
        "--prober-port=8443",
        "--target-namespace=kube-system",
        "--config-map=kube-system/coredns",
        "--config-map=kube-system/kubeadm-config",
    ]
    .map(str::to_owned)
    .to_vec()
}

async fn administrator() -> Result<Client> {
    let path: PathBuf = fact("TSUTSUMI_FAULTS_KUBECONFIG")?;
    let config = Kubeconfig::read_from(path)?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    // A call that is passed on ends when the controller ends it, and is never repeated on the way.
    config.read_timeout = None;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

fn fact(name: &str) -> Result<PathBuf> {
    let value = env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from).with_context(|| {
        format!("{name} is not set: this suite needs a store and an API server of its own. Run `cargo xtask faults`")
    })
}

/// The place of every client.
#[must_use]
pub fn place() -> Place {
    Network::world()
}
