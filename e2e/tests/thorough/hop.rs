//! The hop from CoreDNS to a resolver of ours. Over UDP whoever stands where that resolver is asked is believed; over TLS
//! only who has its certificate is. Nobody inside notices the switch and the way back, which is taken by itself once pods of
//! CoreDNS would come without what they know the resolver by.

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tsutsumi_api::{
    ResolverPolicy,
    conditions::{ConditionType, Reason},
};
use tsutsumi_e2e::{
    cluster::{DNS, DNS_NAMESPACE},
    corefile,
    dns::{Question, ask, fresh_below},
    install::NAMESPACE,
    place::Place,
    policy, process,
    rig::DNS_SERVICE,
    scenario::{self, From, READY, Scenario},
    signed::{BOGUS, GOOD, believes_everything, validates},
    steady::{Names, RATE},
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

/// The label that tells an impostor's pod.
const IMPOSTOR: &str = "e2e.tsutsumi.dev/impostor";
/// What CoreDNS's text says once it asks over TLS.
const FOLDER: &str = "/etc/tsutsumi/resolver-ca/";

/// Starts a server that answers every name over UDP, TCP and TLS, with this certificate.
async fn start_impostor(s: &Scenario, name: &str, certificate: &str, key: &str) -> Result<()> {
    let answers = "template IN A . {\n        answer \"{{ .Name }} 60 IN A 192.0.2.66\"\n    }";
    let text = format!(
        ".:53 {{\n    {answers}\n}}\ntls://.:853 {{\n    tls /etc/coredns/tls.crt /etc/coredns/tls.key\n    {answers}\n}}\n"
    );
    // A record of ours by its name, so that the next test clears it away.
    let files = format!("tsutsumi-{name}");
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": files},
        "data": {"Corefile": text, "tls.crt": certificate, "tls.key": key},
    });
    s.cluster
        .within::<ConfigMap>(NAMESPACE)
        .patch(&files, &PatchParams::apply("e2e").force(), &Patch::Apply(&map))
        .await?;
    let pods = s.cluster.within::<Pod>(NAMESPACE);
    let port = |name: &str, port: u16, protocol: &str| json!({"name": name, "containerPort": port, "protocol": protocol});
    let pod = json!({
        "metadata": {"name": name, "labels": {IMPOSTOR: name}},
        "spec": {
            "automountServiceAccountToken": false,
            "dnsPolicy": "Default",
            "containers": [{
                "name": "coredns",
                "image": s.original_image().await?,
                "imagePullPolicy": "IfNotPresent",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "ports": [port("dns", 53, "UDP"), port("dns-tcp", 53, "TCP"), port("dns-tls", 853, "TCP")],
                "readinessProbe": {"tcpSocket": {"port": "dns-tls"}, "periodSeconds": 1},
                "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}},
                "volumeMounts": [{"name": "files", "mountPath": "/etc/coredns", "readOnly": true}],
            }],
            "volumes": [{"name": "files", "configMap": {"name": files}}],
        },
    });
    s.cluster.make(&pods, pod).await?;
    let ready = |found: Option<&Pod>| {
        let conditions = found.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    wait::object(&pods, name, "ready", READY, ready).await?;
    Ok(())
}

/// Has the address of a policy's resolver lead to an impostor, or back to it.
async fn lead_to(s: &Scenario, policy: &str, impostor: Option<&str>) -> Result<()> {
    let selector = json!({
        IMPOSTOR: impostor,
        "tsutsumi.dev/unbound": impostor.is_none().then_some(policy),
    });
    s.cluster
        .within::<Service>(NAMESPACE)
        .patch(
            &format!("tsutsumi-unbound-{policy}"),
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"selector": selector}})),
        )
        .await?;
    Ok(())
}

/// What the DNS Service says of a new name below a zone; none where nothing comes.
fn code(zone: &str) -> Result<Option<ResponseCode>> {
    let answer = ask(&Place::node(), DNS_SERVICE, &Question::a(fresh_below(zone)))?;
    Ok(answer.map(|answer| answer.code))
}

