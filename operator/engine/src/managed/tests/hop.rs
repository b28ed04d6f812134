//! How CoreDNS asks the managed resolver: over TLS as long as every pod can, back at once, and never a certificate that
//! some pod does not trust yet.

use serde_json::{Value, json};
use tsutsumi_api::{ResolverPolicy, conditions::Reason};

use super::{NOW, cluster, file, policy, served, wanted};
use crate::{
    cluster::Cluster,
    managed::{
        Data, decide,
        hop::{AUTHORITY, Certificates, FOLDER},
    },
    resolver::{Change, Plan, Planned, Record, check, plan},
    testing::{edit, place},
};

fn over(hop: &str) -> ResolverPolicy {
    policy(&json!({ "via": "Managed", "sourcePorts": "Random", "hop": hop }))
}

fn issued(authorities: &str, leaves: &[&str]) -> Data {
    Data {
        certificates: Some(Certificates {
            authorities: authorities.to_owned(),
            leaves: leaves.iter().map(|leaf| (*leaf).to_owned()).collect(),
        }),
        ..Data::default()
    }
}

fn planned(policy: &ResolverPolicy, cluster: &Cluster, data: &Data, record: &Record) -> Planned {
    let mut checked = check(policy, &[], cluster);
    checked.managed = decide(&checked, cluster, data, NOW);
    plan(&checked, record)
}

fn change(planned: &Planned) -> &Change {
    match &planned.plan {
        Plan::Replace(change) => change,
        other => panic!("nothing is to be written: {other:?}"),
    }
}

/// The ConfigMap of the chart, filled.
fn fill(cluster: &mut Cluster, files: &[&str]) {
    let data: Value = files
        .iter()
        .map(|file| ((*file).to_owned(), json!("PEM")))
        .collect();
    place(
        cluster,
        json!({ "kind": "ConfigMap", "metadata": { "namespace": "kube-system", "name": AUTHORITY }, "data": data }),
    );
}

/// The template with the mount, or without; the pods follow by themselves.
fn mount(cluster: &mut Cluster, mounted: bool) {
    edit(&mut cluster.deployments, "coredns", |json| {
        let spec = &mut json["spec"]["template"]["spec"];
        let lists = [
            (
                "volumes",
                json!({ "name": AUTHORITY, "configMap": { "name": AUTHORITY, "optional": true } }),
            ),
            ("mounts", json!({ "name": AUTHORITY, "mountPath": FOLDER })),
        ];
        for (list, entry) in lists {
            let list = match list {
                "volumes" => &mut spec["volumes"],
                _ => &mut spec["containers"][0]["volumeMounts"],
            };
            let list = list.as_array_mut().unwrap();
            list.retain(|each| each["name"] != AUTHORITY);
            list.extend(mounted.then_some(entry));
        }
    });
}

/// Every pod of cluster DNS, started from the template as it is.
fn restart(cluster: &mut Cluster) {
    let mounted = check(&over("Tls"), &[], cluster).target.unwrap().has_authority;
    for pod in &mut cluster.pods {
        let mut new = (**pod).clone();
        new.has_authority = mounted;
        *pod = new.into();
    }
}

fn write(cluster: &mut Cluster, text: &str) {
    edit(&mut cluster.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = text.into();
    });
}

/// The managed resolver serves over TLS, and the ConfigMap is filled.
fn prepared(data: &Data) -> Cluster {
    let mut cluster = served(&cluster(), &wanted(&over("Tls"), &cluster(), data));
    fill(&mut cluster, &["a.crt"]);
    cluster
}

/// A cluster whose DNS asks over TLS, as issued, with the record of that.
fn over_tls(data: &Data) -> (Cluster, Record) {
    let mut live = prepared(data);
    mount(&mut live, true);
    restart(&mut live);
    let first = planned(&over("Tls"), &live, data, &Record::default());
    let record = Record::default().saving(change(&first));
    write(&mut live, &change(&first).candidate);
    (live, record)
}

