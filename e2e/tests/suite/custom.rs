//! A platform that owns the Corefile and imports `coredns-custom`: only that ConfigMap is written, and only once it is
//! there. The rig's stand-in for k3s has its Corefile, labels and mounts, and somebody who restores them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tsutsumi_api::conditions::{ConditionType, Reason};
use tsutsumi_e2e::{
    cluster::DNS_NAMESPACE,
    platform::{self, CUSTOM, Owner, Platform},
    policy,
    scenario::{self, From, READY},
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

#[test]
fn what_the_platform_imports_is_written_and_its_own_file_never() -> Result<()> {
    let name = "custom";
    scenario::run(From::Installed, async |s| {
        let image = s.original_image().await?;
        platform::install(&s.rig, &s.cluster, Platform::K3s, &image).await?;
        let main = s.cluster.corefile().await?;
        let owner = Owner::start(&s.cluster).await?;
        s.cluster
            .write_corefile(&main.replace("cache 30 {", "cache 45 {"), "kubectl-edit")
            .await?;
        let untouched = async |edits: u32| -> Result<()> {
            let restored = owner.restored()?;
            ensure!(
                restored == edits && s.cluster.corefile().await? == main,
                "the platform restored its file {restored} times, and {edits} times for this test's edits"
            );
            Ok(())
        };
        wait::until("the platform restores its own file", READY, async || {
            untouched(1).await
        })
        .await?;
        // Nothing that the platform's file imports can change how questions leave.
        let with_recursion = policy::enforcing(name);
        let mut possible = with_recursion.clone();
        if let Some(spec) = possible["spec"].as_object_mut() {
            spec.remove("recursion");
        }
        s.cluster.apply_policy(&possible).await?;
        let told = s
            .says(name, ConditionType::Programmed, "False", Reason::Unsupported)
            .await?;
        let message = policy::condition(&told, ConditionType::Programmed).map(|found| found.message.clone());
        ensure!(
            message
                .as_ref()
                .is_some_and(|text| text.contains("kubectl") && text.contains(CUSTOM)),
            "the next step is missing: {message:?}"
        );

        let custom = s.cluster.within::<ConfigMap>(DNS_NAMESPACE);
        s.cluster
            .make(&custom, json!({"metadata": {"name": CUSTOM}}))
            .await?;
        let client = s.keep_asking().await?;
        let ready = s.becomes_ready(name).await?;
        ensure!(
            ready
                .status
                .and_then(|status| status.target)
                .is_some_and(|target| target.platform.eq_ignore_ascii_case("k3s"))
        );
        s.outside_is_refused().await?;
        let rules = async || -> Result<_> {
            let data = custom.get(CUSTOM).await?.data.context("nothing was written")?;
            let ours = |(key, text): (&String, &String)| key.ends_with(".override") && text.contains("acl");
            ensure!(data.iter().any(ours), "{data:?}");
            Ok(data)
        };
        let written = rules().await?;
        untouched(1).await?;

        // What an upgrade of the platform does: everything of its own is applied anew.
        s.cluster
            .write_corefile(&format!("{main}# another release\n"), "deploy@node1")
            .await?;
        wait::until("the platform restores its file again", READY, async || {
            untouched(2).await
        })
        .await?;
        s.next_round(name).await?;
        s.becomes_ready(name).await?;
        s.outside_is_refused().await?;
        client.lost_nothing()?;
        ensure!(rules().await? == written, "our rules did not survive");
        untouched(2).await?;

        // Whoever asks for it all the same is told what is so, and whose it is.
        s.cluster.apply_policy(&with_recursion).await?;
        s.control_says(
            name,
            ControlId::Dns03,
            ControlState::Fail,
            &["The platform owns the Corefile"],
        )
        .await?;
        untouched(2).await
    })
}
