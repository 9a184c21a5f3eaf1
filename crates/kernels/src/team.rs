//! How many workers of a pool take part in a run: fewer while other processes take their processors.
//!
//! Workers meet at barriers, so one that shares its processor with another process holds up all. Linux
//! tells for every thread how long it could have run and did not (`/proc/thread-self/schedstat`). Where
//! that is much, the team becomes smaller by one; after a while one is taken in again, and the while
//! doubles as long as that goes wrong. Elsewhere all take part. It knows no operation.

use std::fs::File;
use std::time::{Duration, Instant};

/// Between two looks at the accounts: several passes of a model, and time slices of a scheduler.
const REVIEW_EVERY: Duration = Duration::from_millis(20);
/// What the workers together may wait, as a share of the time: more than other processes' short work.
const MAX_WAITING: f64 = 0.15;
/// How long a worker that waited stays away, at first and at last.
const AWAY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(8)];

/// The scheduler's account of one thread, where the system keeps one.
pub(crate) struct Account(Option<File>);

impl Account {
    /// That of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        Account(File::open("/proc/thread-self/schedstat").ok())
    }

    /// How long the thread has waited for a processor, ever.
    fn waited(&self) -> Option<Duration> {
        waited(self.0.as_ref()?)
    }
}

/// The second number of an account: nanoseconds.
#[cfg(unix)]
fn waited(file: &File) -> Option<Duration> {
    use std::os::unix::fs::FileExt as _;
    let mut text = [0; 96];
    let len = file.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..len]).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(not(unix))]
fn waited(_: &File) -> Option<Duration> {
    None
}

/// The size of a team and what it follows from.
pub(crate) struct Team {
    all: usize,
    size: usize,
    reviewed: Instant,
    /// What all threads had waited then.
    waited: Option<Duration>,
    /// When one more is to take part, and how long it was away.
    grows: Option<Instant>,
    away: Duration,
}

impl Team {
    pub(crate) fn new(all: usize) -> Self {
        Team { all, size: all, reviewed: Instant::now(), waited: None, grows: None, away: Duration::ZERO }
    }

    /// How many take part now; `helpers` are the accounts of all but the calling thread.
    pub(crate) fn review(&mut self, helpers: &[Account]) -> usize {
        if self.all > 1 && self.reviewed.elapsed() >= REVIEW_EVERY {
            let own = Account::of_this_thread();
            let waited =
                helpers.iter().map(Account::waited).fold(own.waited(), |sum, waited| Some(sum? + waited?));
            self.decide(Instant::now(), waited);
        }
        self.size
    }

    fn decide(&mut self, now: Instant, waited: Option<Duration>) {
        let elapsed = now.duration_since(self.reviewed);
        // Another thread may call, whose account is another.
        let since = self.waited.zip(waited).and_then(|(before, waited)| waited.checked_sub(before));
        (self.reviewed, self.waited) = (now, waited);
        let Some(since) = since else { return };
        if since.as_secs_f64() > MAX_WAITING * elapsed.as_secs_f64() {
            if self.size > 1 {
                self.size -= 1;
                self.away = (self.away * 2).clamp(AWAY[0], AWAY[1]);
                self.grows = Some(now + self.away);
            }
        } else if self.grows.is_some_and(|grows| grows <= now) {
            self.size += 1;
            self.grows = (self.size < self.all).then(|| now + self.away);
        } else if self.size == self.all {
            self.away = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reviews every 20 ms in which the threads waited so many of them; returns the sizes.
    fn sizes(team: &mut Team, waits_ms: impl Fn(usize) -> u64, reviews: usize) -> Vec<usize> {
        let mut waited = team.waited.unwrap_or_default();
        (0..reviews)
            .map(|_| {
                waited += Duration::from_millis(waits_ms(team.size));
                team.decide(team.reviewed + REVIEW_EVERY, Some(waited));
                team.size
            })
            .collect()
    }

    #[test]
    fn a_busy_processor_makes_the_team_smaller_and_a_free_one_larger() {
        let mut team = Team::new(4);
        assert_eq!(sizes(&mut team, |_| 1, 10), [4; 10]);
        // One processor is taken: three workers do not wait.
        let busy = sizes(&mut team, |size| if size > 3 { 10 } else { 0 }, 1000);
        assert_eq!(busy[0], 3);
        let tries = busy.iter().filter(|size| **size == 4).count();
        assert!((2..8).contains(&tries), "{tries} tries in 20 s, each for one review");
        let free = sizes(&mut team, |_| 0, 1000);
        assert_eq!(free.last(), Some(&4));
        assert_eq!(team.away, Duration::ZERO);
    }

    #[test]
    fn one_always_takes_part_and_without_accounts_all_do() {
        let mut team = Team::new(3);
        assert_eq!(sizes(&mut team, |_| 100, 10).last(), Some(&1));
        let mut team = Team::new(3);
        for _ in 0..5 {
            team.decide(team.reviewed + REVIEW_EVERY, None);
            assert_eq!(team.size, 3);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_account_is_read_where_the_system_keeps_one() {
        let account = Account::of_this_thread();
        assert_eq!(account.waited().is_some(), std::path::Path::new("/proc/thread-self/schedstat").exists());
    }
}
