//! How far agents are, in memory. Written to the database at phase changes only; after a restart of the server the
//! next report of each agent fills it again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// What is known of each job's agent.
#[derive(Debug, Default)]
pub struct Progress(Mutex<HashMap<String, Heard>>);

/// The last word of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    at: Timestamp,
    amount: Option<(u64, u64)>,
}

impl Progress {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps how far an agent says it is: done and in all.
    pub fn set(&self, job: &str, done: u64, total: u64) {
        let heard = Heard { at: Timestamp::now(), amount: Some((done.min(total), total)) };
        self.all().insert(job.to_owned(), heard);
    }

    /// Keeps that an agent said something else.
    pub fn heard(&self, job: &str) {
        let amount = self.get(job);
        self.all().insert(job.to_owned(), Heard { at: Timestamp::now(), amount });
    }

    /// How far an agent last said it was in its present phase.
    #[must_use]
    pub fn get(&self, job: &str) -> Option<(u64, u64)> {
        self.all().get(job)?.amount
    }

    /// When an agent last said anything.
    #[must_use]
    pub fn last_heard(&self, job: &str) -> Option<Timestamp> {
        self.all().get(job).map(|heard| heard.at)
    }

    /// Forgets a job; its phase or its life is over.
    pub fn clear(&self, job: &str) {
        self.all().remove(job);
    }
}
