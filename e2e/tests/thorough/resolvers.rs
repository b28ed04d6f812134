//! The same probes judge resolvers of others, each configured well and with one fault at a time: every control must see its
//! own fault, and no other control may.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tsutsumi_api::ResolverPolicy;
use tsutsumi_e2e::{
    policy,
    resolver::{Habits, Program, Resolver, Zone},
    scenario::{self, From, SEEN, Scenario},
};
use tsutsumi_model::{
    ControlId::{self, Dns02, Dns03, Dns05},
    ControlState::{self, Fail, Indeterminate, Pass},
};

const POLICY: &str = "resolvers";
const CONTROLS: [ControlId; 3] = [Dns02, Dns03, Dns05];
/// Rounds that may come to nothing before one counts: cluster DNS may still hold the resolver of the case before for dead.
const ROUNDS: usize = 4;

/// One configuration with the verdicts that it deserves, in the order of [`CONTROLS`].
struct Case {
    what: &'static str,
    habits: Habits,
    deserves: [ControlState; 3],
}

fn cases(program: Program) -> Vec<Case> {
    let good = Habits::GOOD;
    let case = |what, habits, deserves| Case {
        what,
        habits,
        deserves,
    };
    let few = Habits {
        random_ports: false,
        ..good
    };
    let ports = if program.chooses_ports() {
        case("few source ports", few, [Pass, Fail, Pass])
    } else {
        case("few source ports (no such setting)", few, [Pass, Pass, Pass])
    };
    let big = Habits { edns: 4096, ..good };
    let credulous = Habits {
        validates: false,
        ..good
    };
    vec![
        case("well", good, [Pass, Pass, Pass]),
        case("EDNS 4096", big, [Fail, Pass, Pass]),
        ports,
        case("no validation", credulous, [Pass, Pass, Fail]),
    ]
}

#[test]
fn each_is_judged_by_what_it_does() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        let zone = Zone::open(s).await?;
        let mut table = String::from(
            "| resolver | configuration | DNS-02 | DNS-03 | DNS-05 | |\n|---|---|---|---|---|---|\n",
        );
        let mut wrong = Vec::new();
        let mut led = false;
        for program in Program::ALL {
            for case in cases(program) {
                let resolver = Resolver::start(&s.rig, program, case.habits, Some(&zone)).await?;
                if !led {
                    s.ready(&policy::upstreams(POLICY, &[Resolver::address(&s.rig)]))
                        .await?;
                    led = true;
                }
                let (states, told) = judged(s)
                    .await
                    .with_context(|| format!("{}, {}: {}", program.name(), case.what, resolver.log()))?;
                let right = states == case.deserves;
                let [offers, ports, validation] = states;
                let mark = if right {
                    "as expected"
                } else {
                    "**not as expected**"
                };
                writeln!(
                    table,
                    "| {} | {} | {offers} | {ports} | {validation} | {mark} |",
                    program.name(),
                    case.what
                )?;
                if !right {
                    wrong.push(format!("{}, {}: {told}", program.name(), case.what));
                }
            }
        }
        println!("{table}");
        ensure!(wrong.is_empty(), "{table}\n{}", wrong.join("\n"));
        Ok(())
    })
}

/// What the controls come to in the first round from now on that can tell of all, or in the last that was waited for.
async fn judged(s: &Scenario) -> Result<([ControlState; 3], String)> {
    let mut since = Timestamp::now();
    hurry(s).await?;
    let mut seen = ([Indeterminate; 3], String::new());
    for _ in 0..ROUNDS {
        let fresh = |policy: &ResolverPolicy| {
            CONTROLS
                .iter()
                .all(|id| policy::control(policy, *id).is_some_and(|control| control.checked_at.0 > since))
        };
        let policy = s.reaches(POLICY, "probed again", SEEN, fresh).await?;
        let controls = CONTROLS.map(|id| policy::control(&policy, id));
        let states = controls.map(|control| control.map_or(Indeterminate, |control| control.state));
        let lines = controls.into_iter().flatten().map(|control| {
            let (id, state) = (control.id, control.state);
            format!("{id} {state}: {}; {}", control.observed, control.message)
        });
        seen = (states, lines.collect::<Vec<_>>().join("\n"));
        if !states.contains(&Indeterminate) {
            break;
        }
        since = Timestamp::now();
    }
    Ok(seen)
}

/// A change of the interval is a request for another round, at once.
async fn hurry(s: &Scenario) -> Result<()> {
    let policies = s.cluster.policies();
    let now = policies.get(POLICY).await?.spec.verification.interval.to_string();
    let other = if now == "30s" { "31s" } else { "30s" };
    let patch = Patch::Merge(json!({"spec": {"verification": {"interval": other}}}));
    policies.patch(POLICY, &PatchParams::default(), &patch).await?;
    Ok(())
}
