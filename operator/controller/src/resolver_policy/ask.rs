//! Asks every pod of cluster DNS, from inside, what it answers and which text it runs.

use tsutsumi_engine::{resolver::confirm::AskedPod, target::DnsPod};
use tsutsumi_model::{Ask, DnsQuestion, DomainName, Endpoint, Probe, Transport, Vantage};

use super::{apply::Scene, vantage::VantageError};

/// Every pod of the target with what it answered.
pub(crate) async fn pods(scene: &Scene<'_>) -> Result<Vec<AskedPod>, VantageError> {
    let pods = &scene.target.pods;
    let mut owners = Vec::new();
    let mut probes = Vec::new();
    for ((owner, ask), id) in questions(pods, &scene.ctx.api_name).zip(0..) {
        owners.push(owner);
        probes.push(Probe { id, ask });
    }
    let observations = scene
        .ctx
        .vantages
        .ask(&scene.cluster.pods, Vantage::Inside, probes)
        .await?;
    let mut asked: Vec<_> = pods
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

/// What is asked of which pod: a name that exists, at each of its addresses over both transports, and its metrics.
fn questions<'a>(pods: &'a [DnsPod], name: &'a DomainName) -> impl Iterator<Item = (usize, Ask)> + 'a {
    pods.iter().enumerate().flat_map(move |(index, pod)| {
        let questions = pod.endpoints().flat_map(move |server| {
            [Transport::Udp, Transport::Tcp]
                .map(|transport| Ask::Dns(DnsQuestion::ordinary(server, transport, name.clone())))
        });
        let metrics = pod.addresses.first().zip(pod.metrics_port);
        let metrics = metrics.map(|(address, port)| {
            Ask::Metrics(Endpoint {
                address: *address,
                port,
            })
        });
        questions.chain(metrics).map(move |ask| (index, ask))
    })
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::Port;

    use super::*;

    #[test]
    fn each_pod_is_asked_over_both_families_and_transports_and_for_its_metrics() {
        let pod = |addresses: [&str; 2], metrics| DnsPod {
            name: "coredns".to_owned(),
            uid: String::new(),
            node: String::new(),
            addresses: addresses.map(|text| text.parse().unwrap()).to_vec(),
            dns_port: Port::new(53).unwrap(),
            metrics_port: Port::new(metrics),
            ready: true,
            host_network: false,
            has_authority: false,
            restarts: 0,
        };
        let pods = [
            pod(["10.0.0.1", "fd00::1"], 9153),
            pod(["10.0.0.2", "fd00::2"], 0),
        ];
        let name = "kubernetes.default.svc.cluster.local".parse().unwrap();
        let asked: Vec<String> = questions(&pods, &name)
            .map(|(owner, ask)| match ask {
                Ask::Dns(question) => format!("{owner} {} {}", question.transport, question.server),
                Ask::Metrics(server) => format!("{owner} metrics {server}"),
                Ask::Root(question) => format!("{owner} root {}", question.server),
                Ask::Series(series) => format!("{owner} series {}", series.server),
            })
            .collect();
        assert_eq!(
            asked,
            [
                "0 UDP 10.0.0.1:53",
                "0 TCP 10.0.0.1:53",
                "0 UDP [fd00::1]:53",
                "0 TCP [fd00::1]:53",
                "0 metrics 10.0.0.1:9153",
                "1 UDP 10.0.0.2:53",
                "1 TCP 10.0.0.2:53",
                "1 UDP [fd00::2]:53",
                "1 TCP [fd00::2]:53",
            ]
        );
    }
}
