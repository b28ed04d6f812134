//! The only list of controls. Everything that shows or counts controls goes through [`control`] and [`CATALOGUE`].

use std::fmt;

use serde::Serialize;
use tsutsumi_model::{ControlId, ControlState};

use crate::{
    Dossier, Judgement, dns_01, dns_02, dns_03, dns_04, dns_05, dns_06, dns_07, dns_09, dns_11, dns_12,
    text::{MESSAGE_MAX, bounded},
};

/// How strongly the guideline demands a control: by the verb of the sentence, never by our reading of its importance.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// なければならない.
    Mandatory,
    /// 必要がある, 重要となる, 留意が必要.
    Expected,
    /// 望ましい.
    Recommended,
    /// ことができる, or not spelled out.
    Informative,
}

impl Level {
    /// The level as it stands in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mandatory => "mandatory",
            Self::Expected => "expected",
            Self::Recommended => "recommended",
            Self::Informative => "informative",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A control: what is demanded, by whom, and how it is met and shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Control {
    /// Its id.
    pub id: ControlId,
    /// Its title in English.
    pub title_en: &'static str,
    /// Its title in Japanese.
    pub title_ja: &'static str,
    /// The clause of the guideline.
    pub clause: &'static str,
    /// The requirements of the clause, by the numbers of the project's own table.
    pub requirement: &'static [&'static str],
    /// How strongly the clause demands it.
    pub level: Level,
    /// What enforces it.
    pub enforced_by: &'static str,
    /// Which probe proves it.
    pub proven_by: &'static str,
    /// What to do where it fails.
    pub remedy: &'static str,
}

/// Every control, in order.
pub const CATALOGUE: [&Control; ControlId::ALL.len()] = [
    &dns_01::CONTROL,
    &dns_02::CONTROL,
    &dns_03::CONTROL,
    &dns_04::CONTROL,
    &dns_05::CONTROL,
    &dns_06::CONTROL,
    &dns_07::CONTROL,
    &dns_09::CONTROL,
    &dns_11::CONTROL,
    &dns_12::CONTROL,
];

/// The control with this id.
#[must_use]
pub const fn control(id: ControlId) -> &'static Control {
    match id {
        ControlId::Dns01 => &dns_01::CONTROL,
        ControlId::Dns02 => &dns_02::CONTROL,
        ControlId::Dns03 => &dns_03::CONTROL,
        ControlId::Dns04 => &dns_04::CONTROL,
        ControlId::Dns05 => &dns_05::CONTROL,
        ControlId::Dns06 => &dns_06::CONTROL,
        ControlId::Dns07 => &dns_07::CONTROL,
        ControlId::Dns09 => &dns_09::CONTROL,
        ControlId::Dns11 => &dns_11::CONTROL,
        ControlId::Dns12 => &dns_12::CONTROL,
    }
}

/// Judges one control.
///
/// Where the platform has no lever, a doubt becomes `Unsupported`; a failure stays one, because it was seen, and a pass
/// too. Both name the platform's own setting where something is to be done.
#[must_use]
pub fn judge(id: ControlId, dossier: &Dossier) -> Judgement {
    let mut judgement = match id {
        ControlId::Dns01 => dns_01::judge(dossier),
        ControlId::Dns02 => dns_02::judge(dossier),
        ControlId::Dns03 => dns_03::judge(dossier),
        ControlId::Dns04 => dns_04::judge(dossier),
        ControlId::Dns05 => dns_05::judge(dossier),
        ControlId::Dns06 => dns_06::judge(dossier),
        ControlId::Dns07 => dns_07::judge(dossier),
        ControlId::Dns09 => dns_09::judge(dossier),
        ControlId::Dns11 => dns_11::judge(dossier),
        ControlId::Dns12 => dns_12::judge(dossier),
    };
    let verdict = &mut judgement.verdict;
    if let Some(advice) = dossier.unsupported.get(&id) {
        if verdict.state == ControlState::Indeterminate {
            verdict.state = ControlState::Unsupported;
        }
        if matches!(verdict.state, ControlState::Fail | ControlState::Unsupported) {
            verdict.message = bounded(&format!("{advice} {}", verdict.message), MESSAGE_MAX);
        }
    }
    judgement
}

/// Judges every control, in the order of the catalogue.
#[must_use]
pub fn judge_all(dossier: &Dossier) -> Vec<Judgement> {
    ControlId::ALL.into_iter().map(|id| judge(id, dossier)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene;
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn the_list_has_every_control_once_and_in_order() {
        assert_eq!(CATALOGUE.map(|control| control.id), ControlId::ALL);
        for id in ControlId::ALL {
            assert_eq!(control(id).id, id);
        }
    }

    #[test]
    fn every_control_has_a_page_that_says_what_the_catalogue_says() {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/controls");
        for control in CATALOGUE {
            let page = fs::read_to_string(pages.join(format!("{}.md", control.id)))
                .unwrap_or_else(|error| format!("docs/controls/{}.md: {error}", control.id));
            let mut lines = page.lines();
            assert_eq!(
                lines.next(),
                Some(&*format!("# {}: {}", control.id, control.title_en))
            );
            for line in [
                format!("**{}**", control.title_ja),
                format!("- Clause: {}", control.clause),
                format!("- Requirement: {}", control.requirement.join(", ")),
                format!("- Level: {}", control.level),
                format!("- Enforced by: {}", control.enforced_by),
                format!("- Proven by: {}", control.proven_by),
            ] {
                assert!(
                    page.lines().any(|have| have == line),
                    "docs/controls/{}.md lacks: {line}",
                    control.id
                );
            }
            for heading in ["What is demanded", "How it is proven", "When it fails", "Limits"] {
                assert!(
                    page.contains(&format!("\n## {heading}\n")),
                    "{}: {heading}",
                    control.id
                );
            }
        }
    }

    #[test]
    fn there_is_no_page_without_a_control() {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/controls");
        let have: BTreeSet<String> = fs::read_dir(pages)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "README.md")
            .collect();
        assert_eq!(
            have,
            CATALOGUE
                .iter()
                .map(|control| format!("{}.md", control.id))
                .collect()
        );
    }

    #[test]
    fn without_a_lever_a_doubt_is_unsupported_and_a_failure_stays_one() {
        let mut dossier = scene::holding();
        dossier
            .unsupported
            .insert(ControlId::Dns01, "Set it in the add-on.".to_owned());
        assert_eq!(
            judge(ControlId::Dns01, &dossier).verdict.state,
            ControlState::Pass
        );

        let mut doubtful = dossier.clone();
        doubtful.observations.clear();
        let verdict = judge(ControlId::Dns01, &doubtful).verdict;
        assert_eq!(verdict.state, ControlState::Unsupported);
        assert!(
            verdict.message.starts_with("Set it in the add-on."),
            "{}",
            verdict.message
        );

        let mut open = dossier;
        scene::answer_outside(&mut open);
        let verdict = judge(ControlId::Dns01, &open).verdict;
        assert_eq!(verdict.state, ControlState::Fail);
        assert!(
            verdict.message.starts_with("Set it in the add-on."),
            "{}",
            verdict.message
        );
    }
}
