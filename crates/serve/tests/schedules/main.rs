//! The queue under many schedules: whoever puts something in is served, and nobody sleeps for ever.
//!
//! The queue's own source is compiled here once more, with locks whose schedules `shuttle` chooses.

#[path = "../../src/engine/queue.rs"]
mod queue;

/// What the queue is made of.
mod sync {
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
}

use queue::{PushError, Queue};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::{check_pct, check_random, thread};

const SCHEDULES: usize = 3000;

fn check(test: impl Fn() + Send + Sync + Copy + 'static) {
    check_random(test, SCHEDULES);
    check_pct(test, SCHEDULES, 4);
}

/// A request as the engine has it: it takes some passes, unless its client leaves.
struct Item {
    passes: usize,
    is_cancelled: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
}

/// The engine's loop, with room for two at a time; returns when the queue is stopped.
fn engine(queue: &Queue<Item>) {
    let (mut waiting, mut running): (Vec<Item>, Vec<Item>) = (Vec::new(), Vec::new());
    while let Some(groups) = queue.take(waiting.is_empty() && running.is_empty()) {
        waiting.extend(groups.into_iter().flatten());
        let before = waiting.len();
        waiting.retain(|item| !item.is_cancelled.load(Ordering::SeqCst));
        while running.len() < 2
            && let Some(item) = waiting.pop()
        {
            running.push(item);
        }
        queue.leave(before - waiting.len());
        for item in &mut running {
            item.passes -= 1;
            if item.passes == 0 {
                item.served.fetch_add(1, Ordering::SeqCst);
            }
        }
        running.retain(|item| item.passes > 0 && !item.is_cancelled.load(Ordering::SeqCst));
        thread::yield_now();
    }
}

#[test]
fn everything_put_in_is_served() {
    check(|| {
        let queue = Arc::new(Queue::new(64));
        let served = Arc::new(AtomicUsize::new(0));
        let of_engine = Arc::clone(&queue);
        let engine = thread::spawn(move || engine(&of_engine));
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (queue, served) = (Arc::clone(&queue), Arc::clone(&served));
                thread::spawn(move || {
                    for count in 1..3 {
                        let item = || Item {
                            passes: client + 1,
                            is_cancelled: Arc::new(AtomicBool::new(false)),
                            served: Arc::clone(&served),
                        };
                        queue.push((0..count).map(|_| item()).collect()).unwrap();
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        // A lost wake-up would leave the engine asleep: this would wait for ever, which is found.
        while served.load(Ordering::SeqCst) < 9 {
            thread::yield_now();
        }
        assert_eq!(queue.waiting(), 0);
        assert!(queue.stop().is_empty());
        engine.join().unwrap();
    });
}

#[test]
fn who_leaves_does_not_keep_the_queue_full() {
    check(|| {
        let queue = Arc::new(Queue::new(2));
        let served = Arc::new(AtomicUsize::new(0));
        let of_engine = Arc::clone(&queue);
        let engine = thread::spawn(move || engine(&of_engine));
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let (queue, served) = (Arc::clone(&queue), Arc::clone(&served));
                thread::spawn(move || {
                    let is_cancelled = Arc::new(AtomicBool::new(false));
                    let item = Item { passes: 3, is_cancelled: Arc::clone(&is_cancelled), served };
                    match queue.push(vec![item]) {
                        Ok(()) => is_cancelled.store(true, Ordering::SeqCst),
                        Err(error) => assert_eq!(error, PushError::Full(2)),
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        while queue.waiting() > 0 {
            thread::yield_now();
        }
        queue.stop();
        engine.join().unwrap();
    });
}

#[test]
fn what_was_begun_goes_on_while_nothing_new_is_taken() {
    check(|| {
        let queue = Arc::new(Queue::new(64));
        let served = Arc::new(AtomicUsize::new(0));
        let of_engine = Arc::clone(&queue);
        let engine = thread::spawn(move || engine(&of_engine));
        let of_drain = Arc::clone(&queue);
        let drain = thread::spawn(move || of_drain.drain());
        let item = || Item {
            passes: 1,
            is_cancelled: Arc::new(AtomicBool::new(false)),
            served: Arc::clone(&served),
        };
        let begun = match queue.push(vec![item()]) {
            Ok(()) => {
                queue.push_more(vec![item()]).unwrap();
                2
            }
            Err(error) => {
                assert_eq!(error, PushError::Draining);
                0
            }
        };
        drain.join().unwrap();
        assert_eq!(queue.push(vec![item()]), Err(PushError::Draining));
        while served.load(Ordering::SeqCst) < begun {
            thread::yield_now();
        }
        queue.stop();
        engine.join().unwrap();
    });
}

#[test]
fn a_stop_wakes_who_waits_and_nothing_is_taken_after_it() {
    check(|| {
        let queue = Arc::new(Queue::new(8));
        let of_engine = Arc::clone(&queue);
        let engine = thread::spawn(move || engine(&of_engine));
        let of_client = Arc::clone(&queue);
        let client = thread::spawn(move || {
            let item = Item {
                passes: 1,
                is_cancelled: Arc::new(AtomicBool::new(false)),
                served: Arc::new(AtomicUsize::new(0)),
            };
            of_client.push(vec![item])
        });
        let of_drain = Arc::clone(&queue);
        let drain = thread::spawn(move || of_drain.drain());
        queue.stop();
        engine.join().unwrap();
        drain.join().unwrap();
        let pushed = client.join().unwrap();
        assert!(matches!(pushed, Ok(()) | Err(PushError::Stopped | PushError::Draining)), "{pushed:?}");
        assert!(queue.take(true).is_none());
    });
}
