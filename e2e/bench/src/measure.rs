//! One block: a subject is started, its start is timed, changes are made one after the other, and it is left in peace.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tsutsumi_api::ResolverPolicy;

use crate::{
    audit::{Calls, Mark, is_lease, writes},
    load::{self, DNS_NAMESPACE},
    observer::{Observer, POLICY, Seen, What},
    subject::{NAMESPACE, Programs, Running, Subject},
};

/// What is changed, and which write is waited for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Reaction {
    /// A policy that audits asks for another size → its status.
    Policy,
    /// Somebody edits the Corefile under a policy that audits → the policy's status.
    Corefile,
    /// Somebody edits the Corefile under a policy that enforces → the controller's record of the text.
    Record,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// Blocks of each subject and size.
    pub(crate) blocks: usize,
    /// Changes of each kind in a block.
    pub(crate) changes: usize,
    /// How long a subject is left in peace in its last block, in seconds.
    pub(crate) idle: u64,
}

/// What one block showed.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Start of the process to the status of the policy, in milliseconds.
    pub(crate) cold: f64,
    /// Most memory right after that, in MiB.
    pub(crate) start_peak: f64,
    /// Most memory over the block, in MiB.
    pub(crate) peak: f64,
    /// Memory at the block's end, in MiB.
    pub(crate) rest: f64,
    /// Milliseconds from a change to its answer.
    pub(crate) reactions: BTreeMap<Reaction, Vec<f64>>,
    /// Calls and milliseconds of processor time for each change.
    pub(crate) costs: BTreeMap<Reaction, Cost>,
    /// What changes cost that do not concern cluster DNS.
    pub(crate) churn: Option<Cost>,
    /// What went on while nothing was changed.
    pub(crate) idle: Option<Idle>,
    /// Pods that were left behind.
    pub(crate) litter: usize,
}

/// What the changes of one kind cost.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// Calls, but for the lease.
    pub(crate) calls: Calls,
    /// Processor time in milliseconds.
    pub(crate) cpu: f64,
    /// How many changes were made.
    pub(crate) changes: usize,
}

/// What an idle subject did.
#[derive(Debug)]
pub(crate) struct Idle {
    /// For how long, in seconds.
    pub(crate) seconds: f64,
    /// Processor time in seconds.
    pub(crate) cpu: f64,
    /// Writes of the lease.
    pub(crate) lease: usize,
    /// Other writes.
    pub(crate) writes: Calls,
}

impl Reaction {
    /// In the order of the report.
    pub(crate) const ALL: [Self; 3] = [Self::Policy, Self::Corefile, Self::Record];

    /// For the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Policy => "policy edited → status",
            Self::Corefile => "Corefile edited, Audit → status",
            Self::Record => "Corefile edited, Enforce → record",
        }
    }

    fn mode(self) -> &'static str {
        match self {
            Self::Policy | Self::Corefile => "Audit",
            Self::Record => "Enforce",
        }
    }
}

/// A write that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two changes, so that what follows a write is done.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two changes that nobody answers: more apart than a reconcile takes.
const CHURN_PAUSE: Duration = Duration::from_millis(50);
/// Before a subject is left in peace: what changes set off, such as a round of probes, is over by then.
const SETTLING: Duration = Duration::from_secs(5);

/// The parts that every block uses.
pub(crate) struct Bench<'a> {
    /// The API server, as its administrator.
    pub(crate) client: &'a Client,
    /// What is compared.
    pub(crate) programs: &'a Programs,
    /// What comes out of the API server.
    pub(crate) observer: Observer,
    /// Counts up, so that no two edits of the Corefile are equal.
    pub(crate) edits: usize,
}

