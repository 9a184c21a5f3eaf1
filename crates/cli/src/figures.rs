//! Numbers as people read them. Prefixes are powers of 1000.

/// `25.1 GB`, `917 B`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, "B")
}

/// `2.41 G`, `17`: how many there are of something.
pub(crate) fn count(count: u64) -> String {
    scaled(count as f64, "").trim_end().to_owned()
}

/// `1 thread`, `2 threads`.
pub(crate) fn threads(count: usize) -> String {
    number_of(count, "thread")
}

/// `1 document`, `2 documents`: of a word that only takes an s.
pub(crate) fn number_of(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// `43.1 GB/s`.
pub(crate) fn bytes_per_second(bytes_per_second: f64) -> String {
    scaled(bytes_per_second, "B/s")
}

/// `4.17 Gops`.
pub(crate) fn operations(operations: f64) -> String {
    scaled(operations, "ops")
}

/// `1.94 Tops/s`.
pub(crate) fn operations_per_second(operations_per_second: f64) -> String {
    scaled(operations_per_second, "ops/s")
}

/// `36.2 %`; small shares keep a digit that says something.
pub(crate) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent >= 9.95 || percent == 0.0 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

/// `45 s`, `12 min`, `3.4 h`, `2.1 days`.
pub(crate) fn duration(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1.0, "s"), (60.0, "min"), (3600.0, "h"), (86_400.0, "days")];
    let fits = |unit: &&(f64, &str)| seconds >= 2.0 * unit.0;
    let (unit_seconds, unit) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
    let value = seconds / unit_seconds;
    let decimals = usize::from(value < 9.95 && *unit_seconds > 60.0);
    format!("{value:.decimals$} {unit}")
}

/// Three digits and a prefix.
fn scaled(value: f64, unit: &str) -> String {
    if value < 1000.0 {
        return format!("{} {unit}", value.round());
    }
    let mut value = value;
    for prefix in ["k", "M", "G", "T"] {
        value /= 1000.0;
        // Not what would be rounded up to four digits.
        if value < 999.5 || prefix == "T" {
            let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
            return format!("{value:.decimals$} {prefix}{unit}");
        }
    }
    unreachable!("scaled: the last prefix takes every value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_600, "1.00 MB"),
            (25_060_000_000, "25.1 GB"),
            (7_000_000_000_000_000, "7000 TB"),
        ] {
            assert_eq!(bytes(value), want);
        }
        assert_eq!([threads(1), threads(2)], ["1 thread", "2 threads"]);
        assert_eq!([0, 1].map(|count| number_of(count, "token")), ["0 tokens", "1 token"]);
        assert_eq!(count(17), "17");
        assert_eq!(count(2_410_000_000), "2.41 G");
        assert_eq!(percent(0.0123), "1.2 %");
        assert_eq!(percent(0.5), "50 %");
        for (seconds, want) in
            [(0.4, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7300.0, "2.0 h"), (180_000.0, "2.1 days")]
        {
            assert_eq!(duration(seconds), want);
        }
    }
}
