//! The tables of `docs/scaling.md`, between two marks; what was not run stays blank.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::fit::{self, Line};
use super::gaps::{self, chosen};
use super::plan::{self, Arm, Outcome, Run, SEEDS, SIZES, Size};
use super::results::Results;
use super::{figure, origin::Origin};

const BEGIN: &str = "<!-- results: written by cargo xtask scaling -->\n";
const END: &str = "<!-- end of results -->";
const BLANK: &str = "–";

/// Writes tables and drawings anew; `run_tokens` is what a run is trained on.
pub(super) fn write(docs: &Path, results: &Results, run_tokens: u64) -> Result<()> {
    let path = docs.join("scaling.md");
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, rest) = page.split_once(BEGIN).context("docs/scaling.md has no mark where results begin")?;
    let (_, after) = rest.split_once(END).context("docs/scaling.md has no mark where results end")?;
    let outcomes = results.outcomes();
    let text = text(outcomes, results.origin(), run_tokens)?;
    fs::write(&path, format!("{before}{BEGIN}{text}{END}{after}"))?;
    fs::write(docs.join("scaling/gap.svg"), figure::gap(outcomes)?)?;
    fs::write(docs.join("scaling/curves.svg"), figure::curves(outcomes)?)?;
    Ok(())
}

/// All that stands between the marks.
fn text(outcomes: &[Outcome], origin: Option<&Origin>, run_tokens: u64) -> Result<String> {
    let mut text = String::from("\n");
    text += "| parameters | seeds | learning rate, ternary / dense | ternary, nats a token | dense | gap | gap without the first seed | bits a byte, ternary / dense |\n";
    text += "|---|---|---|---|---|---|---|---|\n";
    for (index, size) in SIZES.iter().enumerate() {
        text += &row(outcomes, index, size);
    }
    text += &compared(&gaps::means(outcomes, &SEEDS), run_tokens);
    text += &trend(outcomes)?;
    text += &diverged(outcomes);
    text += "\nLosses of the first seed at each learning rate that was tried; the one in bold was taken:\n\n";
    text += &rates(outcomes);
    if let Some(Origin { instruction_set, commits, .. }) = origin {
        let commits = Vec::from_iter(commits.iter().map(String::as_str)).join(", ");
        let _ = writeln!(text, "Commits of tercet: {commits}. Instruction set: `{instruction_set}`.\n");
    }
    Ok(text)
}

/// What the sizes that have a gap have in common.
fn compared(means: &[(usize, f64)], run_tokens: u64) -> String {
    let [(least, _), .., (greatest, _)] = means else { return String::new() };
    let parameters = |size: &usize| SIZES[*size].parameters() as f64;
    let positive = means.iter().filter(|(_, gap)| *gap > 0.0).count();
    let gaps = || means.iter().map(|(_, gap)| *gap);
    format!(
        "\nTernary is behind at {positive} of the {} sizes that were compared; the gaps are from {:.2} to {:.2} nats a token. \
         The sizes span a factor of {:.0}, and have seen {:.1} to {:.1} tokens a parameter.\n",
        means.len(),
        gaps().fold(f64::INFINITY, f64::min),
        gaps().fold(f64::NEG_INFINITY, f64::max),
        parameters(greatest) / parameters(least),
        run_tokens as f64 / parameters(greatest),
        run_tokens as f64 / parameters(least),
    )
}

/// The line through the means, and that without the seed which chose the learning rates.
fn trend(outcomes: &[Outcome]) -> Result<String> {
    let mut text = String::new();
    let without = "Without the first seed, which chose the learning rates, the";
    for (seeds, which) in [(&SEEDS[..], "The"), (&SEEDS[1..], without)] {
        let means = gaps::means(outcomes, seeds);
        let points = gaps::points(means.iter().copied());
        let (Some(line), [first, .., last]) = (Line::through(&points)?, &points[..]) else { continue };
        let at =
            |point: &(f64, f64), size: usize| format!("{} for {}", shown(line.at(point.0)), SIZES[size].name);
        let _ = writeln!(
            text,
            "\n{which} line through the means of {} sizes falls by {} nats for ten times the parameters (95 %, {} degrees of freedom), \
             an interval that {} 0; it is at {} and at {}.",
            means.len(),
            shown(fit::Estimate { value: -line.slope.value, ..line.slope }),
            means.len() - 2,
            if line.slope.excludes_zero() { "excludes" } else { "contains" },
            at(first, means[0].0),
            at(last, means[means.len() - 1].0),
        );
    }
    Ok(text)
}

