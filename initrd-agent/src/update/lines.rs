//! What an update says: JSON lines for the server, sentences for people.

use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sysclone_protocol::update::{SyncReport, UpdateLine, UpdatePlan};

use super::text;

/// How often progress is told.
const EVERY: Duration = Duration::from_secs(1);
/// Exit status when nobody listens any more.
const ORPHANED: i32 = 1;

/// Standard output.
pub(super) struct Output {
    json: bool,
    told: Mutex<Option<Instant>>,
}

impl Output {
    pub(super) fn json() -> Self {
        Self { json: true, told: Mutex::new(None) }
    }

    pub(super) fn text() -> Self {
        Self { json: false, told: Mutex::new(None) }
    }

    pub(super) fn step(&self, text: &str) {
        tracing::debug!("{text}");
        self.line(&UpdateLine::Step { text: text.to_owned() });
    }

    pub(super) fn warning(&self, text: String) {
        tracing::debug!("{text}");
        self.line(&UpdateLine::Warning { text });
    }

    pub(super) fn plan(&self, plan: UpdatePlan) {
        self.line(&UpdateLine::Plan(plan));
    }

    pub(super) fn explained(&self, text: String) {
        self.line(&UpdateLine::Explained { text });
    }

    pub(super) fn finished(&self, report: SyncReport) {
        self.line(&UpdateLine::Finished(report));
    }

    pub(super) fn failed(&self, reason: String, state: String) {
        self.line(&UpdateLine::Failed { reason, state });
    }

    /// Tells how far it is, now and then.
    pub(super) fn progress(&self, done: u64, total: u64) {
        let mut told = self.told.lock().expect("no holder panics");
        if told.is_none_or(|last| last.elapsed() >= EVERY) || done == total {
            *told = Some(Instant::now());
            self.line(&UpdateLine::Progress { done, total });
        }
    }

    fn line(&self, line: &UpdateLine) {
        let mut bytes = if self.json {
            serde_json::to_vec(line).expect("wire types have text keys only and always encode")
        } else {
            match text::line(line) {
                Some(text) => text.into_bytes(),
                None => return,
            }
        };
        bytes.push(b'\n');
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(&bytes).and_then(|()| out.flush()) {
            // Before the first swap nothing has changed; from then on the journal is finished at the next run or boot.
            tracing::error!(%error, "nobody listens any more; the update ends here");
            std::process::exit(ORPHANED);
        }
    }
}