#[test]
fn unbound_answers_over_tls_beside_udp_from_a_certificate_that_is_named_by_its_content() {
    let data = issued("a.crt", &["one"]);
    let made = wanted(&over("Tls"), &cluster(), &data);
    let text = file(&made, "unbound.conf");
    for line in [
        "interface: 0.0.0.0@53\n",
        "interface: 0.0.0.0@853\n",
        "tls-service-pem: \"/etc/unbound-tls/one.crt\"\n",
        "tls-service-key: \"/etc/unbound-tls/one.key\"\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let pod = serde_json::to_value(&made.objects.deployment).unwrap()["spec"]["template"]["spec"].clone();
    assert_eq!(
        pod["volumes"][2]["secret"],
        json!({ "secretName": "tsutsumi-resolver-tls", "defaultMode": 0o440, "items": [
            { "key": "one.crt", "path": "one.crt" },
            { "key": "one.key", "path": "one.key" },
        ]})
    );
    for container in [&pod["initContainers"][0], &pod["containers"][0]] {
        assert_eq!(container["volumeMounts"][2]["mountPath"], "/etc/unbound-tls");
    }
    assert!(
        pod["containers"][1]["volumeMounts"].as_array().unwrap().len() == 1,
        "who tells numbers reads no key"
    );
    let service = serde_json::to_value(&made.objects.service).unwrap();
    assert_eq!(service["spec"]["ports"][2]["port"], 853);
    let policy = serde_json::to_value(&made.objects.network_policy).unwrap();
    assert_eq!(
        policy["spec"]["ingress"][0]["ports"][2],
        json!({ "port": 853, "protocol": "TCP" })
    );
    let renewed = wanted(&over("Tls"), &cluster(), &issued("a.crt", &["two", "one"]));
    assert_ne!(
        renewed.objects.config.metadata.name, made.objects.config.metadata.name,
        "another certificate rolls the pods"
    );
    let plain = wanted(&over("Udp"), &cluster(), &Data::default());
    assert!(!file(&plain, "unbound.conf").contains("@853"));
}

#[test]
fn without_the_mount_the_hop_is_udp_and_the_command_that_mounts_it_is_told() {
    let data = issued("a.crt", &["one"]);
    let bare = prepared(&data);
    let told = planned(&over("Tls"), &bare, &data, &Record::default());
    assert!(
        change(&told).candidate.contains("    forward . 10.96.7.7:53 {\n"),
        "nothing waits for it"
    );
    let missing = told.missing.unwrap();
    assert_eq!(missing.reason, Reason::AuthorityNotMounted);
    let command = missing.message.split("mount it with: ").nth(1).unwrap();
    let patch = command
        .strip_prefix("kubectl -n kube-system patch deployment coredns -p '")
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap();
    let patch: Value = serde_json::from_str(patch).unwrap();
    let spec = &patch["spec"]["template"]["spec"];
    assert_eq!(spec["containers"][0]["name"], "coredns");
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], FOLDER);
    assert_eq!(
        spec["volumes"][0]["configMap"],
        json!({ "name": AUTHORITY, "optional": true })
    );

    let plain = planned(&over("Udp"), &bare, &Data::default(), &Record::default());
    assert_eq!(
        plain
            .missing
            .filter(|it| it.reason == Reason::AuthorityNotMounted),
        None
    );
}

#[test]
fn tls_begins_once_every_ready_pod_has_the_file_and_ends_with_the_mount() {
    let data = issued("a.crt", &["one"]);
    let mut live = prepared(&data);
    mount(&mut live, true);
    let half = planned(&over("Tls"), &live, &data, &Record::default());
    assert!(change(&half).candidate.contains("forward . 10.96.7.7:53 {"));
    let missing = half.missing.unwrap();
    assert_eq!(missing.reason, Reason::ResolverNotReady, "it passes by itself");
    assert!(
        missing.message.contains("1 of 1 ready pods"),
        "{}",
        missing.message
    );

    restart(&mut live);
    let whole = planned(&over("Tls"), &live, &data, &Record::default());
    let leads = "    forward . tls://10.96.7.7:853 {
        tls_servername resolver.tsutsumi.internal
        tls /etc/tsutsumi/resolver-ca/a.crt
    }
";
    assert!(
        change(&whole).candidate.contains(leads),
        "{}",
        change(&whole).candidate
    );
    assert_eq!(whole.missing, None);
    let record = Record {
        led: change(&whole).led.clone(),
        ..Record::default().saving(change(&whole))
    };
    write(&mut live, &change(&whole).candidate);
    assert!(matches!(
        planned(&over("Tls"), &live, &data, &record).plan,
        Plan::InForce { .. }
    ));

    // None of these waits for a watch or a comparison: it is the same resolver.
    let stays = |planned: &Planned| !change(planned).leads_elsewhere && change(planned).led == record.led;
    mount(&mut live, false);
    let back = planned(&over("Tls"), &live, &data, &record);
    assert!(stays(&back));
    assert!(change(&back).candidate.contains("forward . 10.96.7.7:53 {"));
    assert!(!change(&back).candidate.contains(FOLDER));
    assert_eq!(back.missing.unwrap().reason, Reason::AuthorityNotMounted);

    // Whatever else is true: a pod that comes would not start.
    edit(&mut live.own, "tsutsumi-unbound-town", |d| {
        d["status"]["availableReplicas"] = json!(1);
    });
    let unready = planned(&over("Tls"), &live, &data, &record);
    assert!(change(&unready).candidate.contains("forward . 10.96.7.7:53 {"));
    assert!(stays(&unready));
    let mut nobody_asks = over("Tls");
    nobody_asks.spec.recursion = None;
    let unasked = planned(&nobody_asks, &live, &data, &record);
    assert!(change(&unasked).candidate.contains("forward . 10.96.7.7:53"));
    assert!(stays(&unasked));
}

