//! How far agents are, in memory. Written to the database at phase changes only; after a restart of the server the
//! next report of each agent fills it again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Bytes done and in all, by job.
#[derive(Debug, Default)]
pub struct Progress(Mutex<HashMap<String, (u64, u64)>>);

impl Progress {
    /// Keeps what an agent said.
    pub fn set(&self, job: &str, done: u64, total: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(job.to_owned(), (done.min(total), total));
    }

    /// What an agent last said about its present phase.
    #[must_use]
    pub fn get(&self, job: &str) -> Option<(u64, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(job).copied()
    }

    /// Forgets a job; its phase or its life is over.
    pub fn clear(&self, job: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(job);
    }
}