/// Runs that would be compared, had they not diverged.
fn diverged(outcomes: &[Outcome]) -> String {
    let is_chosen = |run: &Run| plan::chosen_rate(outcomes, run.arm, run.size) == Some(run.rate);
    let runs = outcomes.iter().filter(|outcome| outcome.has_diverged()).map(|outcome| outcome.run);
    let line = |Run { size, arm, rate, seed }| {
        let (size, arm, rate) = (SIZES[size].name, arm.name(), shown_rate(rate));
        format!("\nDiverged and left out: {size} {arm}, seed {seed}, at {rate}.\n")
    };
    runs.filter(is_chosen).map(line).collect()
}

fn row(outcomes: &[Outcome], index: usize, size: &Size) -> String {
    let of_arm = |arm, value: fn(&Outcome) -> f64| -> Vec<f64> {
        let runs = SEEDS.iter().filter_map(|seed| chosen(outcomes, arm, index, *seed));
        runs.filter(|outcome| !outcome.has_diverged()).map(value).collect()
    };
    let rate = |arm| plan::chosen_rate(outcomes, arm, index).map_or(BLANK.to_owned(), shown_rate);
    let bits = |arm| match of_arm(arm, |outcome| outcome.bits_per_byte.unwrap_or(f64::NAN)).as_slice() {
        [] => BLANK.to_owned(),
        values => format!("{:.3}", fit::mean(values).0),
    };
    let gaps = gaps::of_size(outcomes, index, &SEEDS);
    format!(
        "| {} | {} of {} | {} / {} | {} | {} | {} | {} | {} / {} |\n",
        size.name,
        gaps.len(),
        SEEDS.len(),
        rate(Arm::Ternary),
        rate(Arm::Dense),
        mean_and_error(&of_arm(Arm::Ternary, Outcome::loss)),
        mean_and_error(&of_arm(Arm::Dense, Outcome::loss)),
        mean_and_error(&gaps),
        mean_and_error(&gaps::of_size(outcomes, index, &SEEDS[1..])),
        bits(Arm::Ternary),
        bits(Arm::Dense),
    )
}

