//! What the controller may make has one shape: the chart's admission policies are asked with every shape of its `ci`
//! folder, as the controller, and nothing is made.

use std::fs;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, networking::v1::NetworkPolicy};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, from_value, json};
use tsutsumi_e2e::{
    install::{self, NAMESPACE},
    rig::workspace,
    scenario::{self, From},
};

#[test]
fn admission_takes_from_the_controller_what_it_makes_and_nothing_else() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        let mut values = install::values(&s.rig);
        values["managedResolver"] = json!({"enabled": true});
        values["waysAround"] = json!({"close": {"enabled": true, "namespaces": ["default"]}});
        install::install(&s.rig, &values)?;
        let controller = impersonated().await?;
        let canaries = judged(&controller, "canary", "pod").await?;
        let resolvers = judged(&controller, "unbound", "deployment").await?;
        let closings = judged(&controller, "closing", "networkPolicy").await?;
        println!(
            "{canaries} shapes of a canary, {resolvers} of a resolver and {closings} of what closes a namespace were judged"
        );
        Ok(())
    })
}

/// Has each shape of a file judged, and returns how many there were.
async fn judged(controller: &Client, file: &str, base: &str) -> Result<usize> {
    let source = workspace().join(format!("charts/tsutsumi/ci/{file}-shapes.json"));
    let shapes: Value =
        serde_json::from_str(&fs::read_to_string(&source)?).with_context(|| source.display().to_string())?;
    let list = |of: &str| shapes[of].as_array().with_context(|| format!("{file}: {of}"));
    let (accepted, refused) = (list("accepted")?, list("refused")?);
    let mut wrong = Vec::new();
    for shape in accepted.iter().chain(refused) {
        let what = &shape["what"];
        let mut object = shapes[base].clone();
        let patch: json_patch::Patch = from_value(shape["patch"].clone())?;
        json_patch::patch(&mut object, &patch).with_context(|| what.to_string())?;
        match (shape["says"].as_str(), try_to_make(controller, &object).await?) {
            (None, Ok(())) => {}
            (None, Err(message)) => wrong.push(format!("{what} is refused: {message}")),
            (Some(_), Ok(())) => wrong.push(format!("{what} is taken")),
            (Some(says), Err(message)) => {
                // Not by another rule of Kubernetes, which would hide that ours is not there.
                let policy = format!("ValidatingAdmissionPolicy 'tsutsumi-{file}'");
                if !(message.contains(&policy) && message.contains(says)) {
                    wrong.push(format!(
                        "{what} is not refused by {policy} with `{says}`: {message}"
                    ));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{file}:\n{}", wrong.join("\n"));
    Ok(accepted.len() + refused.len())
}

/// What the API server says to an object that it is not to keep.
async fn try_to_make(client: &Client, object: &Value) -> Result<Result<(), String>> {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let made = if object["kind"] == "Pod" {
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        pods.create(&dry, &from_value(object.clone())?).await.map(drop)
    } else if object["kind"] == "NetworkPolicy" {
        // The right to create it goes by its name, which only an apply bears.
        let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), "default");
        let params = PatchParams::apply("e2e").dry_run();
        policies
            .patch("tsutsumi-dns-egress", &params, &Patch::Apply(object))
            .await
            .map(drop)
    } else {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
        deployments
            .create(&dry, &from_value(object.clone())?)
            .await
            .map(drop)
    };
    match made {
        Ok(()) => Ok(Ok(())),
        Err(kube::Error::Api(status)) => Ok(Err(status.message)),
        Err(error) => Err(error).context("asking the API server"),
    }
}

async fn impersonated() -> Result<Client> {
    let mut config = Config::infer().await?;
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{NAMESPACE}:tsutsumi-controller"));
    Ok(Client::try_from(config)?)
}
