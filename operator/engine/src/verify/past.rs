//! The way past cluster DNS: resolvers outside that a user named, asked by a prober inside as any pod could, and by one
//! outside, which sees whether they answer at all.

use tsutsumi_model::{Ask, DnsQuestion, DomainName, Endpoint, NameError, Port, Transport};

use super::{Aim, Place, RoundInput, Step, questions::Planner};

const DNS: Port = Port::new(53).expect("53 is not 0");
/// DNS over TLS (RFC 7858). Plain bytes are enough to see whether a connection is taken.
const TLS: Port = Port::new(853).expect("853 is not 0");
const WAYS: [(Transport, Port); 3] = [
    (Transport::Udp, DNS),
    (Transport::Tcp, DNS),
    (Transport::Tcp, TLS),
];

/// What is asked for: reserved (RFC 6761, 6.4), so that nothing of the cluster is told to strangers.
const NAME: &str = "tsutsumi-probe.invalid";

/// One question for each way to each resolver.
pub(super) fn plan(planner: &mut Planner, input: &RoundInput, aim: Aim) -> Result<Vec<Step>, NameError> {
    let name: DomainName = NAME.parse()?;
    let resolvers = input.around.iter().flat_map(|around| &around.resolvers);
    let mut steps = Vec::new();
    for address in resolvers {
        for (transport, port) in WAYS {
            let server = Endpoint {
                address: *address,
                port,
            };
            let question = DnsQuestion {
                edns: None,
                ..DnsQuestion::ordinary(server, transport, name.clone())
            };
            steps.push(planner.step(aim, Place::Foreign(*address), Ask::Dns(question)));
        }
    }
    Ok(steps)
}
