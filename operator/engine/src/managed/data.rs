//! What was read for a managed resolver: the root's servers and keys, and the key of the probe zone.

use tsutsumi_api::resolver_policy::Roots;
use tsutsumi_model::{DomainName, Endpoint};
use tsutsumi_providers::{
    coredns::Probe,
    unbound::{
        anchors::{self, DsRecord},
        hints::{Hints, NAMED_ROOT},
    },
};

/// What was read; each is none where nothing was looked for, and else the content or why there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// The key `named.root` of the ConfigMap that the policy names.
    pub hints: Option<Result<String, String>>,
    /// The key `root.key` of the ConfigMap that the policy names.
    pub anchors: Option<Result<String, String>>,
    /// The DS record of the probe zone, as a line of a zone file.
    pub probe_zone: Option<String>,
}

impl Data {
    /// The root's servers and keys as files, printed from what was read in them; or what is wrong, for a person.
    pub(super) fn root(&self, roots: &Roots, validates: bool, now: u64) -> Result<(String, String), String> {
        let given = |read: &Option<Result<String, String>>, field: &str, map: &Option<String>| {
            let Some(map) = map else { return Ok(None) };
            match read {
                Some(Ok(text)) => Ok(Some(text.clone())),
                Some(Err(why)) => Err(format!("recursion.roots.{field}: ConfigMap {map}: {why}")),
                None => Err(format!(
                    "recursion.roots.{field}: ConfigMap {map} was not read yet"
                )),
            }
        };
        let hints = given(&self.hints, "hintsConfigMap", &roots.hints_config_map)?;
        let anchors = given(&self.anchors, "anchorsConfigMap", &roots.anchors_config_map)?;
        let wrong = |field: &str, error: &dyn std::error::Error| format!("recursion.roots.{field}: {error}");
        let hints = hints
            .map(|text| Hints::parse(&text).map_err(|error| wrong("hintsConfigMap", &error)))
            .transpose()?;
        let private = hints.as_ref().is_some_and(|hints| !hints.is_internet());
        let anchors = match anchors {
            Some(text) if private => Some(anchors::parse_private_root(&text)),
            Some(text) => Some(anchors::parse_root(&text, now)),
            None => None,
        };
        let anchors = anchors
            .transpose()
            .map_err(|error| wrong("anchorsConfigMap", &error))?;
        if private && validates && anchors.is_none() {
            return Err(
                "recursion.roots: the servers are not those of the Internet's root, whose keys would prove nothing \
                 there; write `anchorsConfigMap` with the keys of this root, or `dnssec: Off`"
                    .to_owned(),
            );
        }
        let hints = hints.map_or_else(|| NAMED_ROOT.to_owned(), |hints| hints.to_string());
        let anchors = anchors.map_or_else(
            || anchors::ROOT_KEY.to_owned(),
            |keys| {
                keys.iter()
                    .fold(String::new(), |text, key| text + &key.to_string() + "\n")
            },
        );
        Ok((hints, anchors))
    }

    /// The probe zone with its server and key, as far as both are known.
    pub(super) fn probe_zone(&self, probe: Option<&Probe>) -> Option<(DomainName, Endpoint, DsRecord)> {
        let Some(Probe::Server { zone, server }) = probe else {
            return None;
        };
        let anchor = DsRecord::parse(self.probe_zone.as_deref()?)?;
        Some((zone.clone(), *server, anchor))
    }
}
