//! The report, as Markdown. Each part stands between two marks, so that one can be measured anew without the others.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::{
    Blocks, SIZES,
    measure::{Amount, Block, Reaction},
    rig::Sample,
    stats::{median, percentile, range},
    subject::Subject,
};

/// A number of a block.
type Figure = fn(&Block) -> f64;

/// What stands before the first part of a new report.
const HEAD: &str = "# Benchmarks\n\nWhat the controller costs, beside an operator on the same library that watches the \
                    same objects and only answers each change with one write (`e2e/bench/src/null_operator.rs`). \
                    Generated; do not edit.\n";

/// Writes the part that needs no node.
pub(crate) fn bare(
    path: &Path,
    blocks: &Blocks,
    amount: Amount,
    quick: bool,
    setting: &[String],
) -> Result<()> {
    let mut text = String::from("## Without nodes\n\n");
    let flag = if quick { " --quick" } else { "" };
    text.push_str(&provenance(&format!("cargo xtask bench{flag}"), setting));
    let _ = writeln!(
        text,
        "\n{} blocks of each program and size, taking turns (A B, B A, …), each with a fresh process and a fresh policy; \
         {} changes of each kind in a block, one after the other. etcd on memory without fsync, etcd, API server and \
         observer on one core, the measured program on another. A time is from the change to the answer, both as an \
         independent watcher sees them. Of the objects eight in ten are pods, one is a Service, one an EndpointSlice. The null \
         operator's status holds one condition, the controller's five and each control beside: the API server takes longer \
         to apply that.",
        amount.blocks, amount.changes
    );
    reactions(&mut text, blocks);
    starts(&mut text, blocks);
    costs(&mut text, blocks);
    idles(&mut text, blocks);
    targets(&mut text, blocks);
    replace(path, "bare", &text)
}

