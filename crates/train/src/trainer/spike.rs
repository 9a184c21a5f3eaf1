//! Whether a loss is a spike: far above what the last steps had.
//!
//! Its memory is part of a checkpoint, so that a resumed run judges as the uninterrupted one.

use serde::{Deserialize, Serialize};

/// Losses that are remembered.
const WINDOW: usize = 64;
/// Losses that must be remembered before one can be a spike.
const WINDOW_MIN: usize = 16;

/// The losses of the last steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RecentLosses(Vec<f64>);

impl RecentLosses {
    /// Whether `loss` exceeds their mean by more than so many standard deviations.
    pub(super) fn is_spike(&self, loss: f64, deviations: Option<f32>) -> bool {
        let threshold = deviations.and_then(|deviations| self.threshold(f64::from(deviations)));
        threshold.is_some_and(|threshold| loss > threshold)
    }

    /// Remembers the loss of a step that is taken, be it a spike or not: after a jump that lasts, what was a spike
    /// is soon the rule.
    pub(super) fn remember(&mut self, loss: f64) {
        if self.0.len() == WINDOW {
            self.0.remove(0);
        }
        self.0.push(loss);
    }

    fn threshold(&self, deviations: f64) -> Option<f64> {
        if self.0.len() < WINDOW_MIN {
            return None;
        }
        let count = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / count;
        let variance = self.0.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / count;
        Some(mean + deviations * variance.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses about 3.1, more than are remembered; none of them is a spike.
    fn steady() -> RecentLosses {
        let mut recent = RecentLosses::default();
        for step in 0..100 {
            let loss = 3.0 + 0.1 * f64::from(step % 3);
            assert!(!recent.is_spike(loss, Some(4.0)));
            recent.remember(loss);
        }
        recent
    }

    #[test]
    fn a_loss_far_above_the_last_ones_is_a_spike() {
        let recent = steady();
        assert!(recent.is_spike(3.6, Some(4.0)));
        assert!(!recent.is_spike(3.6, None));
        assert_eq!(recent.0.len(), WINDOW);
    }

    #[test]
    fn a_jump_that_lasts_is_soon_no_spike() {
        let mut recent = steady();
        let mut spikes = 0;
        for _ in 0..100 {
            spikes += u32::from(recent.is_spike(3.6, Some(4.0)));
            recent.remember(3.6);
        }
        assert!((1..10).contains(&spikes), "{spikes}");
    }

    #[test]
    fn the_first_losses_are_no_spikes() {
        let mut recent = RecentLosses::default();
        for loss in [1.0, 1.0, 50.0] {
            assert!(!recent.is_spike(loss, Some(1.0)));
            recent.remember(loss);
        }
    }
}
