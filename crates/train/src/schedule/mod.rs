//! To come.

/// The rates of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRates {
    /// The learning rate.
    pub learning_rate: f32,
    /// Decoupled weight decay, of matrices.
    pub weight_decay: f32,
}