#[test]
fn authorities_that_coredns_cannot_have_yet_are_not_named() {
    let data = issued("b.crt", &["one"]);
    let mut live = prepared(&data);
    mount(&mut live, true);
    restart(&mut live);
    let waiting = planned(&over("Tls"), &live, &data, &Record::default());
    assert!(change(&waiting).candidate.contains("forward . 10.96.7.7:53 {"));
    assert_eq!(waiting.missing.unwrap().reason, Reason::ResolverNotReady);

    let old = issued("a.crt", &["one"]);
    let first = planned(&over("Tls"), &live, &old, &Record::default());
    let record = Record::default().saving(change(&first));
    write(&mut live, &change(&first).candidate);
    assert!(
        matches!(
            planned(&over("Tls"), &live, &data, &record).plan,
            Plan::InForce { .. }
        ),
        "what is in force stays until the new ones are there"
    );
    fill(&mut live, &["a.crt", "b.crt"]);
    let next = planned(&over("Tls"), &live, &data, &record);
    assert!(change(&next).candidate.contains("resolver-ca/b.crt"));
}

#[test]
fn a_certificate_is_shown_only_once_every_pod_trusts_who_signed_it() {
    let old = issued("a.crt", &["one"]);
    let (mut live, record) = over_tls(&old);
    let shows = |live: &Cluster, policy: &ResolverPolicy, data: &Data| {
        let text = file(&wanted(policy, live, data), "unbound.conf");
        let shown = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("tls-service-pem: "));
        shown.map(str::to_owned)
    };
    let is = |leaf: &str| Some(format!("\"/etc/unbound-tls/{leaf}.crt\""));
    assert_eq!(
        shows(&live, &over("Tls"), &issued("a.crt", &["two", "one"])),
        is("two")
    );

    let other = issued("b.crt", &["two", "one"]);
    assert_eq!(
        shows(&live, &over("Tls"), &other),
        is("one"),
        "no pod trusts the new authority yet"
    );
    fill(&mut live, &["a.crt", "b.crt"]);
    let next = planned(&over("Tls"), &live, &other, &record);
    let record = record.saving(change(&next));
    write(&mut live, &change(&next).candidate);
    let mut under_way = over("Tls");
    under_way.status = serde_json::from_value(json!({ "rollout": {
        "state": "Written", "identity": "x", "since": "2026-11-29T00:00:00Z", "generation": 1, "message": "",
    }}))
    .unwrap();
    assert_eq!(
        shows(&live, &under_way, &other),
        is("one"),
        "some pod may not have loaded it"
    );
    assert_eq!(shows(&live, &over("Tls"), &other), is("two"));
    assert_eq!(
        shows(&live, &over("Tls"), &Data::default()),
        is("one"),
        "absent is not remove"
    );

    assert_eq!(
        shows(&live, &over("Udp"), &Data::default()),
        is("one"),
        "the text still leads there"
    );
    let plain = planned(&over("Udp"), &live, &Data::default(), &record);
    write(&mut live, &change(&plain).candidate);
    assert_eq!(shows(&live, &over("Udp"), &Data::default()), None);
}

#[test]
fn what_was_issued_wholly_anew_is_shown_only_while_nobody_asks_over_tls() {
    let old = issued("a.crt", &["one"]);
    let (mut live, record) = over_tls(&old);

    let anew = issued("b.crt", &["two"]);
    fill(&mut live, &["a.crt", "b.crt"]);
    let leaf = |live: &Cluster| file(&wanted(&over("Tls"), live, &anew), "unbound.conf");
    assert!(
        leaf(&live).contains("/one.crt"),
        "pods of CoreDNS trust only who signed this one"
    );
    let away = planned(&over("Tls"), &live, &anew, &record);
    assert!(change(&away).candidate.contains("forward . 10.96.7.7:53 {"));
    assert_eq!(away.missing.as_ref().unwrap().reason, Reason::ResolverNotReady);
    write(&mut live, &change(&away).candidate);
    assert!(leaf(&live).contains("/two.crt"));
    let rolled = wanted(&over("Tls"), &live, &anew);
    let live = served(&live, &rolled);
    let back = planned(&over("Tls"), &live, &anew, &record.saving(change(&away)));
    assert!(change(&back).candidate.contains("resolver-ca/b.crt"));
}
