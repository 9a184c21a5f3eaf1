//! What test runners say of their tests, read from the lines they print, and added up.
//!
//! ```text
//! Rust        test NAME ... ok | FAILED | ignored[, WHY]
//!             test result: ok. 5 passed; 0 failed; 1 ignored; …
//! battery     13 passed, 0 failed
//! unittest    NAME (module.Class.NAME) ... ok | FAIL | ERROR | skipped 'WHY'
//!             Ran 5 tests in 0.1s        OK (skipped=1) | FAILED (failures=1, errors=1)
//! ```
//!
//! A Rust test that finds at run time that it cannot run appends the line `NAME<tab>WHY` to the
//! file named in `TERCET_SKIP_LOG` and returns: its `ok` then counts as skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Results of one or more runs of tests.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    passed: usize,
    /// Names, or what else went wrong.
    failed: Vec<String>,
    /// Each with why.
    skipped: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn is_ok(&self) -> bool {
        self.failed.is_empty()
    }

    /// Adds another run's results.
    pub(crate) fn add(&mut self, other: Report) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    pub(crate) fn add_pass(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn add_failure(&mut self, what: impl Into<String>) {
        self.failed.push(what.into());
    }

    pub(crate) fn add_skip(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.skipped.push((name.into(), why.into()));
    }
}

/// The tests that did not pass, and on the last line the three counts.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, why) in &self.skipped {
            writeln!(f, "skipped: {name}: {why}")?;
        }
        for name in &self.failed {
            writeln!(f, "failed: {name}")?;
        }
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }
}

/// Reads the lines of `cargo test`.
#[derive(Default)]
pub(crate) struct RustLines {
    passed_names: BTreeSet<String>,
    failed_names: Vec<String>,
    ignored: BTreeMap<String, String>,
    passed: usize,
    failed: usize,
    ignored_count: usize,
}

impl RustLines {
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored_count += count(counts, "ignored");
        } else if let Some((name, result)) = line.strip_prefix("test ").and_then(|l| l.split_once(" ... ")) {
            self.read_test(name, result);
        } else if line.split_whitespace().count() == 4 && line.contains(" passed, ") {
            self.passed += count(line, "passed");
            self.failed += count(line, "failed");
        }
    }

    fn read_test(&mut self, name: &str, result: &str) {
        if result.starts_with("ok") {
            self.passed_names.insert(name.to_owned());
        } else if result.starts_with("FAILED") {
            self.failed_names.push(name.to_owned());
        } else if let Some(why) = result.strip_prefix("ignored") {
            self.ignored.insert(name.to_owned(), why.trim_start_matches(", ").to_owned());
        }
    }

    /// The results, given what stood in the skip log and whether the runner itself succeeded.
    pub(crate) fn finish(mut self, title: &str, skip_log: &str, is_success: bool) -> Report {
        let mut report = Report { failed: self.failed_names, ..Report::default() };
        let lines: BTreeSet<&str> = skip_log.lines().collect();
        for line in lines {
            let (name, why) = line.split_once('\t').unwrap_or((line, "no reason given"));
            let is_name = |passed: &&String| *passed == name || passed.ends_with(&format!("::{name}"));
            if self.passed_names.iter().any(|passed| is_name(&passed)) {
                self.passed = self.passed.saturating_sub(1);
                report.add_skip(name, why);
            } else {
                self.ignored.insert(name.to_owned(), why.to_owned());
            }
        }
        report.passed = self.passed;
        for (name, why) in self.ignored {
            report.add_skip(name, if why.is_empty() { "no reason given" } else { &why });
            self.ignored_count = self.ignored_count.saturating_sub(1);
        }
        for _ in 0..self.ignored_count {
            report.add_skip(title, "a test that did not give its name");
        }
        for _ in report.failed.len()..self.failed {
            report.add_failure(format!("{title}: a test that did not give its name"));
        }
        if !is_success && report.is_ok() {
            report.add_failure(format!("{title}: it did not build, or a test program ended early"));
        }
        report
    }
}

/// Reads the lines of `python3 -m unittest -v`.
#[derive(Default)]
pub(crate) struct PythonLines {
    report: Report,
    ran: usize,
}

impl PythonLines {
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("Ran ").and_then(|rest| rest.split(' ').next()) {
            self.ran += count.parse().unwrap_or(0);
        } else if let Some(name) = line.strip_prefix("FAIL: ").or_else(|| line.strip_prefix("ERROR: ")) {
            self.report.add_failure(name);
        } else if let Some((name, why)) = line.split_once(" ... skipped ") {
            self.report.add_skip(name, why.trim_matches(['\'', '"']));
        }
    }

    /// The results, given whether the runner itself succeeded.
    pub(crate) fn finish(mut self, is_success: bool) -> Report {
        let others = self.report.failed.len() + self.report.skipped.len();
        self.report.passed = self.ran.saturating_sub(others);
        if !is_success && self.report.is_ok() {
            self.report.add_failure("python3 -m unittest: it ended early");
        }
        self.report
    }
}

/// The number before `word` in "5 passed; 0 failed; …".
fn count(counts: &str, word: &str) -> usize {
    let words: Vec<&str> = counts.split([' ', ';', ',']).collect();
    let place = words.iter().position(|found| *found == word);
    place.and_then(|place| words.get(place.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: &str, skip_log: &str, is_success: bool) -> String {
        let mut lines = RustLines::default();
        text.lines().for_each(|line| lines.read(line));
        lines.finish("tests", skip_log, is_success).to_string()
    }

    #[test]
    fn results_of_the_harness_and_of_the_battery_are_added() {
        let text = "running 3 tests\n\
            test a::b ... ok\n\
            test a::c ... FAILED\n\
            test a::d ... ignored, needs a GPU\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            comparing scalar\n\
            test rms_norm ... ok\n\
            1 passed, 0 failed\n";
        let want = "skipped: a::d: needs a GPU\nfailed: a::c\n2 passed, 1 failed, 1 skipped";
        assert_eq!(rust(text, "", false), want);
    }

    #[test]
    fn a_test_that_skipped_itself_has_not_passed() {
        let text = "test m::large ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n\
            test result: ok. 0 passed; 0 failed; 1 ignored\n";
        let want = "skipped: large: no model\nskipped: peak: no memory\n0 passed, 0 failed, 2 skipped";
        assert_eq!(rust(text, "large\tno model\npeak\tno memory\nlarge\tno model\n", true), want);
    }

    #[test]
    fn an_early_end_is_a_failure() {
        let want = "failed: tests: it did not build, or a test program ended early\n\
            1 passed, 1 failed, 0 skipped";
        assert_eq!(rust("test result: ok. 1 passed; 0 failed; 0 ignored\n", "", false), want);
    }

    #[test]
    fn python_results_are_read() {
        let text = "test_a (t.T.test_a) ... ok\n\
            test_b (t.T.test_b) ... skipped 'no numpy'\n\
            test_c (t.T.test_c) ... FAIL\n\
            ======\nFAIL: test_c (t.T.test_c)\n------\nRan 3 tests in 0.001s\n\
            FAILED (failures=1, skipped=1)\n";
        let mut lines = PythonLines::default();
        text.lines().for_each(|line| lines.read(line));
        let want = "skipped: test_b (t.T.test_b): no numpy\nfailed: test_c (t.T.test_c)\n\
            1 passed, 1 failed, 1 skipped";
        assert_eq!(lines.finish(false).to_string(), want);
    }
}
