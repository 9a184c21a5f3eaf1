//! How often something is tried again, and how long is waited before.

use std::ops::ControlFlow;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::HubError;
use crate::fetch::{Listener, News};

/// Attempts without any progress before an error is final.
const ATTEMPTS: u32 = 5;
/// However long a server asks to wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two looks at whether to stop.
const TICK: Duration = Duration::from_millis(50);

/// Counts attempts that failed one after the other.
pub(crate) struct Patience {
    failures: u32,
    first_wait: Duration,
    /// Whether there has been a connection to the server: before that, none is no reason to wait.
    was_reached: bool,
}

impl Patience {
    pub(crate) fn new(first_wait: Duration, was_reached: bool) -> Self {
        Patience { failures: 0, first_wait, was_reached }
    }

    /// Something was achieved, so the next failure is the first again.
    pub(crate) fn renew(&mut self) {
        self.failures = 0;
        self.was_reached = true;
    }

    /// Waits, if it makes sense to try again after this error.
    ///
    /// # Errors
    /// The error itself if it does not, and [`HubError::Stopped`].
    pub(crate) fn after(&mut self, error: HubError, listener: &mut Listener<'_>) -> Result<(), HubError> {
        self.failures += 1;
        self.was_reached |= matches!(error, HubError::Broken { .. } | HubError::Busy { .. });
        let has_hope = error.is_passing()
            && (self.was_reached || !matches!(error, HubError::NoConnection { .. }))
            && self.failures < ATTEMPTS;
        if !has_hope {
            return Err(error);
        }
        let doubled = self.first_wait * 2u32.pow(self.failures - 1);
        let wait = match error {
            HubError::Busy { retry_after: Some(asked), .. } => asked.max(doubled),
            _ => doubled,
        };
        let wait = wait.min(WAIT_MAX);
        listen(listener, News::Retry { error: &error, wait })?;
        wait_for(wait, listener)
    }
}

/// Waits for a time, unless the listener wants to stop.
pub(crate) fn wait_for(time: Duration, listener: &mut Listener<'_>) -> Result<(), HubError> {
    let end = Instant::now() + time;
    loop {
        listen(listener, News::Waiting)?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(TICK));
    }
}

/// Tells the listener.
pub(crate) fn listen(listener: &mut Listener<'_>, news: News<'_>) -> Result<(), HubError> {
    match listener(news) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(HubError::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> HubError {
        HubError::Broken { host: "a".to_owned(), reason: "b".to_owned() }
    }

    #[test]
    fn failures_in_a_row_end_it_and_progress_renews_it() {
        let mut waits = Vec::new();
        let mut listener = |news: News<'_>| {
            if let News::Retry { wait, .. } = news {
                waits.push(wait.as_micros());
            }
            ControlFlow::Continue(())
        };
        let mut patience = Patience::new(Duration::from_micros(1), false);
        for _ in 1..ATTEMPTS {
            patience.after(broken(), &mut listener).unwrap();
        }
        patience.after(broken(), &mut listener).unwrap_err();
        patience.renew();
        patience.after(broken(), &mut listener).unwrap();
        assert_eq!(waits, [1, 2, 4, 8, 1]);
    }

    #[test]
    fn what_will_not_pass_is_final() {
        let mut listener = |_: News<'_>| ControlFlow::Continue(());
        let mut patience = Patience::new(Duration::ZERO, false);
        assert!(patience.after(HubError::Endpoint, &mut listener).is_err());
        let unreached = || HubError::NoConnection { host: "a".to_owned(), reason: "b".to_owned() };
        assert!(patience.after(unreached(), &mut listener).is_err());
        patience.renew();
        assert!(patience.after(unreached(), &mut listener).is_ok());
    }

    #[test]
    fn a_server_that_was_reached_may_come_back() {
        let mut listener = |_: News<'_>| ControlFlow::Continue(());
        let busy = HubError::Busy { host: "a".to_owned(), status: 503, retry_after: None };
        for error in [busy, broken()] {
            let mut patience = Patience::new(Duration::ZERO, false);
            patience.after(error, &mut listener).unwrap();
            let unreached = HubError::NoConnection { host: "a".to_owned(), reason: "b".to_owned() };
            patience.after(unreached, &mut listener).unwrap();
        }
    }

    #[test]
    fn a_server_may_ask_for_time_and_a_listener_stop() {
        let busy = HubError::Busy {
            host: "a".to_owned(),
            status: 429,
            retry_after: Some(Duration::from_secs(1_000_000)),
        };
        let mut asked = None;
        let mut listener = |news: News<'_>| match news {
            News::Retry { wait, .. } => {
                asked = Some(wait);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        };
        let stopped = Patience::new(Duration::ZERO, true).after(busy, &mut listener);
        assert!(matches!(stopped, Err(HubError::Stopped)));
        assert_eq!(asked, Some(WAIT_MAX));
    }
}
