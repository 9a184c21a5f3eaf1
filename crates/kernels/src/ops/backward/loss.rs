//! Cross-entropy of logits, and its gradient in their place.

use std::sync::{Mutex, PoisonError};

use crate::buffer::Buffer;
use crate::dispatch;
use crate::ops::rows::for_rows;
use crate::pool::Worker;

/// What the logits of some rows should have said.
#[derive(Clone, Copy)]
pub struct LossRows<'a> {
    /// The right token of each row.
    pub targets: &'a [u32],
    /// Multiplies the gradient of every row, such as 1 / rows for a mean.
    pub scale: f32,
    /// A teacher, if there is one.
    pub teacher: Option<SoftTargets<'a>>,
}

/// The logits of a teacher (Hinton et al., arXiv:1503.02531).
#[derive(Clone, Copy)]
pub struct SoftTargets<'a> {
    /// `[rows, vocabulary]`.
    pub logits: &'a Buffer<f32>,
    /// Its share `w` of the loss.
    pub weight: f32,
    /// Divides both models' logits: `T`.
    pub temperature: f32,
}

/// The losses of rows: each row's own, in order.
///
/// Without a teacher `-log p[target]`, with one
/// `(1 - w) · -log p[target] + w T² · KL(softmax(teacher / T) ‖ softmax(logits / T))`. The logits
/// become the gradient of their sum times `scale`.
///
/// `losses` takes `(cross-entropy, loss)` of each row with its number; the order in which they come
/// depends on the workers.
///
/// # Shapes
/// `logits`: `[rows, vocabulary]`, replaced
///
/// # Panics
/// If a target is not in the vocabulary.
pub fn cross_entropy(
    worker: &Worker<'_>,
    rows: LossRows<'_>,
    vocabulary: usize,
    logits: &Buffer<f32>,
    losses: &Mutex<Vec<(usize, [f64; 2])>>,
) {
    let operation = worker.begin_operation();
    let teacher = rows.teacher.map(|teacher| teacher.logits.read(worker));
    let mut out = logits.write(worker, operation);
    let mut mine = Vec::new();
    let mut soft = Soft::default();
    for_rows(worker, operation, rows.targets.len(), |row| {
        let logits = out.slice(row * vocabulary, vocabulary);
        let target = rows.targets[row] as usize;
        assert!(target < vocabulary, "cross_entropy: every target is in the vocabulary");
        let divergence = match (rows.teacher, teacher) {
            (Some(settings), Some(values)) => {
                soft.divergence(worker, &settings, &values[row * vocabulary..][..vocabulary], logits)
            }
            _ => 0.0,
        };
        let target_logit = f64::from(logits[target]);
        let (max, sum) = dispatch::softmax(worker.isa(), logits, vocabulary);
        let hard = libm::log(f64::from(sum)) + f64::from(max) - target_logit;
        logits[target] -= 1.0;
        let weight = rows.teacher.map_or(0.0, |teacher| teacher.weight);
        match rows.teacher {
            None => logits.iter_mut().for_each(|d| *d *= rows.scale),
            Some(_) => {
                let (own, shared) = (rows.scale * (1.0 - weight), rows.scale * weight);
                dispatch::combine(worker.isa(), logits, own, &soft.gradient, shared);
            }
        }
        let weight = f64::from(weight);
        mine.push((row, [hard, (1.0 - weight) * hard + weight * divergence]));
    });
    losses.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
}

/// Room of one worker for a teacher's part.
#[derive(Default)]
struct Soft {
    student: Vec<f32>,
    teacher: Vec<f32>,
    gradient: Vec<f32>,
}

impl Soft {
    /// `T² KL(p ‖ q)`; leaves its gradient `T (q - p)` by the student's logits.
    fn divergence(
        &mut self,
        worker: &Worker<'_>,
        settings: &SoftTargets<'_>,
        teacher: &[f32],
        student: &[f32],
    ) -> f64 {
        let temperature = settings.temperature;
        let warm = |logits: &[f32], out: &mut Vec<f32>| {
            out.clear();
            out.extend(logits.iter().map(|logit| logit / temperature));
            let (max, sum) = dispatch::softmax(worker.isa(), out, logits.len());
            f64::from(max) + libm::log(f64::from(sum))
        };
        let student_log_sum = warm(student, &mut self.student);
        let teacher_log_sum = warm(teacher, &mut self.teacher);
        let mut divergence = 0.0;
        for ((p, teacher), student) in self.teacher.iter().zip(teacher).zip(student) {
            let difference = f64::from(teacher / temperature) - f64::from(student / temperature);
            divergence += f64::from(*p) * (difference + student_log_sum - teacher_log_sum);
        }
        self.gradient.clear();
        let gradient = self.student.iter().zip(&self.teacher).map(|(q, p)| temperature * (q - p));
        self.gradient.extend(gradient);
        f64::from(temperature) * f64::from(temperature) * divergence
    }
}