/// The table of the search for learning rates.
fn rates(outcomes: &[Outcome]) -> String {
    let tried = |run: &Run| run.seed == SEEDS[0];
    let all = outcomes.iter().map(|outcome| outcome.run).filter(tried).map(|run| run.rate);
    let (Some(least), Some(greatest)) = (all.clone().min(), all.max()) else { return format!("{BLANK}\n\n") };
    let columns: Vec<i32> = (least..=greatest).collect();
    let titles: String = columns.iter().map(|rate| format!(" {} |", shown_rate(*rate))).collect();
    let mut text = format!("| parameters | linears |{titles}\n|---|---|{}\n", "---|".repeat(columns.len()));
    for (size, Size { name: size_name, .. }) in SIZES.iter().enumerate() {
        for arm in Arm::ALL {
            let _ = write!(text, "| {size_name} | {} |", arm.name());
            for rate in &columns {
                let run = Run { size, arm, rate: *rate, seed: SEEDS[0] };
                let loss = plan::find(outcomes, &run).map(|outcome| match outcome.has_diverged() {
                    true => "diverged".to_owned(),
                    false => format!("{:.4}", outcome.loss()),
                });
                let is_chosen = plan::chosen_rate(outcomes, arm, size) == Some(*rate);
                let cell = match loss {
                    Some(loss) if is_chosen => format!("**{loss}**"),
                    loss => loss.unwrap_or_default(),
                };
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
    }
    text + "\n"
}

fn mean_and_error(values: &[f64]) -> String {
    match values {
        [] => BLANK.to_owned(),
        [only] => format!("{only:.4}"),
        values => {
            let (mean, error) = fit::mean(values);
            format!("{mean:.4} ± {error:.4}")
        }
    }
}

fn shown(estimate: fit::Estimate) -> String {
    format!("{:.4} ± {:.4}", estimate.value, estimate.half_width)
}

/// A learning rate, from its `k`.
fn shown_rate(rate: i32) -> String {
    format!("{:e}", 1e-3 * 2f64.powi(rate))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn outcome(arm: Arm, size: usize, rate: i32, seed: u64, loss: f64) -> Outcome {
        let loss = Some(loss).filter(|loss| loss.is_finite());
        let run = Run { size, arm, rate, seed };
        Outcome { run, bits_per_byte: loss.map(|loss| loss / 2.0), validations: vec![(1, loss)] }
    }

    /// The rate that the first seed chooses at every size.
    fn best_rate(arm: Arm) -> i32 {
        if arm == Arm::Ternary { 2 } else { 1 }
    }

    /// The search of a size and an arm: its best rate has this loss, those around it another.
    fn search(arm: Arm, size: usize, loss: f64, others: f64) -> Vec<Outcome> {
        let best = best_rate(arm);
        [(best - 1, others), (best, loss), (best + 1, others)]
            .map(|(rate, loss)| outcome(arm, size, rate, 1, loss))
            .into()
    }

    #[test]
    fn what_was_not_run_stays_blank() {
        let text = text(&[], None, 1).unwrap();
        assert_eq!(text.matches(&format!("| 0 of 3 | {BLANK} / {BLANK} |")).count(), SIZES.len(), "{text}");
        for absent in ["NaN", "inf", "Ternary is behind", "the line", "Diverged", "Commits"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
    }

    #[test]
    fn gaps_are_paired_by_seed() {
        let mut outcomes = [search(Arm::Ternary, 0, 3.1, 9.0), search(Arm::Dense, 0, 3.0, 9.0)].concat();
        outcomes.push(outcome(Arm::Ternary, 0, 2, 2, 3.3));
        outcomes.push(outcome(Arm::Dense, 0, 1, 2, 3.1));
        outcomes.push(outcome(Arm::Dense, 0, 1, 3, 2.0));
        let text = text(&outcomes, None, 1).unwrap();
        let row = "| 0.33 M | 2 of 3 | 4e-3 / 2e-3 | 3.2000 ± 0.1000 | 2.7000 ± 0.3512 | 0.1500 ± 0.0500 | 0.2000 | 1.600 / 1.350 |\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("\n| 0.33 M | ternary |  | 9.0000 | **3.1000** | 9.0000 |\n"), "{text}");
        assert!(text.contains("\n| 0.33 M | dense | 9.0000 | **3.0000** | 9.0000 |  |\n"), "{text}");
    }

    #[test]
    fn a_run_that_diverged_is_named_and_left_out() {
        let mut outcomes =
            [search(Arm::Ternary, 0, 3.1, f64::INFINITY), search(Arm::Dense, 0, 3.0, 9.0)].concat();
        outcomes.push(outcome(Arm::Ternary, 0, 2, 2, f64::INFINITY));
        outcomes.push(outcome(Arm::Dense, 0, 1, 2, 3.2));
        let text = text(&outcomes, None, 1).unwrap();
        let row =
            "| 0.33 M | 1 of 3 | 4e-3 / 2e-3 | 3.1000 | 3.1000 ± 0.1000 | 0.1000 | – | 1.550 / 1.550 |\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("\n| 0.33 M | ternary |  | diverged | **3.1000** | diverged |\n"), "{text}");
        assert!(text.contains("\nDiverged and left out: 0.33 M ternary, seed 2, at 4e-3.\n"), "{text}");
    }

    #[test]
    fn the_line_is_through_the_means_of_sizes() {
        let mut outcomes = Vec::new();
        for (size, parameters) in SIZES.iter().map(Size::parameters).enumerate() {
            // Dense ends at 3; the mean gap is 0.4 less 0.1 a tenfold size, but for the middle one.
            let gap =
                0.4 - 0.1 * (parameters as f64 / 331_776.0).log10() + if size == 2 { 0.05 } else { 0.0 };
            outcomes.extend(search(Arm::Ternary, size, 3.0 + gap - 0.2, 9.0));
            outcomes.extend(search(Arm::Dense, size, 3.0, 9.0));
            for (seed, gap) in [(2, gap), (3, gap + 0.2)] {
                outcomes.push(outcome(Arm::Ternary, size, 2, seed, 3.0 + gap));
                outcomes.push(outcome(Arm::Dense, size, 1, seed, 3.0));
            }
        }
        let origin = Origin {
            plan: "p".to_owned(),
            novels: "n".to_owned(),
            instruction_set: "avx2".to_owned(),
            commits: BTreeSet::from(["b".to_owned(), "a".to_owned()]),
        };
        let text = text(&outcomes, Some(&origin), 3_317_760).unwrap();
        for line in [
            "Ternary is behind at 5 of the 5 sizes that were compared; the gaps are from 0.25 to 0.40 nats a token. The sizes span a factor of 30, and have seen 0.3 to 10.0 tokens a parameter.",
            "The line through the means of 5 sizes falls by 0.1008 ± 0.0697 nats for ten times the parameters (95 %, 3 degrees of freedom), an interval that excludes 0; it is at 0.4106 ± 0.0638 for 0.33 M and at 0.2619 ± 0.0626 for 9.9 M.",
            "Without the first seed, which chose the learning rates, the line through the means of 5 sizes falls by 0.1008 ± 0.0697 nats for ten times the parameters (95 %, 3 degrees of freedom), an interval that excludes 0; it is at 0.5106 ± 0.0638 for 0.33 M and at 0.3619 ± 0.0626 for 9.9 M.",
            "Commits of tercet: a, b. Instruction set: `avx2`.",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
        }
    }
}
