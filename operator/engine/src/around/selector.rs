//! Which pods a selector picks, and selectors that pick none of others' pods.
//!
//! Policies add up, so one of ours must never pick a pod that another picks, nor one that comes tomorrow. That is read off
//! the selectors, not off the pods: ours carries the opposite of one condition of each of the others.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use tsutsumi_api::resolver_policy::ExemptPods;

type Labels = BTreeMap<String, String>;

/// A condition on the labels of a pod.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Condition {
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Exists(String),
    Absent(String),
}

/// What picks neither the exempt pods nor any that one of the others could pick; none where one of these picks every
/// pod, or cannot be read.
pub(super) fn apart(exempt: &[ExemptPods], others: &[&LabelSelector]) -> Option<LabelSelector> {
    let mut left_out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut conditions = BTreeSet::new();
    let exempt = exempt
        .iter()
        .map(|each| Condition::NotIn(each.label.clone(), [each.value.clone()].into()));
    let opposites = others.iter().map(|other| {
        let conditions = conditions_of(other)?;
        // The first in order, which a label with a value always is.
        conditions.iter().min().map(Condition::opposite)
    });
    for condition in exempt.map(Some).chain(opposites) {
        match condition? {
            Condition::NotIn(key, values) => left_out.entry(key).or_default().extend(values),
            other => {
                conditions.insert(other);
            }
        }
    }
    conditions.extend(
        left_out
            .into_iter()
            .map(|(key, values)| Condition::NotIn(key, values)),
    );
    let expressions: Vec<_> = conditions.into_iter().map(Condition::written).collect();
    Some(LabelSelector {
        match_expressions: Some(expressions).filter(|all| !all.is_empty()),
        match_labels: None,
    })
}

/// Whether no labels at all could be picked by both. What cannot be read could be anything.
pub(super) fn disjoint(one: &LabelSelector, other: &LabelSelector) -> bool {
    let (Some(one), Some(other)) = (conditions_of(one), conditions_of(other)) else {
        return false;
    };
    one.iter().any(|one| {
        other
            .iter()
            .any(|other| one.excludes(other) || other.excludes(one))
    })
}

/// Whether it picks a pod with these labels; one without conditions picks every pod.
pub(super) fn picks(selector: &LabelSelector, labels: &Labels) -> bool {
    conditions_of(selector).is_some_and(|all| all.iter().all(|each| each.holds(labels)))
}

/// None where an operator is unknown.
fn conditions_of(selector: &LabelSelector) -> Option<Vec<Condition>> {
    let labels = selector.match_labels.iter().flatten();
    let labels = labels.map(|(key, value)| Some(Condition::In(key.clone(), [value.clone()].into())));
    let expressions = selector.match_expressions.iter().flatten();
    labels.chain(expressions.map(Condition::read)).collect()
}

impl Condition {
    fn read(written: &LabelSelectorRequirement) -> Option<Self> {
        let key = written.key.clone();
        let values = || written.values.iter().flatten().cloned().collect();
        match written.operator.as_str() {
            "In" => Some(Self::In(key, values())),
            "NotIn" => Some(Self::NotIn(key, values())),
            "Exists" => Some(Self::Exists(key)),
            "DoesNotExist" => Some(Self::Absent(key)),
            _ => None,
        }
    }

    fn written(self) -> LabelSelectorRequirement {
        let (key, operator, values) = match self {
            Self::In(key, values) => (key, "In", Some(values)),
            Self::NotIn(key, values) => (key, "NotIn", Some(values)),
            Self::Exists(key) => (key, "Exists", None),
            Self::Absent(key) => (key, "DoesNotExist", None),
        };
        LabelSelectorRequirement {
            key,
            operator: operator.to_owned(),
            values: values.map(|values| values.into_iter().collect()),
        }
    }

    /// What holds exactly where this does not.
    fn opposite(&self) -> Self {
        match self {
            Self::In(key, values) => Self::NotIn(key.clone(), values.clone()),
            Self::NotIn(key, values) => Self::In(key.clone(), values.clone()),
            Self::Exists(key) => Self::Absent(key.clone()),
            Self::Absent(key) => Self::Exists(key.clone()),
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::Absent(key) => !labels.contains_key(key),
        }
    }

    /// Whether labels that fulfil this cannot fulfil the other.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::In(one, values), Self::In(two, others)) => one == two && values.is_disjoint(others),
            (Self::In(one, values), Self::NotIn(two, others)) => one == two && values.is_subset(others),
            (Self::In(one, _) | Self::Exists(one), Self::Absent(two)) => one == two,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;

    fn selector(value: Value) -> LabelSelector {
        from_value(value).unwrap()
    }

    fn some_selectors() -> Vec<LabelSelector> {
        let expression = |operator: &str, values: Value| json!({ "matchExpressions": [{ "key": "app", "operator": operator, "values": values }] });
        [
            json!({ "matchLabels": { "app": "db" } }),
            json!({ "matchLabels": { "app": "web", "tier": "front" } }),
            expression("In", json!(["db", "cache"])),
            expression("NotIn", json!(["db"])),
            expression("Exists", Value::Null),
            expression("DoesNotExist", Value::Null),
            json!({ "matchLabels": { "tier": "back" }, "matchExpressions": [{ "key": "app", "operator": "Exists" }] }),
        ]
        .map(selector)
        .into()
    }

    fn some_labels() -> Vec<Labels> {
        let apps = [None, Some("db"), Some("web"), Some("cache"), Some("")];
        let tiers = [None, Some("front"), Some("back")];
        apps.iter()
            .flat_map(|app| tiers.map(|tier| [("app", *app), ("tier", tier)]))
            .map(|labels| {
                labels
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn no_labels_are_picked_by_ours_and_by_another() {
        let all = some_selectors();
        for first in &all {
            for second in &all {
                let ours = apart(&[], &[first, second]).unwrap();
                for labels in some_labels() {
                    let theirs = picks(first, &labels) || picks(second, &labels);
                    assert!(!(theirs && picks(&ours, &labels)), "{labels:?}: {ours:?}");
                }
                assert!(
                    disjoint(&ours, first) && disjoint(second, &ours),
                    "{ours:?} and {first:?}, {second:?}"
                );
            }
        }
    }

    #[test]
    fn disjoint_is_said_only_where_nothing_is_picked_by_both() {
        let all = some_selectors();
        for one in &all {
            for other in &all {
                let both = some_labels()
                    .iter()
                    .any(|labels| picks(one, labels) && picks(other, labels));
                assert!(!(both && disjoint(one, other)), "{one:?} and {other:?}");
            }
        }
        assert!(disjoint(&all[0], &all[1]));
    }

    #[test]
    fn the_others_pods_alone_are_left_out() {
        let db = selector(json!({ "matchLabels": { "app": "db" } }));
        let ours = apart(
            &[ExemptPods {
                label: "app".into(),
                value: "mail".into(),
                reason: "asks block lists".into(),
            }],
            &[&db],
        )
        .unwrap();
        assert_eq!(
            ours,
            selector(
                json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["db", "mail"] }] })
            )
        );
        assert_eq!(apart(&[], &[]), Some(LabelSelector::default()));
    }

    #[test]
    fn beside_one_that_picks_every_pod_or_that_nobody_can_read_there_is_no_place() {
        assert_eq!(apart(&[], &[&LabelSelector::default()]), None);
        let unknown = selector(json!({ "matchExpressions": [{ "key": "app", "operator": "Like" }] }));
        assert_eq!(apart(&[], &[&unknown]), None);
        assert!(!disjoint(&unknown, &LabelSelector::default()));
    }
}
