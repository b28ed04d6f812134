//! What was read for a managed resolver: the root's servers and keys, and the keys of the probe zones.

use jiff::{civil::Date, tz::TimeZone};
use tsutsumi_api::resolver_policy::Roots;
use tsutsumi_controls::{Bundled, Servers, Source, Start};
use tsutsumi_model::{Endpoint, RootKey};
use tsutsumi_providers::{
    coredns::Lead,
    unbound::{
        anchors::{self, DsRecord},
        config::Zone,
        hints::{Hints, NAMED_ROOT, NAMED_ROOT_DATE},
    },
};

use super::hop::Certificates;
use crate::cluster::Probes;

/// The root's servers and keys as a resolver reads them, and what they are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RootFiles {
    /// For `named.root`.
    pub(super) hints: String,
    /// For `root.key`.
    pub(super) anchors: String,
    pub(super) start: Start,
}

/// What was read; each is none where nothing was looked for, and else the content or why there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// The key `named.root` of the ConfigMap that the policy names.
    pub hints: Option<Result<String, String>>,
    /// The key `root.key` of the ConfigMap that the policy names.
    pub anchors: Option<Result<String, String>>,
    /// The DS record of each probe zone, as a line of a zone file.
    pub probe_zones: Vec<String>,
    /// What was issued for the hop; none where nothing was looked for or issued.
    pub certificates: Option<Certificates>,
    /// The user's resolvers that would be asked and do not answer, each with what came instead.
    pub silent: Vec<(Endpoint, String)>,
}

impl Data {
    /// The root's servers and keys, from what was read; or what is wrong, for a person.
    pub(super) fn root(&self, roots: &Roots, validates: bool, now: u64) -> Result<RootFiles, String> {
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
        let source = |map: &Option<String>| match map {
            Some(name) => Source::ConfigMap(name.clone()),
            None => Source::Bundled,
        };
        let bundled = Hints::parse(NAMED_ROOT).map_err(|error| wrong("hintsConfigMap", &error))?;
        let (anchors, keys) = anchors.map_or_else(|| anchors::bundled(now), |keys| (lines(&keys), keys));
        let start = Start {
            servers: servers(hints.as_ref().unwrap_or(&bundled)),
            hints: source(&roots.hints_config_map),
            keys: keys
                .iter()
                .map(|key| RootKey::new(key.tag, key.algorithm, &key.digest))
                .collect(),
            anchors: source(&roots.anchors_config_map),
            bundled: (!private).then(|| Bundled {
                servers: servers(&bundled),
                date: NAMED_ROOT_DATE,
                old: is_old(NAMED_ROOT_DATE, now),
            }),
        };
        Ok(RootFiles {
            hints: hints.map_or_else(|| NAMED_ROOT.to_owned(), |hints| hints.to_string()),
            anchors,
            start,
        })
    }

    /// The probe zones with their servers and keys; none unless the key of each is known.
    pub(super) fn probe_zones(&self, probes: Option<&Probes>) -> Vec<(Lead, DsRecord)> {
        let keys = self.probe_zones.iter().filter_map(|line| DsRecord::parse(line));
        let keys: Vec<DsRecord> = keys.collect();
        let leads = probes.map(Probes::leads).unwrap_or_default();
        let known = leads.into_iter().map(|lead| {
            let zone = Zone::from(lead.zone.clone());
            let key = keys.iter().find(|key| key.zone == zone)?.clone();
            Some((lead, key))
        });
        known.collect::<Option<_>>().unwrap_or_default()
    }
}

fn servers(hints: &Hints) -> Servers {
    hints
        .servers()
        .map(|(name, addresses)| (name.clone(), addresses.clone()))
        .collect()
}

fn lines(keys: &[DsRecord]) -> String {
    keys.iter()
        .fold(String::new(), |text, key| text + &key.to_string() + "\n")
}

