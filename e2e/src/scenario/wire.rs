//! What a test sees on the wire: from a pod, from the node and from outside, at every address of cluster DNS.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::json;

use super::{READY, Scenario};
use crate::{
    dns::{API, Answer, Question, Seen, TRANSPORTS, ask, fresh_name},
    place::Place,
    rig::{DNS_SERVICE, PAUSE},
    steady::{Names, RATE, Steady},
    wait,
};

impl Scenario {
    /// A client in a pod of its own that keeps asking the DNS Service.
    ///
    /// # Errors
    /// If the pod does not run.
    pub async fn keep_asking(&self) -> Result<Steady> {
        self.keep_asking_for(Names::Api, RATE).await
    }

    /// A client in a pod of its own that keeps asking the DNS Service for such names, so many a second.
    ///
    /// # Errors
    /// If the pod does not run.
    pub async fn keep_asking_for(&self, names: Names, rate: u32) -> Result<Steady> {
        let pods = self.cluster.within::<Pod>("default");
        let pod = json!({
            "metadata": {"generateName": "client-"},
            "spec": {
                "automountServiceAccountToken": false,
                "containers": [{"name": "client", "image": PAUSE, "imagePullPolicy": "Never"}],
            },
        });
        let name = self.cluster.make(&pods, pod).await?.name_any();
        let runs = |found: Option<&Pod>| {
            let phase = found.and_then(|pod| pod.status.as_ref()?.phase.as_deref());
            phase == Some("Running")
        };
        let pod = wait::object(&pods, &name, "running", READY, runs)
            .await?
            .context("it was there")?;
        Ok(Steady::asking(&Place::of_pod(&pod)?, DNS_SERVICE, names, rate))
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

    /// What every DNS pod answers to the node, by the pods' names.
    ///
    /// # Errors
    /// If the question cannot be asked, or a pod does not answer.
    pub async fn ask_pods(&self, question: &Question) -> Result<Vec<(String, Answer)>> {
        let pods = self.cluster.dns_pods().await?;
        let asked = pods.into_iter().map(|pod| {
            let answer = self.ask_inside(SocketAddr::new(pod.address, 53), question)?;
            Ok((pod.name, answer))
        });
        asked.collect()
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

    /// Waits until the client outside is answered through one door.
    ///
    /// # Errors
    /// If it is not in time.
    pub async fn outside_is_answered_at(&self, door: SocketAddr) -> Result<()> {
        wait::until("the client outside is answered", READY, async || {
            let seen = self.ask_outside(door, &Question::a(fresh_name()))?;
            ensure!(
                seen.as_ref()
                    .is_some_and(|answer| answer.code == ResponseCode::NoError && answer.records > 0),
                "through {door} came {seen:?}"
            );
            Ok(())
        })
        .await
    }

    /// Fails unless every DNS pod answers with this identity, or with none.
    ///
    /// # Errors
    /// If one does not.
    pub async fn pods_show(&self, identity: Option<&str>) -> Result<()> {
        for transport in TRANSPORTS {
            for (pod, answer) in self.ask_pods(&Question::a(API).over(transport)).await? {
                ensure!(
                    answer.nsid.as_deref() == identity,
                    "pod {pod} shows {:?} over {transport}, not {identity:?}",
                    answer.nsid
                );
            }
        }
        Ok(())
    }
}
