//! A policy that goes is let go, also when its object changes at that very moment.

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tsutsumi_e2e::{
    faults::{
        call::{Call, Verb},
        fault::{Fault, Gate, Rule},
        stage,
        world::{self, POLICY, SETTLES},
    },
    wait,
};

#[test]
fn a_policy_that_somebody_annotates_while_it_is_let_go_does_not_stay() -> Result<()> {
    world::run(async |world| {
        let mut policy = world::wish();
        policy["spec"]["onDelete"] = "Restore".into();
        let _running = world.wished(&policy, vec![]).await?;
        world.ended().await?;

        let letting_go = Call {
            verb: Verb::Patch,
            what: "resolverpolicies".into(),
            name: POLICY.into(),
        };
        let gate = Gate::default();
        world
            .proxy
            .arm(vec![Rule::at(&letting_go, 1, Fault::Hold(gate.clone()))]);
        let policies = world.cluster.policies();
        policies.delete(POLICY, &DeleteParams::default()).await?;
        world
            .until("its finalizer is taken off", |made| made.call == letting_go)
            .await?;
        let text = world.cluster.corefile().await?;
        ensure!(
            text == stage::COREFILE,
            "what stood there before is not back:\n{text}"
        );
        // As our own status does: the generation stays, and the watch tells the controller nothing.
        let noted = json!({ "metadata": { "annotations": { "colleague": "was here" } } });
        policies
            .patch(POLICY, &PatchParams::default(), &Patch::Merge(noted))
            .await?;
        gate.open();
        world
            .until("it is refused", |made| {
                made.call == letting_go && made.nth == 1 && made.status.is_some_and(|code| code == 422)
            })
            .await?;
        wait::object(&policies, POLICY, "gone", SETTLES, |found| found.is_none()).await?;
        Ok(())
    })
}