/// Whether a day, as in `2024-04-18`, is more than 92 days before `now`: a list of the root's servers wants to be looked
/// at about every three months.
fn is_old(day: &str, now: u64) -> bool {
    let begun = day
        .parse::<Date>()
        .ok()
        .and_then(|day| day.to_zoned(TimeZone::UTC).ok())
        .and_then(|begun| u64::try_from(begun.timestamp().as_second()).ok());
    begun.is_none_or(|begun| now > begun + 92 * 24 * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the older of the Internet's keys is revoked.
    const REVOKED: u64 = 1_799_625_600;
    const OWN_HINTS: &str = ". NS a.root.town.\na.root.town. A 192.0.2.1\n";
    const OWN_KEY: &str = ". DS 9 13 2 CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD\n";

    fn root(hints: Option<&str>, anchors: Option<&str>, now: u64) -> Result<RootFiles, String> {
        let data = Data {
            hints: hints.map(|text| Ok(text.to_owned())),
            anchors: anchors.map(|text| Ok(text.to_owned())),
            probe_zones: vec![],
            ..Data::default()
        };
        let roots = Roots {
            hints_config_map: hints.map(|_| "our-hints".to_owned()),
            anchors_config_map: anchors.map(|_| "our-keys".to_owned()),
        };
        data.root(&roots, true, now)
    }

    fn tags(start: &Start) -> Vec<u16> {
        start.keys.iter().map(|key| key.tag).collect()
    }

    #[test]
    fn of_the_bundled_keys_only_those_in_force_are_given_and_may_be_demanded() {
        let before = root(None, None, REVOKED - 1).unwrap();
        assert_eq!(before.anchors, anchors::ROOT_KEY);
        assert_eq!(tags(&before.start), [20326, 38696]);
        assert_eq!(before.start.servers.len(), 13);
        assert_eq!(before.start.hints, Source::Bundled);
        let bundled = before.start.bundled.unwrap();
        assert_eq!((bundled.servers, bundled.old), (before.start.servers, true));
        let after = root(None, None, REVOKED).unwrap();
        assert_eq!(tags(&after.start), [38696]);
        assert_eq!(after.anchors.lines().count(), 1);
    }

    #[test]
    fn keys_in_a_file_that_are_revoked_or_unknown_are_refused_by_name() {
        assert!(root(None, Some(anchors::ROOT_KEY), REVOKED - 1).is_ok());
        let expired = root(None, Some(anchors::ROOT_KEY), REVOKED).unwrap_err();
        assert!(
            expired.contains("anchorsConfigMap: line 1") && expired.contains("revoked; use 38696"),
            "{expired}"
        );
        let unknown = root(None, Some(OWN_KEY), 0).unwrap_err();
        assert!(unknown.contains("IANA published no such key"), "{unknown}");
    }

    #[test]
    fn a_root_of_the_user_s_is_told_as_it_is_given() {
        let start = root(Some(OWN_HINTS), Some(OWN_KEY), 0).unwrap().start;
        let server = (
            "a.root.town".parse().unwrap(),
            ["192.0.2.1".parse().unwrap()].into(),
        );
        assert_eq!(start.servers, [server].into());
        assert_eq!(start.keys, [RootKey::new(9, 13, &[0xcd; 32])]);
        assert_eq!(start.hints, Source::ConfigMap("our-hints".to_owned()));
        assert_eq!(start.anchors, Source::ConfigMap("our-keys".to_owned()));
        assert_eq!(
            start.bundled, None,
            "the Internet's servers say nothing of this root"
        );
        let internet = root(Some(NAMED_ROOT), None, 0).unwrap().start;
        assert!(internet.bundled.is_some());
    }

    #[test]
    fn a_day_is_old_after_ninety_two_more() {
        let day = 24 * 3600;
        assert!(!is_old("1970-01-02", 93 * day));
        assert!(is_old("1970-01-02", 93 * day + 1));
        assert!(is_old("some day", 0), "what is not known counts as old");
    }
}
