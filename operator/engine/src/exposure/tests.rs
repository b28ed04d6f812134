use proptest::prelude::*;
use tsutsumi_model::{ClientAddress, Endpoint, Exposure, Reach, Transport};

use super::{Backend, DynamicRoute, find};
use crate::{
    cluster::Cluster,
    target,
    testing::{KUBEADM, add, changed, edit, kubeadm, kubeadm_with, turned},
};

/// A node port whose numbers differ between UDP and TCP, in another namespace and without a selector.
const NODE_PORT: &str = "kind: Service
metadata: {namespace: town, name: dns-nodeport}
spec:
  type: NodePort
  externalTrafficPolicy: Cluster
  ipFamilies: [IPv4]
  clusterIP: 10.96.0.99
  ports:
  - {name: a, port: 53, protocol: UDP, nodePort: 30053}
  - {name: b, port: 53, protocol: TCP, nodePort: 30054}
---
kind: EndpointSlice
addressType: IPv4
metadata: {namespace: town, name: by-hand, labels: {kubernetes.io/service-name: dns-nodeport}}
ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53, protocol: TCP}]
endpoints: [{addresses: [10.244.1.2]}]";

const BALANCER: &str = "kind: Service
metadata: {namespace: kube-system, name: dns-lb}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  externalIPs: [198.51.100.53]
  ports: [{port: 5353, protocol: UDP}]
status:
  loadBalancer:
    ingress: [{ip: 203.0.113.53, ipMode: VIP}, {ip: 203.0.113.54, ipMode: Proxy}, {hostname: lb.example.net}]
---
kind: EndpointSlice
addressType: IPv4
metadata: {namespace: kube-system, name: dns-lb-1, labels: {kubernetes.io/service-name: dns-lb}}
ports: [{port: 53, protocol: UDP}]
endpoints: [{addresses: [10.244.0.2]}]";

fn reach(cluster: &Cluster) -> Reach {
    find(cluster, &target::find(cluster, None).unwrap())
}

fn at(exposure: &Exposure) -> Vec<String> {
    exposure.endpoints.iter().map(Endpoint::to_string).collect()
}

fn cure(exposure: &Exposure) -> &str {
    match &exposure.client_address {
        ClientAddress::Hidden { cure, .. } => cure,
        ClientAddress::Kept => panic!("{exposure:?}"),
    }
}

#[test]
fn what_is_reached_inside_only_is_not_exposed() {
    let reach = reach(&kubeadm());
    assert_eq!(reach.exposures, []);
    let texts = |endpoints: &[Endpoint]| endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>();
    assert_eq!(
        texts(&reach.direct),
        [
            "10.244.0.2:53",
            "10.244.1.2:53",
            "[fd00:10:244::2]:53",
            "[fd00:10:244:1::2]:53"
        ]
    );
    assert_eq!(texts(&reach.inside), ["10.96.0.10:53"]);
}

#[test]
fn a_node_port_is_found_by_addresses_and_hides_clients_unless_local() {
    let mut cluster = kubeadm_with(NODE_PORT);
    let found = reach(&cluster).exposures;
    let [udp, tcp] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(udp.object, "Service town/dns-nodeport");
    assert_eq!(udp.transports, [Transport::Udp]);
    assert_eq!(
        at(udp),
        ["192.0.2.11:30053", "192.0.2.12:30053", "203.0.113.12:30053"]
    );
    assert_eq!(tcp.transports, [Transport::Tcp]);
    assert_eq!(
        at(tcp),
        ["192.0.2.11:30054", "192.0.2.12:30054", "203.0.113.12:30054"]
    );
    assert_eq!(
        cure(udp),
        r#"kubectl -n town patch service dns-nodeport -p '{"spec":{"externalTrafficPolicy":"Local"}}'"#
    );

    let local = changed(NODE_PORT, "dns-nodeport", |json| {
        json["spec"]["externalTrafficPolicy"] = "Local".into();
    });
    add(&mut cluster, &local);
    let found = reach(&cluster).exposures;
    assert!(
        found
            .iter()
            .all(|each| each.client_address == ClientAddress::Kept),
        "{found:?}"
    );
    // Only the node with a pod behind it answers.
    assert_eq!(at(&found[0]), ["192.0.2.12:30053", "203.0.113.12:30053"]);

    // The same number for both is one way with two transports.
    let one_number = changed(&local, "dns-nodeport", |json| {
        json["spec"]["ports"][1]["nodePort"] = 30053.into();
    });
    add(&mut cluster, &one_number);
    let found = reach(&cluster).exposures;
    let [both] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(both.transports, [Transport::Udp, Transport::Tcp]);
}

#[test]
fn a_service_without_the_field_masquerades() {
    let mut cluster = kubeadm_with(NODE_PORT);
    let silent = changed(NODE_PORT, "dns-nodeport", |json| {
        json["spec"]
            .as_object_mut()
            .unwrap()
            .remove("externalTrafficPolicy");
    });
    add(&mut cluster, &silent);
    assert!(cure(&reach(&cluster).exposures[0]).contains("externalTrafficPolicy"));
}

