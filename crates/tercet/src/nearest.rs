//! Which known name an unknown one was most likely meant to be.
//!
//! It knows names alone, and not what they are of. Of names that are equally alike the first is meant, so that an
//! answer depends on nothing but the order of what there is.

/// Names less alike than this (Jaro–Winkler, 0 to 1) are not offered: `foo` is near nothing.
const ALIKE: f64 = 0.75;

/// How alike two names are, at most 1; none if one is hardly meant by the other.
pub fn likeness(name: &str, known: &str) -> Option<f64> {
    Some(strsim::jaro_winkler(name, known)).filter(|likeness| *likeness >= ALIKE)
}

/// The known name that is most like `name`, if one is like it.
///
/// ```
/// use tercet::nearest::nearest;
///
/// assert_eq!(nearest("storys", ["notes", "stories"]), Some("stories"));
/// assert_eq!(nearest("foo", ["notes", "stories"]), None);
/// ```
pub fn nearest<T: AsRef<str>>(name: &str, known: impl IntoIterator<Item = T>) -> Option<T> {
    most_alike(known.into_iter().map(|known| (likeness(name, known.as_ref()), known)))
}

/// What has the greatest likeness, for likenesses of which a name is but a part.
pub fn most_alike<T>(scored: impl IntoIterator<Item = (Option<f64>, T)>) -> Option<T> {
    let mut best: Option<(f64, T)> = None;
    for (likeness, known) in scored {
        match likeness {
            Some(likeness) if best.as_ref().is_none_or(|(best, _)| likeness > *best) => {
                best = Some((likeness, known));
            }
            _ => {}
        }
    }
    best.map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_most_alike_is_meant() {
        for (name, known, want) in [
            ("tiny", &["tin", "tiny", "tinny"][..], Some("tiny")),
            ("a3.txt", &["a1.txt", "a2.txt"], Some("a1.txt")),
            ("a3.txt", &["a2.txt", "a1.txt"], Some("a2.txt")),
            ("xyz", &["tiny", "stories"], None),
            ("tiny", &[], None),
            ("", &["tiny"], None),
        ] {
            assert_eq!(nearest(name, known.iter().copied()), want, "`{name}` of {known:?}");
        }
        assert_eq!(most_alike([(None, 1), (Some(0.8), 2), (Some(0.9), 3), (Some(0.9), 4)]), Some(3));
    }
}
