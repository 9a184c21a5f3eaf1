//! A teacher: whose logits the network learns from.
//!
//! Another model is one; it runs as inference runs it, over the same sequences, a window of rows at
//! a time. Logits that are known already are another.

use std::ops::Range;

use tercet::config::Config;
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet_kernels::{KvCache, Layout, Sequence};

use super::caches_of;
use super::head::window_rows;
use crate::data::Batch;

/// Gives the logits of each batch, a window of rows after the other.
pub trait Teacher {
    /// Starts with the first row of a batch.
    fn begin(&mut self, batch: &Batch);

    /// The logits of the next rows of the batch, `[rows, vocabulary]`.
    ///
    /// # Panics
    /// May panic if the rows do not follow the last ones.
    fn logits(&mut self, batch: &Batch, rows: Range<usize>) -> &[f32];
}

/// How a teacher's ternary weights lie in memory.
pub(crate) const TEACHER_LAYOUT: Layout = Layout::TwoBit;

/// A model that is only read.
pub struct ModelTeacher<'model> {
    session: Session<'model>,
    /// One a segment of the current batch.
    caches: Vec<KvCache>,
}

impl<'model> ModelTeacher<'model> {
    /// A teacher for batches of at most `rows` tokens in sequences of at most `context`.
    pub fn new(model: &'model Model, rows: usize, context: usize) -> Self {
        let size = Self::session_size(model.config(), rows, context);
        ModelTeacher { session: Session::new(model, size), caches: Vec::new() }
    }

    /// The room of the session for such batches.
    pub(crate) fn session_size(config: &Config, rows: usize, context: usize) -> SessionSize {
        let rows = window_rows(config.vocab_size, rows);
        SessionSize { context, max_rows: rows, max_logit_rows: rows }
    }
}

impl Teacher for ModelTeacher<'_> {
    fn begin(&mut self, batch: &Batch) {
        let model = self.session.model();
        let config = model.config();
        self.caches = caches_of(model.pool(), config, config.num_hidden_layers, &batch.segments);
    }

    fn logits(&mut self, batch: &Batch, rows: Range<usize>) -> &[f32] {
        let mut sequences = Vec::new();
        let mut first = 0;
        for (cache, len) in self.caches.iter_mut().zip(&batch.segments) {
            let segment = first..first + len;
            first = segment.end;
            let (start, end) = (rows.start.max(segment.start), rows.end.min(segment.end));
            if start < end {
                assert_eq!(cache.len(), start - segment.start, "ModelTeacher: windows follow each other");
                sequences.push(Sequence { tokens: &batch.tokens[start..end], cache });
            }
        }
        let logits = self.session.forward(&mut sequences, LogitRows::All);
        logits.expect("ModelTeacher: the batch was checked against the teacher's sizes")
    }
}
