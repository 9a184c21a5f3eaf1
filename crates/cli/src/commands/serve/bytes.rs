//! Numbers of bytes as people write them.

use std::ops::RangeInclusive;

/// `512M`, `4G`, `1.5GiB`, `1000000`. A letter is a power of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const POWERS: [(char, u32); 4] = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];
    let expected = || "expected bytes such as `512M` or `4G`".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let power = POWERS.iter().find_map(|(letter, power)| Some((number.strip_suffix(*letter)?, *power)));
    let (number, power) = power.unwrap_or((number, 0));
    let value: f64 = number.trim().parse().map_err(|_| expected())?;
    let bytes = value * f64::from(power).exp2();
    if !(bytes >= 1.0 && bytes < u64::MAX as f64) {
        return Err(expected());
    }
    Ok(bytes as u64)
}

/// Reads [`bytes`] that lie in a range.
pub(super) fn bytes_in(range: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| {
        let found = bytes(text)?;
        let fits = u32::try_from(found).ok().filter(|bytes| range.contains(bytes));
        fits.ok_or_else(|| format!("{found} bytes, expected {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        for (text, want) in [
            ("1000", Some(1000)),
            ("512M", Some(512 << 20)),
            ("4g", Some(4 << 30)),
            ("1.5GiB", Some(3 << 29)),
            ("2 KB", Some(2048)),
            ("0", None),
            ("-1", None),
            ("many", None),
            ("", None),
            ("nan", None),
            ("1e300", None),
        ] {
            assert_eq!(bytes(text).ok(), want, "`{text}`");
        }
    }

    #[test]
    fn bytes_out_of_range_are_refused_with_it() {
        let read = bytes_in(1024..=1 << 20);
        assert_eq!((read("1K"), read("1M")), (Ok(1024), Ok(1 << 20)));
        assert_eq!(read("8G"), Err("8589934592 bytes, expected 1024 to 1048576".to_owned()));
        assert!(read("1023").is_err() && read("1k5").is_err());
    }
}
