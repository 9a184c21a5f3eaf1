//! The value below which a share of times lies.

use std::time::Duration;

/// The `percent`th percentile of sorted times by nearest rank; zero of none.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let of = |percent| percentile(&times, percent).as_millis();
        assert_eq!((of(0), of(50), of(99), of(100)), (1, 100, 198, 200));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
