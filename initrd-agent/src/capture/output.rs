//! Lines for the server. One is written at least every second, so that a capture whose connection is gone notices it
//! and ends.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sysclone_image::CaptureProgress;
use sysclone_protocol::agent::{CaptureLine, CaptureReply};

/// How often progress is told, also when there is none.
const EVERY: Duration = Duration::from_secs(1);
/// Exit status when nobody listens any more.
const ORPHANED: i32 = 1;

/// Standard output as lines of JSON.
#[derive(Clone)]
pub struct Lines {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    out: Box<dyn Write + Send>,
    progress: CaptureProgress,
    /// No progress after the last word.
    ended: bool,
}

impl Lines {
    /// Starts telling progress to `out`. When `out` is closed by the other side, the process ends.
    #[must_use]
    pub fn start(out: impl Write + Send + 'static) -> Self {
        let shared = Shared { out: Box::new(out), progress: CaptureProgress::default(), ended: false };
        let lines = Self { shared: Arc::new(Mutex::new(shared)) };
        let ticker = lines.clone();
        // It lives as long as the process, which is as long as the capture.
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(EVERY);
                ticker.tick();
            }
        });
        lines
    }

    /// A step for people.
    pub fn step(&self, text: &str) {
        tracing::info!("{text}");
        self.write(&CaptureLine::Step { text: text.to_owned() }, false);
    }

    /// How far it is; told with the next tick.
    pub fn progress(&self, progress: CaptureProgress) {
        self.shared.lock().expect("no holder panics").progress = progress;
    }

    /// A file that could not be captured as it should.
    pub fn inconsistent(&self, path: String, reason: String) {
        self.write(&CaptureLine::Inconsistent { path, reason }, false);
    }

    /// The last word of a good capture.
    pub fn finished(&self, reply: CaptureReply) {
        self.tick();
        self.write(&CaptureLine::Finished(reply), true);
    }

    /// The last word of a bad one.
    pub fn failed(&self, reason: String) {
        self.write(&CaptureLine::Failed { reason }, true);
    }

    fn tick(&self) {
        let CaptureProgress { files, bytes, total, sent } =
            self.shared.lock().expect("no holder panics").progress;
        self.write(&CaptureLine::Progress { files, bytes, total, sent }, false);
    }

    fn write(&self, line: &CaptureLine, last: bool) {
        let mut text = serde_json::to_vec(line).expect("wire types have text keys only and always encode");
        text.push(b'\n');
        let mut shared = self.shared.lock().expect("no holder panics");
        if shared.ended {
            return;
        }
        shared.ended = last;
        let written = shared.out.write_all(&text).and_then(|()| shared.out.flush());
        if let Err(error) = written {
            // Nobody will ever read the result, so reading this machine's disks any longer serves nobody.
            tracing::error!(%error, "the server's connection is gone; the capture ends");
            std::process::exit(ORPHANED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_follows_the_last_word() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let lines = Lines::start(Sink(Arc::clone(&written)));
        lines.step("reading disks");
        lines.progress(CaptureProgress { files: 1, bytes: 2, total: 3, sent: 4 });
        let reply = CaptureReply { image: "demo@1".parse().unwrap(), entries: 1, bytes: 2, new_bytes: 3 };
        lines.finished(reply);
        lines.step("too late");
        lines.tick();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let kinds: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["capture"].to_string())
            .collect();
        assert_eq!(kinds.first().unwrap(), "\"step\"");
        assert_eq!(kinds.last().unwrap(), "\"finished\"");
        assert!(text.contains(r#"{"capture":"progress","files":1,"bytes":2,"total":3,"sent":4}"#), "{text}");
    }
}
