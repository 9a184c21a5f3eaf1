//! Tests that cannot run say so aloud: on the terminal, and in the file that `TERCET_SKIP_LOG`
//! names, a line a test, the name and why parted by a tab. `cargo xtask test` counts them.
#![expect(clippy::print_stdout, reason = "a test's report")]

use std::fs::OpenOptions;
use std::io::Write;

pub(crate) fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
    if let Some(log) = std::env::var_os("TERCET_SKIP_LOG") {
        let mut log =
            OpenOptions::new().create(true).append(true).open(log).expect("TERCET_SKIP_LOG: a file");
        writeln!(log, "{test}\t{why}").expect("TERCET_SKIP_LOG: can be written");
    }
}
