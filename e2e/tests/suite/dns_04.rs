//! `DNS-04`: source ports cannot be guessed after NAT.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tsutsumi_api::{ResolverPolicy, resolver_policy::ControlStatus};
use tsutsumi_e2e::{
    dns::{self, Question, fresh_below},
    nat::{Choice, Nat},
    place::Place,
    policy,
    ports::Ports,
    rig::OUTSIDE_ZONE,
    scenario::{self, From, READY, Scenario},
};
use tsutsumi_model::{ControlId, ControlState};

const ID: ControlId = ControlId::Dns04;

/// Questions for the wire's view, one after another: fewer than the smallest block has ports.
const ASKED: usize = 24;

#[test]
fn a_nat_that_gives_guessable_ports_is_told_until_it_is_mended() -> Result<()> {
    let name = "dns-04";
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::enforcing(name)).await?;
        told(s, name, ControlState::Pass, |_| true)
            .await
            .context("a NAT like that of most clusters, which keeps ports")?;

        let block = Choice::Block(40_000, 40_063);
        let few = behind(s, name, &block, ControlState::Fail, |saw| {
            saw.contains("questions failed")
        })
        .await;
        let few = few.context("a small block")?;
        ensure!(few.message.contains("too few ports"), "{few:?}");

        // No two have ports in common but a few: one that was given out stays taken for half a minute.
        let counter = Choice::stride(20_000, 1, 8_192);
        let counting = behind(s, name, &counter, ControlState::Fail, |saw| {
            saw.contains("steps are the same") && saw.contains("10 are needed")
        });
        let counting = counting.await.context("a counter")?;
        ensure!(counting.message.contains("the NAT counts"), "{counting:?}");

        let stride = Choice::stride(1_024, 12_345, 8_192);
        // Its spread is that of a good one.
        let striding = behind(s, name, &stride, ControlState::Fail, |saw| {
            saw.contains("steps are the same") && !saw.contains("10 are needed")
        });
        let striding = striding.await.context("a stride over all ports")?;
        ensure!(striding.message.contains("the NAT counts"), "{striding:?}");

        let random = behind(s, name, &Choice::Random, ControlState::Pass, |_| true).await;
        random.context("a NAT that draws at random")?;
        s.becomes_ready(name).await.context("once the NAT is mended")?;
        Ok(())
    })
}

/// Puts a NAT in front of what pods ask the outside, looks on the wire, and waits for what the control says of it.
async fn behind(
    s: &Scenario,
    name: &str,
    choice: &Choice,
    state: ControlState,
    saw: impl Fn(&str) -> bool,
) -> Result<ControlStatus> {
    let _nat = Nat::between(&s.rig, choice)?;
    let ports = Ports::watch_at(&s.outside)?;
    let pods = s.cluster.dns_pods().await?;
    let pod = pods.first().context("a DNS pod")?;
    for _ in 0..ASKED {
        // Whether it is answered says nothing: where a port is taken already, the question is lost.
        let question = Question::a(fresh_below(OUTSIDE_ZONE));
        dns::ask(&Place::node(), SocketAddr::new(pod.address, 53), &question)?;
    }
    let ports = ports.of(s.rig.outside_gateway)?;
    ensure!(fits(choice, &ports), "on the wire: {ports:?}");
    told(s, name, state, saw).await
}

/// Whether these are ports of that choice, whoever else asked meanwhile. Where the pod uses a port again, the kernel may
/// still remember what a former NAT made of it, so an eighth may be others.
fn fits(choice: &Choice, ports: &BTreeSet<u64>) -> bool {
    let wanted = |count: usize| count >= ASKED * 7 / 8 && count >= ports.len() * 7 / 8;
    let span = |values: &BTreeSet<u64>| {
        values
            .last()
            .zip(values.first())
            .map(|(last, first)| last - first)
    };
    match choice {
        Choice::Random => wanted(ports.len()) && span(ports) > Some(10_000),
        Choice::Block(first, last) => {
            let block = u64::from(*first)..=u64::from(*last);
            wanted(ports.iter().filter(|port| block.contains(port)).count())
        }
        Choice::Listed(list) => {
            let place = |port: &u64| list.iter().position(|listed| u64::from(*listed) == *port);
            let places: BTreeSet<usize> = ports.iter().filter_map(place).collect();
            // A port that a former NAT gave may be on the list too, far from the others.
            let room = places.len() * 3 / 2;
            let near = |first: &usize| places.range(first..&(first + room)).count();
            wanted(places.iter().map(near).max().unwrap_or_default())
        }
    }
}

/// Has everything asked anew, and waits until the control comes to a state and says that it saw this.
async fn told(
    s: &Scenario,
    name: &str,
    state: ControlState,
    saw: impl Fn(&str) -> bool,
) -> Result<ControlStatus> {
    // A round comes at once where what is asked for has changed.
    let policies = s.cluster.policies();
    let interval = policies
        .get(name)
        .await?
        .spec
        .verification
        .interval
        .get()
        .as_secs();
    let other = json!({"spec": {"verification": {"interval": format!("{}s", 61 - interval)}}});
    policies
        .patch(name, &PatchParams::default(), &Patch::Merge(other))
        .await?;
    let said = |policy: &ResolverPolicy| {
        policy::control(policy, ID).is_some_and(|told| told.state == state && saw(&told.observed))
    };
    let what = format!("{ID} is {state} and saw what is there");
    let policy = s.reaches(name, &what, READY, said).await?;
    policy::control(&policy, ID).cloned().context("it was there")
}

#[test]
fn a_port_of_a_former_nat_hides_no_stride() {
    let stride = Choice::stride(1_024, 12_345, 8_192);
    let Choice::Listed(list) = &stride else {
        unreachable!("a stride is a list")
    };
    let far = list.iter().skip(5_000).take(1);
    let seen = |step: usize| list.iter().step_by(step).take(ASKED).chain(far.clone());
    let seen = |step: usize| seen(step).map(|port| u64::from(*port)).collect();
    assert!(fits(&stride, &seen(1)));
    assert!(
        !fits(&stride, &seen(2)),
        "half of a stride's ports are another stride"
    );
}
