//! The tables of `docs/scaling.md`, between two marks; what was not run stays blank.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::figure;
use super::fit::{self, Line};
use super::plan::{self, Arm, Outcome, Run, SEEDS, SIZES, Size};

const BEGIN: &str = "<!-- results: written by cargo xtask scaling -->\n";
const END: &str = "<!-- end of results -->";
const BLANK: &str = "–";

/// Writes tables and drawings anew.
pub(super) fn write(docs: &Path, outcomes: &[Outcome]) -> Result<()> {
    let path = docs.join("scaling.md");
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, rest) = page.split_once(BEGIN).context("docs/scaling.md has no mark where results begin")?;
    let (_, after) = rest.split_once(END).context("docs/scaling.md has no mark where results end")?;
    let gaps = gaps(outcomes);
    let line = Line::through(&gaps)?;
    fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", tables(outcomes, line.as_ref())))?;
    fs::write(docs.join("scaling/gap.svg"), figure::gap(&gaps, line.as_ref())?)?;
    fs::write(docs.join("scaling/curves.svg"), figure::curves(outcomes)?)?;
    Ok(())
}

/// Ternary minus dense in nats a token, for each size and seed that has both; beside it log10 of the parameters.
fn gaps(outcomes: &[Outcome]) -> Vec<(f64, f64)> {
    let of_size = |index: usize| {
        let x = (SIZES[index].parameters() as f64).log10();
        paired(outcomes, index).into_iter().map(move |gap| (x, gap))
    };
    (0..SIZES.len()).flat_map(of_size).collect()
}

/// The gap of each seed that has both arms, neither of them diverged.
fn paired(outcomes: &[Outcome], size: usize) -> Vec<f64> {
    let loss = |arm, seed| chosen(outcomes, arm, size, seed).map(Outcome::loss);
    let gap = |seed: &u64| Some(loss(Arm::Ternary, *seed)? - loss(Arm::Dense, *seed)?);
    SEEDS.iter().filter_map(gap).filter(|gap| gap.is_finite()).collect()
}

/// The run of a seed with the chosen learning rate.
pub(super) fn chosen(outcomes: &[Outcome], arm: Arm, size: usize, seed: u64) -> Option<&Outcome> {
    let rate = plan::chosen_rate(outcomes, arm, size)?;
    plan::find(outcomes, &Run { size, arm, rate, seed })
}

fn tables(outcomes: &[Outcome], line: Option<&Line>) -> String {
    let mut text = String::from("\n");
    text += "| parameters | seeds | learning rate, ternary / dense | ternary, nats a token | dense | gap | bits a byte, ternary / dense |\n";
    text += "|---|---|---|---|---|---|---|\n";
    for (index, size) in SIZES.iter().enumerate() {
        text += &row(outcomes, index, size);
    }
    if let Some(line) = line {
        let mut known = (0..SIZES.len()).filter(|size| !paired(outcomes, *size).is_empty());
        let least = known.next().map_or(&SIZES[0], |size| &SIZES[size]);
        let greatest = known.next_back().map_or(least, |size| &SIZES[size]);
        let at = |size: &Size| shown(line.at((size.parameters() as f64).log10()));
        let _ = writeln!(
            text,
            "\nThe line through all gaps falls by {} nats for ten times the parameters (95 % interval); it is at {} for {} and at {} for {}.",
            shown(fit::Estimate { value: -line.slope.value, ..line.slope }),
            at(least),
            least.name,
            at(greatest),
            greatest.name,
        );
    }
    text += &diverged(outcomes);
    text += "\nLosses of the first seed at each learning rate that was tried; the one in bold was taken:\n\n";
    text + &rates(outcomes)
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
    let gaps = paired(outcomes, index);
    format!(
        "| {} | {} of {} | {} / {} | {} | {} | {} | {} / {} |\n",
        size.name,
        gaps.len(),
        SEEDS.len(),
        rate(Arm::Ternary),
        rate(Arm::Dense),
        mean_and_error(&of_arm(Arm::Ternary, Outcome::loss)),
        mean_and_error(&of_arm(Arm::Dense, Outcome::loss)),
        mean_and_error(&gaps),
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
    for (size, Size { name, .. }) in SIZES.iter().enumerate() {
        for arm in Arm::ALL {
            let _ = write!(text, "| {name} | {} |", arm.name());
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
    use super::*;

    fn outcome(arm: Arm, size: usize, seed: u64, loss: f64) -> Outcome {
        let run = Run { size, arm, rate: if arm == Arm::Ternary { 2 } else { 1 }, seed };
        let loss = Some(loss).filter(|loss| loss.is_finite());
        Outcome { run, bits_per_byte: loss.map(|loss| loss / 2.0), validations: vec![(1, loss)] }
    }

    #[test]
    fn what_was_not_run_stays_blank() {
        let text = tables(&[], None);
        assert_eq!(text.matches(&format!("| 0 of 3 | {BLANK} / {BLANK} |")).count(), SIZES.len(), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn gaps_are_paired_by_seed() {
        let around = |arm: Arm, middle: i32| {
            [middle - 1, middle + 1].map(|rate| {
                let run = Run { size: 0, arm, rate, seed: 1 };
                Outcome { run, bits_per_byte: Some(9.0), validations: vec![(1, Some(9.0))] }
            })
        };
        let mut outcomes = Vec::from(around(Arm::Ternary, 2));
        outcomes.extend(around(Arm::Dense, 1));
        for (seed, ternary, dense) in [(1, 3.1, 3.0), (2, 3.3, 3.1)] {
            outcomes.push(outcome(Arm::Ternary, 0, seed, ternary));
            outcomes.push(outcome(Arm::Dense, 0, seed, dense));
        }
        outcomes.push(outcome(Arm::Dense, 0, 3, 2.0));
        outcomes.push(outcome(Arm::Ternary, 0, 3, f64::INFINITY));
        let text = tables(&outcomes, None);
        assert!(
            text.contains(
                "| 0.33 M | 2 of 3 | 4e-3 / 2e-3 | 3.2000 ± 0.1000 | 2.7000 ± 0.3512 | 0.1500 ± 0.0500 |"
            ),
            "{text}"
        );
        assert!(text.contains("\n| 0.33 M | ternary |  | 9.0000 | **3.1000** | 9.0000 |\n"), "{text}");
        assert!(text.contains("\nDiverged and left out: 0.33 M ternary, seed 3, at 4e-3.\n"), "{text}");
    }
}
