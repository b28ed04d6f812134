//! The Corefiles that tests begin from.

/// What kubeadm installs, with a `reload` that looks every two seconds: an open resolver once it is exposed.
pub const KUBEADM: &str = r".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload 2s 1s
    loadbalance
}
";

/// [`KUBEADM`] with a line put first into its server block.
#[must_use]
pub fn with(directive: &str) -> String {
    KUBEADM.replacen("    errors\n", &format!("    {directive}\n    errors\n"), 1)
}
