//! Stop strings: text is held back as long as it could still become one.

/// Finds the first of several strings in a stream of text.
pub(super) struct StopScanner {
    stops: Vec<String>,
    held: String,
    /// Which of them came.
    stop: Option<usize>,
}

impl StopScanner {
    /// Empty stop strings are never found.
    pub(super) fn new(stops: Vec<String>) -> Self {
        StopScanner { stops, held: String::new(), stop: None }
    }

    /// Takes text in and gives out what cannot be part of a stop string.
    pub(super) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let stops = self.stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
        let found = stops.clone().filter_map(|(index, stop)| Some((self.held.find(stop.as_str())?, index)));
        if let Some((at, index)) = found.min() {
            self.stop = Some(index);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = stops.map(|(_, stop)| possible_start(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// Which stop string came, if one did; of several that begin together the first.
    pub(super) fn stop(&self) -> Option<usize> {
        self.stop
    }

    /// What is still held when the stream ends.
    pub(super) fn finish(self) -> String {
        self.held
    }
}

/// Bytes at the end of `text` that are a start of `stop`.
fn possible_start(text: &str, stop: &str) -> usize {
    stop.char_indices().map(|(at, _)| at).rev().find(|at| text.ends_with(&stop[..*at])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut scanner = StopScanner::new(stops);
        let mut text = String::new();
        for piece in pieces {
            text += &scanner.push(piece);
            if scanner.stop().is_some() {
                return (text, true);
            }
        }
        (text + &scanner.finish(), false)
    }

    #[test]
    fn a_stop_over_several_pieces_is_cut_off() {
        assert_eq!(stream(&["END"], &["a E", "N", "D b"]), ("a ".to_owned(), true));
        assert_eq!(stream(&["END"], &["a E", "N", "E"]), ("a ENE".to_owned(), false));
        assert_eq!(stream(&["é!", "x"], &["né", "!"]), ("n".to_owned(), true));
        assert_eq!(stream(&["bc", "abcd"], &["abc"]), ("a".to_owned(), true));
        assert_eq!(stream(&[""], &["abc"]), ("abc".to_owned(), false));
    }

    #[test]
    fn text_that_cannot_stop_is_not_held() {
        let mut scanner = StopScanner::new(vec!["END".to_owned()]);
        assert_eq!(scanner.push("one EN"), "one ");
        assert_eq!(scanner.push("two"), "ENtwo");
    }
}