/// Writes the part about the last pod.
pub(crate) fn on_rig(path: &Path, samples: &[Sample], setting: &[String]) -> Result<()> {
    let mut text = String::from("## Change → verified on the last pod\n\n");
    text.push_str(&provenance("cargo xtask bench --on-rig", setting));
    text.push_str(
        "\n| from the change of the policy to | n | P50, s | P99, s | slowest, s |\n|---|---|---|---|---|\n",
    );
    for (what, of) in [
        (
            "every pod shows the new text",
            samples.iter().map(|sample| sample.settled).collect::<Vec<_>>(),
        ),
        (
            "a round of probes has passed",
            samples.iter().map(|sample| sample.verified).collect(),
        ),
    ] {
        let at = |share| number(percentile(&of, share).map(|ms| ms / 1000.0));
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {} | {} |",
            of.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    replace(path, "on-rig", &text)
}

fn provenance(command: &str, setting: &[String]) -> String {
    let date = Timestamp::now().strftime("%Y-%m-%d");
    let mut text = format!("- Command: `{command}`\n- Date: {date}\n");
    for line in setting {
        let _ = writeln!(text, "- {line}");
    }
    text
}

fn reactions(text: &mut String, blocks: &Blocks) {
    text.push_str(
        "\n### Change committed → first write of the reaction, ms\n\n\
         | reaction | objects | n | tsutsumi P50 | P99 | null P50 | P99 | P50 ratio (min–max of blocks) |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for reaction in Reaction::ALL {
        for size in SIZES {
            let [ours, null] = Subject::ALL.map(|subject| samples(blocks, size, subject, reaction));
            let ratio = ratios(blocks, size, |block| median(block.reactions.get(&reaction)?));
            let _ = writeln!(
                text,
                "| {} | {size} | {} | {} | {} | {} | {} | {} |",
                reaction.title(),
                ours.len(),
                number(percentile(&ours, 0.5)),
                number(percentile(&ours, 0.99)),
                number(percentile(&null, 0.5)),
                number(percentile(&null, 0.99)),
                spread(&ratio),
            );
        }
    }
}

fn starts(text: &mut String, blocks: &Blocks) {
    text.push_str(
        "\n### Cold start and memory\n\nFrom the start of the process to the policy's first status, with a policy that \
         nobody has looked at. Memory as the kernel counts it (`VmHWM`, `VmRSS`); medians of the blocks.\n\n\
         | | objects | tsutsumi | null | ratio (min–max of blocks) |\n|---|---|---|---|---|\n",
    );
    let rows: [(&str, Figure); 4] = [
        ("cold start, ms", |block| block.cold),
        ("peak of the start, MiB", |block| block.start_peak),
        ("peak with changes, MiB", |block| block.peak),
        ("at rest after changes, MiB", |block| block.rest),
    ];
    for (what, of) in rows {
        for size in SIZES {
            let [ours, null] =
                Subject::ALL.map(|subject| each(blocks, size, subject, |block| Some(of(block))));
            let _ = writeln!(
                text,
                "| {what} | {size} | {} | {} | {} |",
                number(median(&ours)),
                number(median(&null)),
                spread(&ratios(blocks, size, |block| Some(of(block)))),
            );
        }
    }
}

fn costs(text: &mut String, blocks: &Blocks) {
    text.push_str(
        "\n### Cost of one change\n\nCalls as the API server's audit log has them, without the lease; processor time of \
         the whole process, with what the change sets off later.\n\n\
         | change | objects | program | calls | CPU, ms |\n|---|---|---|---|---|\n",
    );
    for reaction in Reaction::ALL {
        for size in SIZES {
            for subject in Subject::ALL {
                let costs: Vec<_> = of(blocks, size, subject)
                    .iter()
                    .filter_map(|block| block.costs.get(&reaction))
                    .collect();
                let changes: f64 = costs.iter().map(|cost| count(cost.changes)).sum();
                if changes == 0.0 {
                    continue;
                }
                let mut calls = std::collections::BTreeMap::<&str, usize>::new();
                for (call, times) in costs.iter().flat_map(|cost| &cost.calls) {
                    *calls.entry(call).or_default() += times;
                }
                let told: Vec<_> = calls
                    .iter()
                    .map(|(call, times)| format!("{} {call}", number(Some(count(*times) / changes))))
                    .collect();
                let all: f64 = calls.values().map(|times| count(*times)).sum();
                let cpu: f64 = costs.iter().map(|cost| cost.cpu).sum();
                let _ = writeln!(
                    text,
                    "| {} | {size} | {} | {}: {} | {} |",
                    reaction.title(),
                    subject.name(),
                    number(Some(all / changes)),
                    told.join(", "),
                    number(Some(cpu / changes)),
                );
            }
        }
    }
    for size in SIZES {
        for subject in Subject::ALL {
            for cost in of(blocks, size, subject)
                .iter()
                .filter_map(|block| block.churn.as_ref())
            {
                let calls: usize = cost.calls.values().sum();
                let _ = writeln!(
                    text,
                    "| an endpoint of another Service moves | {size} | {} | {} | {} |",
                    subject.name(),
                    number(Some(count(calls) / count(cost.changes))),
                    number(Some(cost.cpu / count(cost.changes))),
                );
            }
        }
    }
    let litter: usize = blocks.values().flatten().map(|block| block.litter).sum();
    let enforced: usize = blocks
        .values()
        .flatten()
        .filter_map(|block| Some(block.costs.get(&Reaction::Record)?.changes))
        .sum();
    let _ = writeln!(
        text,
        "\nNothing runs the canaries here, so with `Enforce` each change starts the look at a canary that never comes up, \
         and the next change comes before that is given up: {litter} canary pods were there at the ends of the blocks, \
         after {enforced} such changes."
    );
}

fn idles(text: &mut String, blocks: &Blocks) {
    text.push_str(
        "\n### Idle\n\nA policy in `Audit`, its rounds of probes a day apart. After a change rounds \
         follow at growing distances, first 10 s, then each as long as all before; one writes its evidence and the \
         status.\n\n\
         | objects | program | seconds | CPU, s | share of a core, % | lease writes | other writes |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for size in SIZES {
        for subject in Subject::ALL {
            for idle in of(blocks, size, subject)
                .iter()
                .filter_map(|block| block.idle.as_ref())
            {
                let others: Vec<_> = idle
                    .writes
                    .iter()
                    .map(|(call, times)| format!("{times} {call}"))
                    .collect();
                let others = if others.is_empty() {
                    "0".to_owned()
                } else {
                    others.join(", ")
                };
                let _ = writeln!(
                    text,
                    "| {size} | {} | {:.0} | {:.2} | {:.2} | {} | {others} |",
                    subject.name(),
                    idle.seconds,
                    idle.cpu,
                    100.0 * idle.cpu / idle.seconds,
                    idle.lease,
                );
            }
        }
    }
}

/// The promises beside what was measured, also where it falls short.
fn targets(text: &mut String, blocks: &Blocks) {
    text.push_str("\n### Against the targets\n\n| target | measured | |\n|---|---|---|\n");
    let largest = SIZES[SIZES.len() - 1];
    let mut row = |what: &str, measured: Option<f64>, limit: f64| {
        let verdict = match measured {
            Some(measured) if measured <= limit => "met",
            Some(_) => "**missed**",
            None => "not measured",
        };
        let _ = writeln!(text, "| {what} ≤ {limit} | {} | {verdict} |", number(measured));
    };
    for reaction in Reaction::ALL {
        let at = |size, share| percentile(&samples(blocks, size, Subject::Tsutsumi, reaction), share);
        let title = reaction.title();
        for size in SIZES {
            row(&format!("{title}, {size} objects, P50 in ms"), at(size, 0.5), 6.0);
            row(
                &format!("{title}, {size} objects, P99 in ms"),
                at(size, 0.99),
                20.0,
            );
        }
        let flat = at(largest, 0.5)
            .zip(at(SIZES[0], 0.5))
            .map(|(large, small)| large / small);
        row(
            &format!("{title}, P50 at {largest} ÷ P50 at {}", SIZES[0]),
            flat,
            1.2,
        );
    }
    let start = median(&ratios(blocks, largest, |block| Some(block.cold)));
    row(&format!("cold start with {largest} objects ÷ null"), start, 1.25);
    let [peak, rest]: [Figure; 2] = [|block| block.peak, |block| block.rest];
    let middle =
        |of: fn(&Block) -> f64| median(&each(blocks, largest, Subject::Tsutsumi, |block| Some(of(block))));
    row(
        &format!("peak memory with {largest} objects, MiB"),
        middle(peak),
        60.0,
    );
    row(
        &format!("memory at rest with {largest} objects, MiB"),
        middle(rest),
        40.0,
    );
    let idle = || {
        of(blocks, largest, Subject::Tsutsumi)
            .iter()
            .filter_map(|block| block.idle.as_ref())
    };
    let written: Vec<f64> = idle().map(|idle| count(idle.writes.values().sum())).collect();
    row(
        "idle writes but the lease, with rounds after a change",
        median(&written),
        0.0,
    );
    let share: Vec<f64> = idle().map(|idle| 100.0 * idle.cpu / idle.seconds).collect();
    row("idle share of a core, %", median(&share), 0.5);
}

fn of(blocks: &Blocks, size: usize, subject: Subject) -> &[Block] {
    blocks.get(&(size, subject)).map_or(&[], Vec::as_slice)
}

fn samples(blocks: &Blocks, size: usize, subject: Subject, reaction: Reaction) -> Vec<f64> {
    let of = of(blocks, size, subject)
        .iter()
        .filter_map(|block| block.reactions.get(&reaction));
    of.flatten().copied().collect()
}

fn each(blocks: &Blocks, size: usize, subject: Subject, value: impl Fn(&Block) -> Option<f64>) -> Vec<f64> {
    of(blocks, size, subject).iter().filter_map(value).collect()
}

/// Ours through null's, block by block.
fn ratios(blocks: &Blocks, size: usize, value: impl Fn(&Block) -> Option<f64>) -> Vec<f64> {
    let pairs = of(blocks, size, Subject::Tsutsumi)
        .iter()
        .zip(of(blocks, size, Subject::Null));
    pairs
        .filter_map(|(ours, null)| Some(value(ours)? / value(null)?))
        .collect()
}

fn spread(ratios: &[f64]) -> String {
    match (median(ratios), range(ratios)) {
        (Some(middle), Some((least, most))) => format!("{middle:.2} ({least:.2}–{most:.2})"),
        _ => "–".to_owned(),
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(
        || "–".to_owned(),
        |value| match value.abs() {
            100.0.. => format!("{value:.0}"),
            10.0.. => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        },
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn count(times: usize) -> f64 {
    times as f64
}

/// Puts a part in the place of its former self, or at the end.
fn replace(path: &Path, mark: &str, text: &str) -> Result<()> {
    let before = fs::read_to_string(path).unwrap_or_else(|_| HEAD.to_owned());
    fs::write(path, with_part(&before, mark, text)).with_context(|| format!("writing {}", path.display()))
}

fn with_part(before: &str, mark: &str, text: &str) -> String {
    let (open, close) = (format!("<!-- {mark} -->\n"), format!("<!-- end of {mark} -->\n"));
    let part = format!("{open}{text}{close}");
    let old = before
        .split_once(&open)
        .and_then(|(head, rest)| Some((head, rest.split_once(&close)?.1)));
    match old {
        Some((head, tail)) => format!("{head}{part}{tail}"),
        None => format!("{before}\n{part}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_the_place_of_its_former_self_only() {
        let one = with_part("# Head\n", "a", "one\n");
        let both = with_part(&one, "b", "two\n");
        let again = with_part(&both, "a", "three\n");
        assert_eq!(
            again,
            "# Head\n\n<!-- a -->\nthree\n<!-- end of a -->\n\n<!-- b -->\ntwo\n<!-- end of b -->\n"
        );
    }

    #[test]
    fn what_was_not_measured_is_no_number() {
        assert_eq!((number(None), spread(&[])), ("–".into(), "–".into()));
        assert_eq!(spread(&[1.0, 3.0, 2.0]), "2.00 (1.00–3.00)");
    }
}
