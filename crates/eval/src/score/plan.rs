//! In which order stretches of tokens are scored, so that what they share is computed once.
//!
//! ```text
//! sorted     a b c d        rows  a b c d     groups: neighbours that share the half of their tokens
//!            a b c e f            · · · e f   or more; one lane works through a group
//!            x y            ────  x y
//! ```
//!
//! Sorted, the stretches are the leaves of a tree of tokens, and a node is a row of a pass. It knows no model.

use std::ops::Range;

use super::ScoredTokens;

/// Rows of its own that a group has before it ends, so that one long shared beginning does not leave
/// all the work to one lane.
const GROUP_ROWS: usize = 96;

/// The order of stretches, and what neighbours share.
pub(super) struct Plan {
    /// Indices of the stretches, sorted by their tokens.
    pub(super) order: Vec<usize>,
    /// Tokens that each of `order` has in common with the one before.
    pub(super) shared: Vec<usize>,
    /// Neighbours in `order`.
    pub(super) groups: Vec<Range<usize>>,
    /// Rows that the groups compute, each begun anew.
    pub(super) rows: usize,
}

impl Plan {
    pub(super) fn new(items: &[ScoredTokens]) -> Plan {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|a, b| items[*a].input.cmp(&items[*b].input));
        let input = |at: usize| &items[order[at]].input;
        let shared: Vec<usize> =
            (0..order.len()).map(|at| if at == 0 { 0 } else { common(input(at - 1), input(at)) }).collect();
        let mut groups = Vec::new();
        let (mut rows, mut own_rows, mut first) = (0, 0, 0);
        for (at, shared) in shared.iter().copied().enumerate() {
            let length = input(at).len();
            let belongs = 2 * shared >= length && (own_rows < GROUP_ROWS || shared == length);
            if at > 0 && !belongs {
                groups.push(first..at);
                first = at;
            }
            if at == first {
                rows += length;
                own_rows = 0;
            } else {
                rows += length - shared;
                own_rows += length - shared;
            }
        }
        if first < order.len() {
            groups.push(first..order.len());
        }
        Plan { order, shared, groups, rows }
    }
}

/// How many tokens two stretches begin with alike.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(inputs: &[&[u32]]) -> Vec<ScoredTokens> {
        inputs.iter().map(|input| ScoredTokens { input: input.to_vec(), targets: vec![0] }).collect()
    }

    #[test]
    fn neighbours_share_what_they_begin_with() {
        let plan = Plan::new(&items(&[&[1, 2, 3, 5, 6], &[7, 8], &[1, 2, 3, 4], &[7, 8]]));
        assert_eq!(plan.order, [2, 0, 1, 3]);
        assert_eq!(plan.shared, [0, 3, 0, 2]);
        assert_eq!(plan.groups, [0..2, 2..4]);
        assert_eq!(plan.rows, 4 + 2 + 2);
    }

    #[test]
    fn a_long_beginning_is_not_one_group() {
        let inputs: Vec<Vec<u32>> = (0..100).map(|i| (0..500).chain([1000 + i; 20]).collect()).collect();
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let plan = Plan::new(&items(&inputs));
        assert!(plan.groups.len() > 10, "{:?}", plan.groups);
        assert_eq!(plan.groups.last().map(|group| group.end), Some(100));
    }

    #[test]
    fn nothing_is_nothing() {
        assert!(Plan::new(&[]).groups.is_empty());
    }
}
