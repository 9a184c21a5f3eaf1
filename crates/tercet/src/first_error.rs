//! The error that comes first in a tensor, whichever worker finds one first.

use std::sync::{Mutex, PoisonError};

/// Errors by their place, of which the first is kept.
pub(crate) struct FirstError<E>(Mutex<Option<(usize, E)>>);

impl<E> Default for FirstError<E> {
    fn default() -> Self {
        FirstError(Mutex::new(None))
    }
}

impl<E> FirstError<E> {
    pub(crate) fn keep(&self, index: usize, error: E) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(kept, _)| index < *kept) {
            *first = Some((index, error));
        }
    }

    pub(crate) fn into_inner(self) -> Option<E> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map(|(_, error)| error)
    }
}