/// Fails unless an impostor is asked and not believed.
async fn is_not_believed(s: &Scenario, policy: &str, impostor: &str) -> Result<()> {
    lead_to(s, policy, Some(impostor)).await?;
    // CoreDNS keeps its connections; they end with the programs that hold them, and the next ones lead to the impostor.
    let (pods, ours) = (
        s.cluster.within::<Pod>(NAMESPACE),
        ListParams::default().labels(&format!("tsutsumi.dev/unbound={policy}")),
    );
    // One that was told to end may have ended meanwhile.
    let programs: Vec<u32> = pods
        .list(&ours)
        .await?
        .into_iter()
        .filter_map(|pod| process::of_pod(&pod, |program| program == "unbound").ok())
        .collect();
    ensure!(!programs.is_empty(), "no Unbound runs");
    let now = DeleteParams::default().grace_period(0);
    pods.delete_collection(&now, &ours).await?;
    wait::until("connections to the resolver itself are over", READY, async || {
        let left = programs.iter().find(|process| process::lives(**process));
        ensure!(left.is_none(), "process {left:?} is there still");
        Ok(())
    })
    .await?;
    for zone in [GOOD, BOGUS, GOOD, BOGUS] {
        let code = code(zone)?;
        ensure!(
            code != Some(ResponseCode::NoError),
            "{impostor} is believed: a name below {zone} got an answer"
        );
    }
    lead_to(s, policy, None).await?;
    wait::until("the resolver itself is asked again", READY, async || validates(s)).await
}

/// A certificate that nobody issued but its owner, and its key.
fn self_signed(name: &str) -> Result<(String, String)> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()])?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

/// Waits until the mount is asked for, and mounts as the status says.
async fn mount_as_told(s: &Scenario, name: &str) -> Result<()> {
    let told = s
        .says(
            name,
            ConditionType::Programmed,
            "False",
            Reason::AuthorityNotMounted,
        )
        .await?;
    let message = policy::condition(&told, ConditionType::Programmed).map(|one| one.message.clone());
    let message = message.unwrap_or_default();
    let (_, command) = message
        .split_once("mount it with: ")
        .with_context(|| format!("no command in `{message}`"))?;
    s.rig.shell(command)?;
    s.cluster.rolled_out(DNS_NAMESPACE, DNS).await
}

/// Questions that a policy's resolver got over TLS.
async fn over_tls(s: &Scenario, policy: &str) -> Result<f64> {
    let pods = s.cluster.within::<Pod>(NAMESPACE);
    let ours = ListParams::default().labels(&format!("tsutsumi.dev/unbound={policy}"));
    let mut sum = 0.0;
    let listed = pods.list(&ours).await?;
    // Of one that ends, only Unbound itself is there still.
    for pod in listed
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
    {
        let page = s
            .cluster
            .page(NAMESPACE, &format!("pods/{}:8080", pod.name_any()), "metrics")
            .await?;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("tsutsumi_unbound_tls_queries_total "));
        sum += line.context("no count of questions over TLS")?.parse::<f64>()?;
    }
    Ok(sum)
}

async fn asks_over_tls(s: &Scenario, policy: &str, ready: &ResolverPolicy) -> Result<()> {
    let text = s.cluster.corefile().await?;
    ensure!(
        text.contains("forward . tls://") && text.contains(FOLDER),
        "{text}"
    );
    let before = over_tls(s, policy).await?;
    for _ in 0..20 {
        ensure!(code(GOOD)? == Some(ResponseCode::NoError), "no answer over TLS");
    }
    let counted = over_tls(s, policy).await? - before;
    ensure!(
        counted >= 20.0,
        "of 20 questions Unbound counts {counted} over TLS"
    );
    for control in [ControlId::Dns03, ControlId::Dns05] {
        ensure!(
            policy::came_to(ready, control, ControlState::Pass),
            "{control}: {ready:?}"
        );
    }
    Ok(())
}