impl Bench<'_> {
    /// Runs a block.
    pub(crate) async fn block(&mut self, subject: Subject, amount: Amount, idle: bool) -> Result<Block> {
        self.corefile(0).await?;
        self.fresh_policy("Audit").await?;
        self.observer.forget();
        let begun = Instant::now();
        let mut running = self.programs.start(subject)?;
        let first = self
            .observer
            .wait(PATIENCE, "the first status", |seen| {
                seen.what == What::Policy && !seen.at("/status/conditions").is_null()
            })
            .await;
        running.alive()?;
        let mut block = Block {
            cold: milliseconds(first?.at.duration_since(begun)),
            start_peak: running.memory()?.0,
            ..Block::default()
        };
        sleep(Duration::from_secs(2)).await;
        for reaction in [Reaction::Policy, Reaction::Corefile] {
            self.changes(subject, reaction, amount.changes, &running, &mut block)
                .await?;
        }
        if idle {
            block.churn = Some(self.churn(subject, amount.changes * 10, &running).await?);
            block.idle = Some(self.idle(subject, amount, &running).await?);
        }
        (block.peak, block.rest) = running.memory()?;
        if subject == Subject::Tsutsumi {
            self.fresh_policy(Reaction::Record.mode()).await?;
            sleep(Duration::from_secs(2)).await;
            self.changes(subject, Reaction::Record, amount.changes, &running, &mut block)
                .await?;
        }
        running.alive()?;
        running.stop().await?;
        block.litter = self.sweep().await?;
        Ok(block)
    }

    async fn changes(
        &mut self,
        subject: Subject,
        reaction: Reaction,
        changes: usize,
        running: &Running,
        block: &mut Block,
    ) -> Result<()> {
        let (mark, cpu) = (Mark::now(&self.programs.audit())?, running.cpu()?);
        let mut samples = Vec::new();
        for _ in 0..changes {
            self.observer.forget();
            samples.push(
                self.change(subject, reaction)
                    .await
                    .with_context(|| format!("{}: {} of {}", subject.name(), reaction.title(), changes))?,
            );
            sleep(PAUSE).await;
        }
        let mut calls = mark.since(subject)?;
        calls.retain(|call, _| !is_lease(call));
        let cpu = (running.cpu()? - cpu) * 1000.0;
        block.reactions.insert(reaction, samples);
        block.costs.insert(reaction, Cost { calls, cpu, changes });
        Ok(())
    }

    /// Makes one change; the milliseconds from its being seen to the answer's being seen.
    async fn change(&mut self, subject: Subject, reaction: Reaction) -> Result<f64> {
        self.edits += 1;
        let (asked, answered) = match reaction {
            Reaction::Policy => {
                let bytes = 1232 + self.edits % 2 * 100;
                let generation = self
                    .policy(&json!({"spec": {"udp": {"maxMessageBytes": bytes}}}))
                    .await?;
                let asks =
                    |seen: &Seen| seen.what == What::Policy && seen.at("/metadata/generation") == &generation;
                let answers = |seen: &Seen| {
                    seen.what == What::Policy && seen.at("/status/observedGeneration") == &generation
                };
                self.observer.wait_both(PATIENCE, asks, answers).await?
            }
            Reaction::Corefile | Reaction::Record => {
                let before = self.status().await?;
                let version = json!(self.corefile(self.edits).await?);
                let asks = |seen: &Seen| {
                    seen.what == What::Corefile && seen.at("/metadata/resourceVersion") == &version
                };
                let answers = |seen: &Seen| match (reaction, subject) {
                    (Reaction::Record, _) => seen.what == What::Record,
                    (_, Subject::Tsutsumi) => {
                        seen.what == What::Policy && Some(seen.at("/status/plan")) != before.pointer("/plan")
                    }
                    (_, Subject::Null) => {
                        let message = seen
                            .at("/status/conditions/0/message")
                            .as_str()
                            .unwrap_or_default();
                        seen.what == What::Policy && message.contains(&version.to_string())
                    }
                };
                self.observer.wait_both(PATIENCE, asks, answers).await?
            }
        };
        Ok(milliseconds(answered.at.saturating_duration_since(asked.at)))
    }

    /// Endpoints of another Service come and go, as in every roll-out: nothing here concerns cluster DNS.
    async fn churn(&self, subject: Subject, changes: usize, running: &Running) -> Result<Cost> {
        sleep(SETTLING).await;
        let (mark, cpu) = (Mark::now(&self.programs.audit())?, running.cpu()?);
        for number in 0..changes {
            load::move_endpoint(self.client, number).await?;
            sleep(CHURN_PAUSE).await;
        }
        sleep(PAUSE).await;
        let mut calls = mark.since(subject)?;
        calls.retain(|call, _| !is_lease(call));
        let cpu = (running.cpu()? - cpu) * 1000.0;
        Ok(Cost { calls, cpu, changes })
    }

    async fn idle(&self, subject: Subject, amount: Amount, running: &Running) -> Result<Idle> {
        sleep(SETTLING).await;
        let (mark, cpu, begun) = (Mark::now(&self.programs.audit())?, running.cpu()?, Instant::now());
        sleep(Duration::from_secs(amount.idle)).await;
        let cpu = running.cpu()? - cpu;
        let (lease, others): (Calls, Calls) = mark
            .since(subject)?
            .into_iter()
            .filter(|(call, _)| writes(call))
            .partition(|(call, _)| is_lease(call));
        Ok(Idle {
            seconds: begun.elapsed().as_secs_f64(),
            cpu,
            lease: lease.values().sum(),
            writes: others,
        })
    }

    /// Puts the Corefile as it is with the given number: the directive that a plan speaks of comes and goes.
    async fn corefile(&self, number: usize) -> Result<String> {
        let extra = if number % 2 == 1 { "    bufsize 1232\n" } else { "" };
        let text = format!(
            ".:53 {{\n    errors\n{extra}    health {{\n       lameduck 5s\n    }}\n    ready\n    kubernetes \
             cluster.local in-addr.arpa ip6.arpa {{\n       pods insecure\n       fallthrough in-addr.arpa \
             ip6.arpa\n       ttl 30\n    }}\n    prometheus :9153\n    forward . /etc/resolv.conf {{\n       \
             max_concurrent 1000\n    }}\n    cache {}\n    loop\n    reload\n    loadbalance\n}}\n",
            30 + number
        );
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), DNS_NAMESPACE);
        let patch = Patch::Merge(json!({"data": {"Corefile": text}}));
        let map = api.patch("coredns", &PatchParams::default(), &patch).await?;
        map.metadata.resource_version.context("a version")
    }

    async fn policy(&self, patch: &Value) -> Result<Value> {
        let api = Api::<ResolverPolicy>::all(self.client.clone());
        let policy = api
            .patch(POLICY, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(json!(policy.metadata.generation))
    }

    async fn status(&self) -> Result<Value> {
        let api = Api::<ResolverPolicy>::all(self.client.clone());
        Ok(serde_json::to_value(api.get(POLICY).await?.status)?)
    }

    /// A policy that nobody has looked at yet. Its own rounds of probes are a day apart.
    async fn fresh_policy(&self, mode: &str) -> Result<()> {
        let api = Api::<ResolverPolicy>::all(self.client.clone());
        match api.delete(POLICY, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            gone => drop(gone?),
        }
        let policy = json!({
            "apiVersion": "tsutsumi.dev/v1alpha1",
            "kind": "ResolverPolicy",
            "metadata": {"name": POLICY},
            "spec": {
                "mode": mode,
                "clients": {"include": ["Cluster", "Private"], "others": "Refuse", "reason": "a benchmark"},
                "udp": {"maxMessageBytes": 1232},
                "anyQueries": "Empty",
                "recursion": {"sourcePorts": "Random"},
                "verification": {"interval": "1d", "vantages": ["inside"]},
            },
        });
        api.create(&PostParams::default(), &serde_json::from_value(policy)?)
            .await?;
        Ok(())
    }

    /// Removes the pods that canaries would have run in; there is no kubelet that could end them. Returns how many.
    async fn sweep(&self) -> Result<usize> {
        let api = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE);
        let pods = api.list(&ListParams::default()).await?.items;
        for pod in &pods {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            api.delete(name, &DeleteParams::default().grace_period(0)).await?;
        }
        Ok(pods.len())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
