//! What a machine's console or a daemon says: kept in memory for `expect`, and with times in a log file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use regex_lite::Regex;

/// How many lines of the end a failure shows.
const TAIL_LINES: usize = 25;

/// A growing text that can be waited on.
#[derive(Debug, Clone)]
pub struct Transcript {
    name: Arc<str>,
    shared: Arc<(Mutex<Text>, Condvar)>,
}

#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    /// Everything before it was matched by an earlier `expect`.
    cursor: usize,
    ended: bool,
}

impl Transcript {
    /// Follows `source` to its end in the background, writing each line with its time to `log`.
    pub(crate) fn follow(name: &str, mut source: impl Read + Send + 'static, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let transcript = Self { name: name.into(), shared: Arc::default() };
        let (writer, started) = (transcript.clone(), Instant::now());
        thread::spawn(move || {
            let mut lines = LineLog { log, line: Vec::new(), started };
            let mut filter = PlainText::default();
            let mut buffer = [0; 8192];
            // A read error is how a closed pseudo-terminal ends; both end the text.
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                let plain: Vec<u8> = buffer[..count].iter().copied().filter_map(|b| filter.keep(b)).collect();
                lines.add(&plain);
                writer.update(|text| text.bytes.extend(&plain));
            }
            lines.end();
            writer.update(|text| text.ended = true);
        });
        Ok(transcript)
    }

    /// Waits for text that matches `pattern` after the last match, and returns what matched.
    ///
    /// # Errors
    /// The pattern is not valid, the source ends or the deadline passes first; the end of the text is then shown.
    pub fn expect(&self, pattern: &str, limit: Duration) -> Result<String> {
        let regex = Regex::new(pattern).with_context(|| format!("pattern {pattern:?}"))?;
        let until = Instant::now() + limit;
        let mut text = self.lock();
        loop {
            let fresh = String::from_utf8_lossy(&text.bytes[text.cursor..]).into_owned();
            if let Some(found) = regex.find(&fresh) {
                // Lossy text can be longer than the bytes it stands for; never move past their end.
                text.cursor = (text.cursor + found.end()).min(text.bytes.len());
                return Ok(found.as_str().to_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            let reason = match (text.ended, left.is_zero()) {
                (true, _) => "it ended first".to_owned(),
                (false, true) => format!("not within {} s", limit.as_secs()),
                (false, false) => {
                    text = self.shared.1.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            };
            bail!("{}: waited for {pattern:?}: {reason}; its last lines:\n{}", self.name, tail(&text.bytes));
        }
    }

    /// All that was said so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// The last lines, for failure messages.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.lock().bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Text)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    kept.iter().map(|line| format!("  | {line}\n")).collect()
}

/// Writes whole lines with the seconds since the start before them.
struct LineLog {
    log: File,
    line: Vec<u8>,
    started: Instant,
}

impl LineLog {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end();
            } else {
                self.line.push(byte);
            }
        }
    }

    fn end(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let line = std::mem::take(&mut self.line);
        // A full disk must not end the run whose log this is.
        drop(writeln!(self.log, "[{seconds:8.2}] {}", String::from_utf8_lossy(&line)));
    }
}

/// Takes terminal control sequences and control bytes out of a console's output (ECMA-48, section 5.4).
#[derive(Debug, Default)]
enum PlainText {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC `[`: parameters until a byte from `@` to `~`.
    Sequence,
    /// After ESC and an intermediate byte such as `(`: one more byte.
    Designate,
}

impl PlainText {
    fn keep(&mut self, byte: u8) -> Option<u8> {
        let next = match (&*self, byte) {
            (_, 0x1b) => Self::Escape,
            (Self::Text, b'\n' | b'\t' | 0x20..=0x7e | 0x80..) => return Some(byte),
            (Self::Escape, b'[') => Self::Sequence,
            (Self::Escape, 0x20..=0x2f) => Self::Designate,
            (Self::Sequence, 0x20..=0x3f) => Self::Sequence,
            (Self::Text | Self::Escape | Self::Sequence | Self::Designate, _) => Self::Text,
        };
        *self = next;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn follow(text: &'static [u8]) -> (Transcript, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Transcript::follow("test", text, &dir.path().join("log")).unwrap(), dir)
    }

    #[test]
    fn each_expectation_starts_where_the_last_one_matched() {
        let (text, _dir) = follow(b"login: one\nlogin: two\n");
        assert_eq!(text.expect("login: [a-z]+", SOON).unwrap(), "login: one");
        assert_eq!(text.expect("login: [a-z]+", SOON).unwrap(), "login: two");
        let error = text.expect("login: [a-z]+", SOON).unwrap_err().to_string();
        assert!(error.contains("ended first") && error.contains("| login: two"), "{error}");
    }

    #[test]
    fn terminal_sequences_are_not_part_of_the_text() {
        let (text, dir) = follow(b"\x1b[0;1;39mStarted\x1b[0m \x1b(Bssh\r\n\x07end");
        text.expect("end", SOON).unwrap();
        assert_eq!(text.text(), "Started ssh\nend");
        let ended = || Ok(text.lock().ended.then_some(()));
        crate::lab::wait::until("the end", SOON, ended).unwrap();
        assert!(std::fs::read_to_string(dir.path().join("log")).unwrap().contains("] Started ssh\n"));
    }
}
