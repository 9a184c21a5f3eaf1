//! How many workers of a pool take part in a run: fewer while other processes take their processors.
//!
//! Workers meet at barriers, so one that shares its processor with another process holds up all. Linux
//! tells for every thread how long it could have run and did not (`/proc/thread-self/schedstat`). Where
//! that is much, the team becomes smaller by one; after a while one is taken in again, and the while
//! doubles as long as that goes wrong. Elsewhere all take part. It knows no operation.

use std::fs::File;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Between two looks at the accounts: several passes of a model, and time slices of a scheduler.
const REVIEW_EVERY: Duration = Duration::from_millis(20);
/// What a worker may wait, as a share of the time: more than other processes' short work.
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
    /// What each helper, and last the calling thread, had waited then.
    waited: Vec<Option<Duration>>,
    /// Room for what they have waited now.
    waited_now: Vec<Option<Duration>>,
    caller: Option<ThreadId>,
    /// When one more is to take part, and how long it was away.
    grows: Option<Instant>,
    away: Duration,
    is_fixed: bool,
}

impl Team {
    pub(crate) fn new(all: usize) -> Self {
        Team {
            all,
            size: all,
            reviewed: Instant::now(),
            waited: Vec::with_capacity(all),
            waited_now: Vec::with_capacity(all),
            caller: None,
            grows: None,
            away: Duration::ZERO,
            is_fixed: false,
        }
    }

    /// One that never changes.
    pub(crate) fn whole(all: usize) -> Self {
        Team { is_fixed: true, ..Team::new(all) }
    }

    /// How many take part now; `helpers` are the accounts of all but the calling thread.
    pub(crate) fn review(&mut self, helpers: &[Account]) -> usize {
        if self.all > 1 && !self.is_fixed && self.reviewed.elapsed() >= REVIEW_EVERY {
            let caller = Some(std::thread::current().id());
            // Another thread's account says nothing of how long this one waited.
            let own = (self.caller == caller || self.caller.is_none()).then(Account::of_this_thread);
            self.waited_now.clear();
            self.waited_now.extend(helpers.iter().map(Account::waited));
            self.waited_now.push(own.and_then(|own| own.waited()));
            self.caller = caller;
            self.decide(Instant::now());
        }
        self.size
    }

    fn decide(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.reviewed);
        let since =
            |(before, now): (&Option<Duration>, &Option<Duration>)| now.as_ref()?.checked_sub((*before)?);
        let longest = self.waited.iter().zip(&self.waited_now).filter_map(since).max();
        self.reviewed = now;
        std::mem::swap(&mut self.waited, &mut self.waited_now);
        let Some(longest) = longest else { return };
        if longest.as_secs_f64() > MAX_WAITING * elapsed.as_secs_f64() {
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

    /// Reviews every 20 ms in which the first thread waited so many of them, and the others a tenth of
    /// one; returns the sizes.
    fn sizes(team: &mut Team, waits_ms: impl Fn(usize) -> u64, reviews: usize) -> Vec<usize> {
        if team.waited.is_empty() {
            team.waited = vec![Some(Duration::ZERO); team.all];
        }
        (0..reviews)
            .map(|_| {
                let wait = |i| Duration::from_micros(if i == 0 { 1000 * waits_ms(team.size) } else { 100 });
                team.waited_now =
                    team.waited.iter().enumerate().map(|(i, all)| Some((*all)? + wait(i))).collect();
                team.decide(team.reviewed + REVIEW_EVERY);
                team.size
            })
            .collect()
    }

    #[test]
    fn a_little_waiting_of_each_of_many_is_no_reason() {
        assert_eq!(sizes(&mut Team::new(128), |_| 1, 50), [128; 50]);
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
            team.waited_now = vec![None; 3];
            team.decide(team.reviewed + REVIEW_EVERY);
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
