//! Work that would hold up the threads that serve: it has threads of its own.

use std::io;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, spawn_blocking};

use super::ApiError;

/// Bodies of more bytes are large.
const LARGE: usize = 16 << 10;

/// Works on large bodies one after the other, in a thread of its own: to read a text, a tokenizer takes about a
/// hundred times its bytes, and what one thread has taken and given back another has not at hand.
pub struct LargeBodies(Option<Runtime>);

impl LargeBodies {
    /// One that has nothing to do.
    ///
    /// # Errors
    /// The system's, if it has nothing to wait with.
    pub fn new() -> io::Result<Self> {
        Builder::new_current_thread().max_blocking_threads(1).build().map(|runtime| Self(Some(runtime)))
    }

    /// As [`heavy`] does it; on a large body in its turn.
    pub(super) async fn heavy<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        match self.0.as_ref().filter(|_| bytes > LARGE) {
            Some(runtime) => awaited(runtime.spawn_blocking(work)).await,
            None => heavy(work).await,
        }
    }
}

impl Drop for LargeBodies {
    fn drop(&mut self) {
        // It may be dropped where nothing is to be waited for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Work that somebody waits for. What has not begun when its client leaves never does: else those who come and go
/// would pile it up.
struct Awaited<T>(JoinHandle<T>);

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs tokenization, templates, grammars and the writing of JSON; a panic there is this request's failure alone.
pub(super) async fn heavy<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    awaited(spawn_blocking(work)).await
}

/// An answer in JSON that may be long.
pub(super) async fn heavy_json<T: Serialize + Send + 'static>(answer: T) -> Result<Response, ApiError> {
    heavy(move || Ok(Json(answer).into_response())).await
}

async fn awaited<T>(work: JoinHandle<Result<T, ApiError>>) -> Result<T, ApiError> {
    let mut awaited = Awaited(work);
    let done = (&mut awaited.0).await;
    done.unwrap_or_else(|_| Err(ApiError::internal()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn large_bodies_wait_for_each_other_and_small_ones_for_none() {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bodies = Arc::new(LargeBodies::new().unwrap());
            let (go_on, wait) = mpsc::channel::<()>();
            let of = Arc::clone(&bodies);
            let first = tokio::spawn(async move {
                let work = move || wait.recv().map_err(|_| ApiError::internal());
                of.heavy(LARGE + 1, work).await
            });
            tokio::task::yield_now().await;
            let has_begun = Arc::new(AtomicBool::new(false));
            let (of, begun) = (Arc::clone(&bodies), Arc::clone(&has_begun));
            let second = tokio::spawn(async move {
                let work = move || {
                    begun.store(true, Ordering::SeqCst);
                    Ok(())
                };
                of.heavy(LARGE + 1, work).await
            });
            bodies.heavy(LARGE, || Ok(())).await.unwrap();
            assert!(!has_begun.load(Ordering::SeqCst), "two large bodies at once");
            go_on.send(()).unwrap();
            first.await.unwrap().unwrap();
            second.await.unwrap().unwrap();
            assert!(has_begun.load(Ordering::SeqCst));
        });
    }

    #[test]
    fn work_that_nobody_waits_for_never_begins() {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (go_on, wait) = mpsc::channel::<()>();
            let first = tokio::spawn(heavy(move || {
                wait.recv().unwrap();
                Ok(())
            }));
            let has_begun = Arc::new(AtomicBool::new(false));
            let begun = Arc::clone(&has_begun);
            let second = tokio::spawn(heavy(move || {
                begun.store(true, Ordering::SeqCst);
                Ok(())
            }));
            tokio::task::yield_now().await;
            second.abort();
            assert!(second.await.unwrap_err().is_cancelled());
            go_on.send(()).unwrap();
            first.await.unwrap().unwrap();
            // Work is begun in the order it came in.
            heavy(|| Ok(())).await.unwrap();
            assert!(!has_begun.load(Ordering::SeqCst), "the work of a client that left");
        });
    }
}
