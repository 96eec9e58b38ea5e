//! Ctrl-C as an ordinary way for work to end.

use std::future::Future;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Runs work to its end, or drops it when a person presses Ctrl-C; then there is no result. The signal is caught
/// from before the work's first step on.
///
/// # Errors
/// The signal cannot be caught.
pub(super) async fn unless_interrupted<T>(work: impl Future<Output = T>) -> anyhow::Result<Option<T>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("preparing for Ctrl-C")?;
    tokio::select! {
        result = work => Ok(Some(result)),
        _ = interrupt.recv() => Ok(None),
    }
}