#[test]
fn a_service_to_other_pods_or_to_the_metrics_port_is_none_of_ours() {
    let metrics = NODE_PORT.replace("port: 53,", "port: 9153,");
    assert_eq!(reach(&kubeadm_with(&metrics)).exposures, []);
    let others = NODE_PORT.replace("10.244.1.2", "10.244.0.9");
    assert_eq!(reach(&kubeadm_with(&others)).exposures, []);
}

#[test]
fn a_port_that_only_the_corefile_serves_counts() {
    let mut cluster =
        kubeadm_with(&NODE_PORT.replace("port: 53, protocol: UDP}", "port: 5300, protocol: UDP}"));
    assert_eq!(reach(&cluster).exposures.len(), 1);
    edit(&mut cluster.config_maps, "coredns", |json| {
        json["data"]["Corefile"] = ".:53 {\n}\nexample.org:5300 {\n}\ntls://.:853 {\n}\n".into();
    });
    assert_eq!(reach(&cluster).exposures.len(), 2);
}

#[test]
fn a_load_balancer_is_judged_address_by_address() {
    let found = reach(&kubeadm_with(BALANCER)).exposures;
    let [named, plain, proxied] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert_eq!(
        (at(named).len(), named.hostnames.as_slice()),
        (0, ["lb.example.net".to_owned()].as_slice())
    );
    assert_eq!(at(plain), ["198.51.100.53:5353", "203.0.113.53:5353"]);
    assert_eq!(plain.client_address, ClientAddress::Kept);
    assert_eq!(at(proxied), ["203.0.113.54:5353"]);
    assert_eq!(
        cure(proxied),
        r#"kubectl -n kube-system patch service dns-lb -p '{"spec":{"type":"ClusterIP"}}'"#
    );
}

#[test]
fn host_network_and_host_ports_are_ways_in() {
    let mut cluster = kubeadm();
    let pod = changed(KUBEADM, "coredns-5dd5756b68-bbbbb", |json| {
        json["spec"]["containers"][0]["ports"] = k8s_openapi::serde_json::json!([
            {"containerPort": 53, "hostPort": 1053, "protocol": "UDP"},
            {"containerPort": 53, "hostPort": 1054, "hostIP": "127.0.0.1", "protocol": "UDP"},
            {"containerPort": 9153, "hostPort": 9153},
        ]);
    });
    add(&mut cluster, &pod);
    let found = reach(&cluster).exposures;
    let [port] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(port.object, "Deployment kube-system/coredns (host port)");
    assert_eq!(at(port), ["192.0.2.12:1053", "203.0.113.12:1053"]);

    let pod = changed(&pod, "coredns-5dd5756b68-bbbbb", |json| {
        json["spec"]["hostNetwork"] = true.into();
    });
    add(&mut cluster, &pod);
    let found = reach(&cluster).exposures;
    let [network] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(network.object, "Deployment kube-system/coredns (host network)");
    assert_eq!(network.transports, [Transport::Udp, Transport::Tcp]);
    assert!(at(network).contains(&"203.0.113.12:53".to_owned()), "{network:?}");
}

#[test]
fn routes_and_ingress_maps_hide_clients() {
    let mut cluster = kubeadm_with(
        "kind: ConfigMap
metadata: {namespace: ingress-nginx, name: udp-services}
data: {'53': 'kube-system/kube-dns:53', '54': 'town/web:53', other: text}
---
kind: Service
metadata: {namespace: ingress-nginx, name: controller}
spec: {type: NodePort, ports: [{port: 53, protocol: UDP, nodePort: 31053}]}",
    );
    cluster.routes.push(DynamicRoute {
        kind: "TCPRoute".to_owned(),
        namespace: "town".to_owned(),
        name: "dns".to_owned(),
        transport: Transport::Tcp,
        backends: vec![Backend {
            namespace: "kube-system".to_owned(),
            service: "kube-dns".to_owned(),
            port: 53,
        }],
        listeners: vec![Endpoint::of([198, 51, 100, 1].into(), 53).unwrap()],
    });
    let found = reach(&cluster).exposures;
    let [map, route] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert_eq!(map.object, "ConfigMap ingress-nginx/udp-services (port 53)");
    assert_eq!(
        at(map),
        [
            "192.0.2.11:31053",
            "192.0.2.12:31053",
            "203.0.113.12:31053",
            "[2001:db8::11]:31053"
        ]
    );
    assert!(cure(map).contains(r#"{"op":"remove","path":"/data/53"}"#));
    assert_eq!(route.object, "TCPRoute town/dns");
    assert_eq!(cure(route), "kubectl -n town delete tcproute dns");
}

proptest! {
    #[test]
    fn order_never_changes_what_is_found(by in 0_usize..24) {
        let whole = kubeadm_with(&format!("{NODE_PORT}\n---\n{BALANCER}"));
        prop_assert_eq!(reach(&turned(&whole, by)), reach(&whole));
    }
}
