//! What a request asks of the API server, read from its method and path.

use std::fmt;

use http::{Method, Uri};

/// What is done.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verb {
    /// Reads one object, or what the API offers.
    Get,
    /// Reads objects.
    List,
    /// Follows changes.
    Watch,
    /// Makes an object.
    Create,
    /// Writes a whole object.
    Update,
    /// Changes an object, or makes it by server-side apply.
    Patch,
    /// Changes the status of an object.
    PatchStatus,
    /// Removes an object.
    Delete,
}

impl Verb {
    /// Whether it changes anything.
    #[must_use]
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::PatchStatus => "patch the status of",
            Self::Delete => "delete",
        })
    }
}

/// A call without its body: the same in every run.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Call {
    /// What is done.
    pub verb: Verb,
    /// With which resource, in plural; `api` for what the API offers.
    pub what: String,
    /// Namespace and name, as far as the call says.
    pub name: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.verb, self.what, self.name)
    }
}

impl Call {
    /// Reads a request's line.
    #[must_use]
    pub fn read(method: &Method, uri: &Uri) -> Self {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        // `/api/VERSION/…` or `/apis/GROUP/VERSION/…`
        let skipped = if parts.next() == Some("apis") { 2 } else { 1 };
        let rest: Vec<_> = parts.skip(skipped).collect();
        let (namespace, rest) = match rest[..] {
            ["namespaces", namespace, _, ..] => (Some(namespace), rest.get(2..).unwrap_or_default()),
            _ => (None, &rest[..]),
        };
        let Some(what) = rest.first() else {
            return Self {
                verb: Verb::Get,
                what: "api".to_owned(),
                name: uri.path().to_owned(),
            };
        };
        let query = uri.query().unwrap_or_default();
        let selected = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"));
        let name = rest.get(1).copied().or(selected);
        let verb = match *method {
            Method::GET if query.contains("watch=true") => Verb::Watch,
            Method::GET if rest.len() > 1 => Verb::Get,
            Method::GET => Verb::List,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH if rest.get(2) == Some(&"status") => Verb::PatchStatus,
            Method::DELETE => Verb::Delete,
            _ => Verb::Patch,
        };
        let name = [namespace, name]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("/");
        Self {
            verb,
            what: (*what).to_owned(),
            name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_what_is_done() {
        let read = |method: Method, uri: &str| Call::read(&method, &uri.parse().unwrap()).to_string();
        let maps = "/api/v1/namespaces/kube-system/configmaps";
        assert_eq!(
            read(
                Method::GET,
                &format!("{maps}?watch=true&fieldSelector=metadata.name%3Dcoredns")
            ),
            "watch configmaps kube-system/coredns"
        );
        assert_eq!(
            read(Method::GET, &format!("{maps}?limit=100")),
            "list configmaps kube-system"
        );
        assert_eq!(
            read(Method::PATCH, &format!("{maps}/coredns?")),
            "patch configmaps kube-system/coredns"
        );
        assert_eq!(
            read(
                Method::PATCH,
                "/apis/tsutsumi.dev/v1alpha1/resolverpolicies/town/status?"
            ),
            "patch the status of resolverpolicies town"
        );
        assert_eq!(
            read(Method::GET, "/apis/discovery.k8s.io/v1/endpointslices"),
            "list endpointslices "
        );
        assert_eq!(
            read(Method::GET, "/apis/gateway.networking.k8s.io/v1"),
            "get api /apis/gateway.networking.k8s.io/v1"
        );
        assert_eq!(read(Method::GET, "/api/v1/namespaces/a"), "get namespaces a");
    }
}
