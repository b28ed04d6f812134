//! Asks every pod of cluster DNS, from inside, what it answers and which text it runs.

use tsutsumi_engine::resolver::confirm::AskedPod;
use tsutsumi_model::{Ask, DnsQuestion, Endpoint, Probe, QueryClass, QueryType, Transport, Vantage};

use super::{apply::Scene, vantage::VantageError};

/// Every pod of the target with what it answered.
pub(crate) async fn pods(scene: &Scene<'_>) -> Result<Vec<AskedPod>, VantageError> {
    let name = scene.ctx.api_name.clone();
    let mut probes = Vec::new();
    let mut owners = Vec::new();
    for (index, pod) in scene.target.pods.iter().enumerate() {
        let mut ask = |ask| {
            probes.push(Probe {
                id: u32::try_from(owners.len()).unwrap_or(u32::MAX),
                ask,
            });
            owners.push(index);
        };
        for address in &pod.addresses {
            for transport in [Transport::Udp, Transport::Tcp] {
                ask(Ask::Dns(DnsQuestion {
                    server: Endpoint {
                        address: *address,
                        port: pod.dns_port,
                    },
                    transport,
                    name: name.clone(),
                    qtype: QueryType::A,
                    qclass: QueryClass::In,
                    edns: Some(1232),
                }));
            }
        }
        if let (Some(address), Some(port)) = (pod.addresses.first(), pod.metrics_port) {
            ask(Ask::Metrics(Endpoint {
                address: *address,
                port,
            }));
        }
    }
    let observations = scene
        .ctx
        .vantages
        .ask(&scene.cluster.pods, Vantage::Inside, probes)
        .await?;
    let mut asked: Vec<_> = scene
        .target
        .pods
        .iter()
        .map(|pod| AskedPod {
            name: pod.name.clone(),
            ready: pod.ready,
            observations: Vec::new(),
        })
        .collect();
    for observation in observations {
        let owner = usize::try_from(observation.probe.id)
            .ok()
            .and_then(|id| owners.get(id));
        if let Some(pod) = owner.and_then(|index| asked.get_mut(*index)) {
            pod.observations.push(observation);
        }
    }
    Ok(asked)
}
