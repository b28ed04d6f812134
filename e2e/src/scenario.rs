//! One test at a time on one cluster: each begins from the same cluster DNS, and one that fails shows what it saw.

mod begin;

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use serde_json::Value;
use tsutsumi_api::{
    ResolverPolicy,
    conditions::{ConditionType, Reason},
    resolver_policy::ControlStatus,
};
use tsutsumi_model::{ControlId, ControlState};

use crate::{
    cluster::Cluster,
    dns::{API, Answer, Question, Seen, TRANSPORTS, ask, fresh_name},
    install::NAMESPACE,
    outside::Prober,
    place::Place,
    policy,
    rig::{DNS_SERVICE, Rig},
    steady::Steady,
    wait,
};

/// How long it may take from a policy to `Ready`: canaries, kubelet's sync, `reload`, a round of probes.
pub const READY: Duration = Duration::from_secs(150);
/// How long it may take until a round of probes has seen a change: the interval of the tests' policies, twice.
pub const SEEN: Duration = Duration::from_secs(90);

/// Tests change cluster DNS, so only one may run.
static CLUSTER: Mutex<()> = Mutex::new(());

/// A test while it runs.
pub struct Scenario {
    /// The machine's part.
    pub rig: Rig,
    /// The cluster's part.
    pub cluster: Cluster,
    /// A client outside the cluster.
    pub outside: Place,
    prober: Option<Prober>,
}

/// What a test needs before it begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From {
    /// Cluster DNS as kubeadm installs it, exposed, and tsutsumi installed, with a prober outside.
    Installed,
    /// Cluster DNS as kubeadm installs it, exposed, and nothing of ours.
    Bare,
    /// The CRDs only; cluster DNS as it happens to be.
    Schema,
}

/// Runs a test; its failure is told together with the state of the cluster.
///
/// # Errors
/// As the test fails, or if it could not begin.
pub fn run(from: From, test: impl AsyncFnOnce(&mut Scenario) -> Result<()>) -> Result<()> {
    let _alone = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut scenario = Box::pin(Scenario::begin(from))
            .await
            .context("preparing the test")?;
        let outcome = test(&mut scenario).await;
        if outcome.is_err() && from != From::Schema {
            scenario.tell().await;
        }
        outcome
    })
}

impl Scenario {
    /// Applies a policy and waits until it is Ready.
    ///
    /// # Errors
    /// If it is refused or does not become Ready in time.
    pub async fn ready(&self, policy: &Value) -> Result<ResolverPolicy> {
        let name = self
            .cluster
            .apply_policy(policy)
            .await?
            .metadata
            .name
            .context("a policy has a name")?;
        self.becomes_ready(&name).await
    }

    /// Waits until a policy is Ready.
    ///
    /// # Errors
    /// If it does not become so in time.
    pub async fn becomes_ready(&self, name: &str) -> Result<ResolverPolicy> {
        self.reaches(name, "Ready", READY, |policy| {
            policy::is(policy, ConditionType::Ready, "True")
        })
        .await
    }

    /// Waits until a condition has this status and reason.
    ///
    /// # Errors
    /// If it does not get them in time.
    pub async fn says(
        &self,
        name: &str,
        wanted: ConditionType,
        status: &str,
        reason: Reason,
    ) -> Result<ResolverPolicy> {
        let what = format!("{}={status} for {}", wanted.as_str(), reason.as_str());
        let says = |policy: &ResolverPolicy| {
            policy::condition(policy, wanted)
                .is_some_and(|found| found.status == status && found.reason == reason.as_str())
        };
        self.reaches(name, &what, READY, says).await
    }

