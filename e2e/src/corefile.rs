//! The Corefiles that tests begin from.

use std::sync::LazyLock;

use crate::rig;

/// What kubeadm installs, with a place for the rig's interval of `reload`.
pub(crate) const KUBEADM: &str = r".:53 {
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
    {reload}
    loadbalance
}
";

/// What kubeadm installs, with the rig's interval of `reload`: an open resolver once it is exposed.
#[must_use]
pub fn kubeadm() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| KUBEADM.replace("{reload}", &rig::reload()));
    &TEXT
}

/// A name whose text fills what a client offers, from CoreDNS itself.
pub const LONG: &str = "l.test";

/// [`kubeadm`] with 3,765 bytes of text at [`LONG`].
#[must_use]
pub fn with_long_text() -> String {
    let text = vec!["t".repeat(250); 15].join(" ");
    with(&format!(
        "template IN TXT {LONG} {{\n        answer \"{{{{ .Name }}}} 60 IN TXT {text}\"\n    }}"
    ))
}

/// [`kubeadm`] with a line put first into its server block.
#[must_use]
pub fn with(directive: &str) -> String {
    kubeadm().replacen("    errors\n", &format!("    {directive}\n    errors\n"), 1)
}

/// What a text says, apart from the identity that each writing of it has.
#[must_use]
pub fn without_identity(text: &str) -> String {
    let lines = text.lines();
    let kept = lines.filter(|line| !line.trim_start().starts_with("nsid tsutsumi-"));
    kept.collect::<Vec<_>>().join("\n")
}
