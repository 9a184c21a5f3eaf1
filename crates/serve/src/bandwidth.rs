//! What the machine's memory gives, measured once somebody asks.
//!
//! A token reads every weight, so this bounds how fast one text can come. A server that nobody asks measures nothing.
//! It knows no way to measure.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

type Measure = Box<dyn FnOnce() -> f64 + Send>;

/// Bytes a second that are read from memory at best.
pub struct Bandwidth {
    known: Arc<OnceLock<f64>>,
    /// What finds it out, until that has begun.
    measure: Mutex<Option<Measure>>,
}

impl Bandwidth {
    /// What was measured earlier, in bytes a second; where that is nothing, `measure` finds it out, which may take
    /// seconds.
    pub fn new(earlier: Option<f64>, measure: impl FnOnce() -> f64 + Send + 'static) -> Self {
        let known = OnceLock::new();
        let measure: Option<Measure> = match earlier {
            Some(bytes_per_second) => {
                known.get_or_init(|| bytes_per_second);
                None
            }
            None => Some(Box::new(measure)),
        };
        Bandwidth { known: Arc::new(known), measure: Mutex::new(measure) }
    }

    /// What is known, in bytes a second. Where nothing is and `may_measure`, a thread of its own begins to find out:
    /// whoever asks later knows.
    pub fn get(&self, may_measure: bool) -> Option<f64> {
        if may_measure && self.known.get().is_none() {
            self.begin();
        }
        self.known.get().copied()
    }

    fn begin(&self) {
        let Some(measure) = self.measure.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let known = Arc::clone(&self.known);
        let begun = thread::Builder::new().name("bandwidth".to_owned()).spawn(move || {
            known.get_or_init(measure);
        });
        if let Err(error) = begun {
            // It stays unknown, and nothing else depends on it.
            tracing::warn!(%error, "the bandwidth of memory is not measured");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_known_is_not_measured() {
        let bandwidth = Bandwidth::new(Some(2e9), || panic!("it is measured"));
        assert_eq!(bandwidth.get(true), Some(2e9));
    }

    #[test]
    fn it_is_measured_once_and_nobody_waits() {
        let (go_on, wait) = mpsc::channel();
        let bandwidth = Bandwidth::new(None, move || {
            wait.recv().unwrap();
            3e9
        });
        assert_eq!(bandwidth.get(false), None);
        assert!(go_on.send(()).is_ok(), "nothing has begun or ended");
        assert!(bandwidth.get(true).is_none_or(|found| found == 3e9));
        let start = Instant::now();
        while bandwidth.get(true).is_none() {
            assert!(start.elapsed() < Duration::from_secs(60), "it is never known");
            thread::yield_now();
        }
        assert_eq!(bandwidth.get(true), Some(3e9));
    }
}
