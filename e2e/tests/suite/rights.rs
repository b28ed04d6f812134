//! The controller runs with the chart's rights: they are enough, and they are no more.

use anyhow::{Result, ensure};
use k8s_openapi::api::{
    authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Pod,
};
use kube::{
    Api, ResourceExt as _,
    api::{LogParams, PostParams},
};
use serde_json::{Value, json};
use tsutsumi_e2e::{
    cluster::DNS_NAMESPACE,
    install::NAMESPACE,
    policy,
    scenario::{self, From, Scenario},
};

#[test]
fn the_chart_s_rights_are_enough() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        s.ready(&policy::restoring("rights")).await?;
        s.delete("rights").await?;
        for pod in s.cluster.controllers().await? {
            let log = s
                .cluster
                .within::<Pod>(NAMESPACE)
                .logs(&pod.name_any(), &LogParams::default())
                .await?;
            let refused: Vec<_> = log
                .lines()
                .filter(|line| line.to_lowercase().contains("forbidden"))
                .collect();
            ensure!(
                refused.is_empty(),
                "the API server refused: {}",
                refused.join("\n")
            );
            ensure!(
                !log.is_empty(),
                "{} logs nothing, so its log proves nothing",
                pod.name_any()
            );
        }
        Ok(())
    })
}

#[test]
fn the_chart_s_rights_are_no_more() -> Result<()> {
    let may = |namespace: &str, verb: &str, resource: &str, name: &str| {
        let (group, resource) = resource.rsplit_once('/').unwrap_or(("", resource));
        json!({"namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name})
    };
    scenario::run(From::Installed, async |s| {
        let controller = "tsutsumi-controller";
        for right in [
            may(DNS_NAMESPACE, "patch", "configmaps", "coredns"),
            may("", "list", "nodes", ""),
            may(NAMESPACE, "create", "pods", ""),
            may(NAMESPACE, "patch", "secrets", "tsutsumi-ca"),
        ] {
            ensure!(
                allowed(s, controller, &right).await?,
                "the controller may not: {right}"
            );
        }
        for right in [
            may("", "list", "secrets", ""),
            may(DNS_NAMESPACE, "get", "secrets", ""),
            may(NAMESPACE, "list", "secrets", ""),
            may(DNS_NAMESPACE, "patch", "configmaps", "kubeadm-config"),
            may(DNS_NAMESPACE, "patch", "configmaps", "another"),
            may(DNS_NAMESPACE, "create", "configmaps", ""),
            may(DNS_NAMESPACE, "create", "pods", ""),
            may(DNS_NAMESPACE, "patch", "apps/deployments", "coredns"),
            may("default", "create", "pods", ""),
            may("", "escalate", "rbac.authorization.k8s.io/clusterroles", ""),
            may("", "bind", "rbac.authorization.k8s.io/clusterroles", ""),
            may("", "impersonate", "users", ""),
            may("", "*", "*", ""),
        ] {
            ensure!(
                !allowed(s, controller, &right).await?,
                "the controller may: {right}"
            );
        }
        for account in ["tsutsumi-prober", "tsutsumi-canary"] {
            for right in [
                may(NAMESPACE, "get", "secrets", "tsutsumi-ca"),
                may(DNS_NAMESPACE, "patch", "configmaps", "coredns"),
                may(NAMESPACE, "create", "pods", ""),
            ] {
                ensure!(!allowed(s, account, &right).await?, "{account} may: {right}");
            }
        }
        Ok(())
    })
}

async fn allowed(s: &Scenario, account: &str, right: &Value) -> Result<bool> {
    let reviews: Api<SubjectAccessReview> = Api::all(s.cluster.client.clone());
    let spec: SubjectAccessReviewSpec = serde_json::from_value(json!({
        "user": format!("system:serviceaccount:{NAMESPACE}:{account}"),
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{NAMESPACE}"), "system:authenticated"],
        "resourceAttributes": right,
    }))?;
    let review = SubjectAccessReview {
        spec,
        ..SubjectAccessReview::default()
    };
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