    /// Waits until a control comes to an outcome, and returns it.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn control(&self, name: &str, id: ControlId, state: ControlState) -> Result<ControlStatus> {
        self.control_says(name, id, state, &[]).await
    }

    /// Waits until a control comes to an outcome with a message that holds every part, and returns it.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn control_says(
        &self,
        name: &str,
        id: ControlId,
        state: ControlState,
        parts: &[&str],
    ) -> Result<ControlStatus> {
        let what = format!("{id} is {state} and its message has {parts:?}");
        let says = |policy: &ResolverPolicy| {
            let message = policy::control(policy, id).map_or("", |control| &control.message);
            policy::came_to(policy, id, state) && parts.iter().all(|part| message.contains(part))
        };
        let policy = self.reaches(name, &what, READY, says).await?;
        policy::control(&policy, id).cloned().context("it was there")
    }

    /// Waits until a policy's status is what is wanted.
    ///
    /// # Errors
    /// If it is not in time.
    pub async fn reaches(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        mut reached: impl FnMut(&ResolverPolicy) -> bool,
    ) -> Result<ResolverPolicy> {
        let policies = self.cluster.policies();
        let reached = |policy: Option<&ResolverPolicy>| policy.is_some_and(&mut reached);
        wait::object(&policies, name, what, within, reached)
            .await?
            .context("it was there")
    }

    /// A client inside that keeps asking the DNS Service.
    #[must_use]
    pub fn keep_asking(&self) -> Steady {
        Steady::start(&Place::node(), DNS_SERVICE)
    }

    /// Every address where somebody outside can reach cluster DNS: the node's port, and the pods themselves.
    ///
    /// # Errors
    /// If the pods cannot be listed.
    pub async fn outside_addresses(&self) -> Result<Vec<SocketAddr>> {
        let pods = self.cluster.dns_pods().await?;
        let pods = pods.iter().map(|pod| SocketAddr::new(pod.address, 53));
        Ok(std::iter::once(self.rig.node_port).chain(pods).collect())
    }

    /// Asks from outside.
    ///
    /// # Errors
    /// If the question cannot be asked.
    pub fn ask_outside(&self, server: SocketAddr, question: &Question) -> Result<Seen> {
        ask(&self.outside, server, question)
    }

    /// Asks from the node.
    ///
    /// # Errors
    /// If the question cannot be asked, or nobody answers.
    pub fn ask_inside(&self, server: SocketAddr, question: &Question) -> Result<Answer> {
        ask(&Place::node(), server, question)?
            .with_context(|| format!("nobody at {server} answers {question}"))
    }

    /// Everything that somebody outside can try, at every address, after the names were warmed from inside.
    ///
    /// # Errors
    /// If the questions cannot be asked.
    pub async fn try_from_outside(&self) -> Result<Vec<(SocketAddr, Question, Seen)>> {
        let mut tried = Vec::new();
        let warmed = fresh_name();
        for server in self.outside_addresses().await? {
            for transport in TRANSPORTS {
                self.ask_inside(server, &Question::a(&warmed).over(transport))?;
                let questions = [
                    Question::a(&warmed),
                    Question::a(fresh_name()),
                    Question::a(API),
                    Question::any(API),
                    Question::chaos(),
                ];
                for question in questions {
                    let question = question.over(transport);
                    let seen = self.ask_outside(server, &question)?;
                    tried.push((server, question, seen));
                }
            }
        }
        Ok(tried)
    }

    /// Fails unless the client outside is refused everywhere.
    ///
    /// # Errors
    /// If something is answered, or is met by silence where a refusal was asked for.
    pub async fn outside_is_refused(&self) -> Result<()> {
        for (server, question, seen) in self.try_from_outside().await? {
            ensure!(
                seen.as_ref()
                    .is_some_and(|answer| answer.code == ResponseCode::Refused && answer.records == 0),
                "from outside, {server} to {question}: REFUSED was expected, {seen:?} came"
            );
        }
        Ok(())
    }

    /// Fails unless the client outside gets answers everywhere: an open resolver.
    ///
    /// # Errors
    /// If one address does not answer.
    pub async fn outside_is_answered(&self) -> Result<()> {
        for server in self.outside_addresses().await? {
            for transport in TRANSPORTS {
                let seen = self.ask_outside(server, &Question::a(fresh_name()).over(transport))?;
                ensure!(
                    seen.as_ref()
                        .is_some_and(|answer| answer.code == ResponseCode::NoError && answer.records > 0),
                    "from outside, {server} over {transport} should still answer, and {seen:?} came"
                );
            }
        }
        Ok(())
    }

    /// Fails unless every DNS pod answers with this identity, or with none.
    ///
    /// # Errors
    /// If one does not.
    pub async fn pods_show(&self, identity: Option<&str>) -> Result<()> {
        for pod in self.cluster.dns_pods().await? {
            for transport in TRANSPORTS {
                let server = SocketAddr::new(pod.address, 53);
                let answer = self.ask_inside(server, &Question::a(API).over(transport))?;
                if answer.nsid.as_deref() != identity {
                    bail!(
                        "pod {} shows {:?} over {transport}, not {identity:?}",
                        pod.name,
                        answer.nsid
                    );
                }
            }
        }
        Ok(())
    }

    /// Prints what a person would look at first.
    async fn tell(&self) {
        let policies = self
            .cluster
            .policies()
            .list(&kube::api::ListParams::default())
            .await;
        for policy in policies.map(|list| list.items).unwrap_or_default() {
            eprintln!(
                "{}",
                serde_json::to_string_pretty(&(&policy.metadata.name, &policy.spec, &policy.status))
                    .unwrap_or_default()
            );
        }
        match self.cluster.corefile().await {
            Ok(text) => eprintln!("the live Corefile:\n{text}"),
            Err(error) => eprintln!("{error:#}"),
        }
        let last = LogParams {
            tail_lines: Some(60),
            ..LogParams::default()
        };
        for pod in self.cluster.controllers().await.unwrap_or_default() {
            let name = pod.metadata.name.unwrap_or_default();
            match self.cluster.within::<Pod>(NAMESPACE).logs(&name, &last).await {
                Ok(log) => eprintln!("{name}:\n{log}"),
                Err(error) => eprintln!("{name} has no log: {error}"),
            }
        }
    }
}
