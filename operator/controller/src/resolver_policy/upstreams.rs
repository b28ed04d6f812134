//! Whether the resolvers that a policy names answer, before cluster DNS is led to them. A canary would say that forwarded
//! names fail; this says whose fault that is, and asks again by itself.

use std::time::{Duration, Instant};

use tsutsumi_api::resolver_policy::Via;
use tsutsumi_engine::{cluster::Cluster, resolver::Checked};
use tsutsumi_model::{
    Ask, DnsQuestion, DomainName, Endpoint, Observation, Probe, Rcode, Saw, Transport, Vantage,
};
use tsutsumi_providers::coredns::{
    corefile::{Block, Corefile},
    forward::Forward,
};

use super::Ctx;

/// How long until one that does not answer is asked again.
pub(super) const AGAIN: Duration = Duration::from_secs(10);
/// How long an answer counts: canaries and kubelet take less.
const COUNTS: Duration = Duration::from_secs(300);
/// Below it nothing exists (RFC 6761, 6.2), so every resolver that serves us has an answer.
const NAME: &str = "tsutsumi-probe.test";

/// What was seen of a policy's resolvers.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    servers: Vec<Endpoint>,
    at: Instant,
    silent: Vec<(Endpoint, String)>,
}

/// Those that do not answer, each with what came instead; none where nothing is to be led anywhere, or where nobody is
/// there who could ask.
pub(super) async fn silent(
    ctx: &Ctx,
    checked: &Checked<'_>,
    cluster: &Cluster,
    look: &mut Option<Look>,
) -> Vec<(Endpoint, String)> {
    let servers = new(checked);
    if servers.is_empty() || !checked.enforces() || ctx.audit_only {
        *look = None;
        return Vec::new();
    }
    if let Some(look) = look.as_ref().filter(|look| look.servers == servers) {
        let counts = if look.silent.is_empty() { COUNTS } else { AGAIN };
        if look.at.elapsed() < counts {
            return look.silent.clone();
        }
    }
    let asked = ctx
        .vantages
        .ask(&cluster.pods, Vantage::Inside, questions(&servers))
        .await;
    let Ok(observations) = asked else {
        // Then no canary can be judged either, and nothing is written.
        return Vec::new();
    };
    let silent = judge(&observations);
    *look = Some(Look {
        servers,
        at: Instant::now(),
        silent: silent.clone(),
    });
    silent
}

/// The policy's resolvers to which the live text does not lead yet. One that it leads to must not hold up a change that
/// lets a new node in.
fn new(checked: &Checked<'_>) -> Vec<Endpoint> {
    let text = checked
        .target
        .as_ref()
        .ok()
        .and_then(|target| target.corefile.as_deref());
    let recursion = checked.policy.spec.recursion.as_ref();
    recursion
        .filter(|recursion| recursion.via == Some(Via::Upstreams))
        .iter()
        .flat_map(|recursion| &recursion.upstreams)
        .map(|upstream| upstream.get())
        .filter(|server| !text.is_some_and(|text| leads_to(text, *server)))
        .collect()
}

/// Whether a `forward` of this Corefile names the server.
fn leads_to(text: &str, server: Endpoint) -> bool {
    let live = Corefile::parse(text).ok();
    let directives = live.iter().flat_map(Corefile::blocks).flat_map(Block::directives);
    let mut forwards = directives.filter_map(Forward::of);
    forwards.any(|forward| forward.to.contains(&server.to_string().as_str()))
}

fn questions(servers: &[Endpoint]) -> Vec<Probe> {
    let name = NAME.parse::<DomainName>();
    let ways = servers
        .iter()
        .flat_map(|server| [Transport::Udp, Transport::Tcp].map(|transport| (*server, transport)));
    name.iter()
        .flat_map(|name| ways.clone().map(move |way| (name.clone(), way)))
        .zip(0..)
        .map(|((name, (server, transport)), id)| Probe {
            id,
            ask: Ask::Dns(DnsQuestion::ordinary(server, transport, name)),
        })
        .collect()
}

/// Whoever answers at all is left to the canary, which compares; a refusal says that we are none of its clients.
fn judge(observations: &[Observation]) -> Vec<(Endpoint, String)> {
    let mut silent: Vec<(Endpoint, String)> = Vec::new();
    for observation in observations {
        let Ask::Dns(question) = &observation.probe.ask else {
            continue;
        };
        let instead = match &observation.saw {
            Saw::Answer(answer) if answer.rcode == Rcode::REFUSED => {
                "refuses to answer: let it serve the addresses of pods and nodes".to_owned()
            }
            Saw::Answer(_) => continue,
            _ => format!("does not answer over {}", question.transport),
        };
        if silent.iter().all(|(server, _)| *server != question.server) {
            silent.push((question.server, instead));
        }
    }
    silent
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::{DnsAnswer, Failure, Port};

    use super::*;

    const fn server(last: u8) -> Endpoint {
        Endpoint {
            address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last)),
            port: Port::new(53).expect("53 is not 0"),
        }
    }

    fn answer(rcode: Rcode) -> Saw {
        Saw::Answer(DnsAnswer {
            rcode,
            truncated: false,
            authentic: false,
            query_bytes: 40,
            answer_bytes: 80,
            answers: 0,
            addresses: vec![],
            nsid: None,
            extended_errors: vec![],
        })
    }

    #[test]
    fn a_server_is_led_to_by_a_forward_and_not_by_a_word() {
        let leads = |text: &str| leads_to(text, server(1));
        assert!(leads(
            ".:53 {\n    forward . 192.0.2.9:53 192.0.2.1:53 {\n        expire 0s\n    }\n}\n"
        ));
        assert!(!leads(
            ".:53 {\n    forward . 192.0.2.9:53 # not 192.0.2.1:53\n}\n"
        ));
        assert!(!leads(
            ".:53 {\n    hosts {\n        192.0.2.1:53 a.town\n    }\n}\n"
        ));
        assert!(!leads(""));
    }

    #[test]
    fn each_is_asked_over_both_transports_and_named_once_with_what_came_instead() {
        let asked = questions(&[server(1), server(2), server(3)]);
        assert_eq!(asked.len(), 6);
        let came = [
            answer(Rcode::NXDOMAIN),
            answer(Rcode::SERVFAIL),
            answer(Rcode::REFUSED),
            answer(Rcode::REFUSED),
            answer(Rcode::NOERROR),
            Saw::Nothing(Failure::Timeout),
        ];
        let observations: Vec<Observation> = asked
            .into_iter()
            .zip(came)
            .map(|(probe, saw)| Observation {
                probe,
                vantage: Vantage::Inside,
                saw,
                millis: 1,
            })
            .collect();
        let told = judge(&observations);
        let [(refusing, why), (deaf, how)] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!((*refusing, *deaf), (server(2), server(3)));
        assert!(why.contains("refuses"), "{why}");
        assert_eq!(how, "does not answer over TCP");
    }
}