#[test]
fn who_stands_in_for_the_resolver_is_believed_over_udp_and_not_over_tls() -> Result<()> {
    let name = "hop";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        s.ready(&policy::managed(name)).await?;
        validates(s)?;
        // The prober's certificate is of the same authority, and the other one has the same name.
        let prober = s.cluster.secret(NAMESPACE, "tsutsumi-prober-tls").await?;
        let part = |key: &str| -> Result<String> {
            Ok(String::from_utf8(
                prober.get(key).context("it is filled")?.clone(),
            )?)
        };
        start_impostor(s, "other-name", &part("tls.crt")?, &part("tls.key")?).await?;
        let (certificate, key) = self_signed("resolver.tsutsumi.internal")?;
        start_impostor(s, "other-authority", &certificate, &key).await?;

        lead_to(s, name, Some("other-name")).await?;
        wait::until("the impostor is believed", READY, async || believes_everything(s))
            .await
            .context("the danger is there over UDP")?;
        lead_to(s, name, None).await?;
        wait::until("the resolver itself is asked again", READY, async || validates(s)).await?;

        s.cluster.apply_policy(&policy::encrypted(name)).await?;
        mount_as_told(s, name).await?;
        let ready = s.becomes_ready(name).await.context("once it is mounted")?;
        validates(s)?;
        asks_over_tls(s, name, &ready).await?;
        for impostor in ["other-name", "other-authority"] {
            is_not_believed(s, name, impostor).await?;
        }
        s.delete(name).await
    })
}

#[test]
fn nobody_notices_the_switch_to_tls_and_back_nor_pods_that_come_and_go_meanwhile() -> Result<()> {
    let name = "hop-switch";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        let mut wanted = policy::encrypted(name);
        s.cluster.apply_policy(&wanted).await?;
        // Its pods come and go for it, which is not ours: nobody asks yet.
        mount_as_told(s, name).await?;
        s.ready(&policy::managed(name)).await.context("over UDP")?;
        let client = s.keep_asking_for(Names::FreshBelow(GOOD), RATE).await?;

        s.ready(&wanted).await.context("over TLS")?;
        let text = s.cluster.corefile().await?;
        ensure!(text.contains(FOLDER), "{text}");
        wanted["spec"]["recursion"]["dnssec"] = "WhenSigned".into();
        s.ready(&wanted)
            .await
            .context("with pods of Unbound that come and go, as a new certificate has it")?;
        validates(s)?;
        s.ready(&policy::managed(name)).await.context("back over UDP")?;
        let text = s.cluster.corefile().await?;
        ensure!(!text.contains(FOLDER), "{text}");
        let asked = client.lost_nothing()?;
        println!("{asked} questions from inside were all answered");
        s.delete(name).await
    })
}

#[test]
fn pods_that_would_come_without_the_file_are_led_back_to_udp() -> Result<()> {
    let name = "hop-lost";
    scenario::run(From::Installed, async |s| {
        s.may_run_resolvers().await?;
        s.cluster.apply_policy(&policy::encrypted(name)).await?;
        mount_as_told(s, name).await?;
        s.becomes_ready(name).await.context("once it is mounted")?;
        let text = s.cluster.corefile().await?;
        ensure!(text.contains(FOLDER), "{text}");

        s.take_authority_away().await?;
        s.says(
            name,
            ConditionType::Programmed,
            "False",
            Reason::AuthorityNotMounted,
        )
        .await?;
        validates(s).context("by pods that have it still")?;
        wait::until("no text names a file that new pods have not", READY, async || {
            let text = s.cluster.corefile().await?;
            ensure!(!text.contains(FOLDER), "{text}");
            Ok(())
        })
        .await?;
        s.cluster
            .rolled_out(DNS_NAMESPACE, DNS)
            .await
            .context("pods without the file start")?;
        validates(s).context("over UDP, by the same resolver")?;
        s.delete(name).await?;
        let text = s.cluster.corefile().await?;
        ensure!(
            text == corefile::kubeadm(),
            "what stood there before is not back:\n{text}"
        );
        Ok(())
    })
}
