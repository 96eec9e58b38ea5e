//! Takes back what the lab did to the host, whichever way the program ends: a value dropped, a panic, Ctrl-C.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

type Action = Box<dyn FnOnce() + Send>;

/// What is still to be undone, by the order in which it was done.
#[derive(Default)]
struct Pending {
    next: u64,
    actions: BTreeMap<u64, Action>,
    interrupted: bool,
}

impl Pending {
    /// The program is about to end: whoever wants to do or undo something now waits for that.
    fn lock() -> MutexGuard<'static, Self> {
        let pending = pending().lock().unwrap_or_else(PoisonError::into_inner);
        if pending.interrupted {
            drop(pending);
            loop {
                thread::park();
            }
        }
        pending
    }
}

/// Undoes one thing when it is dropped.
#[must_use = "dropping the guard undoes at once what it guards"]
#[derive(Debug)]
pub struct Guard {
    id: u64,
}

/// Promises that `action` will run exactly once: when the guard is dropped, or when the program is interrupted.
pub fn guard(action: impl FnOnce() + Send + 'static) -> Guard {
    let mut pending = Pending::lock();
    let id = pending.next;
    pending.next += 1;
    pending.actions.insert(id, Box::new(action));
    Guard { id }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let action = Pending::lock().actions.remove(&self.id);
        let action = action.expect("it is taken by this or by an interrupt, after which nothing goes on");
        action();
    }
}

/// Says on standard error that something could not be undone; cleaning up goes on.
pub fn report(what: &str, result: Result<(), impl std::fmt::Display>) {
    if let Err(error) = result {
        eprintln!("cleaning up: {what}: {error:#}");
    }
}

fn pending() -> &'static Mutex<Pending> {
    static PENDING: OnceLock<Mutex<Pending>> = OnceLock::new();
    PENDING.get_or_init(|| {
        match Signals::new([SIGINT, SIGTERM, SIGHUP]) {
            Ok(signals) => drop(thread::spawn(move || undo_on_signal(signals))),
            Err(error) => eprintln!("an interrupt will not clean up: {error}"),
        }
        Mutex::default()
    })
}

fn undo_on_signal(mut signals: Signals) {
    let Some(signal) = signals.forever().next() else { return };
    eprintln!("interrupted, cleaning up");
    let actions = {
        let mut pending = Pending::lock();
        pending.interrupted = true;
        std::mem::take(&mut pending.actions)
    };
    for action in actions.into_values().rev() {
        action();
    }
    std::process::exit(128 + signal);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn an_action_runs_once_and_also_after_a_panic() {
        let runs = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&runs);
        let crashed = thread::spawn(move || {
            let _guard = guard(move || counter.store(counter.load(Ordering::SeqCst) + 1, Ordering::SeqCst));
            panic!("on purpose");
        });
        assert!(crashed.join().is_err());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }
}
