//! Packs over HTTP: ranged reads from several sources, uploads to the server.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sysclone_image::{Giver, PackBytes, PackId, PackSink, PackSource};

use super::api::Client;
use super::ranges::Connections;
use super::retry::{Backoff, Patience};
use super::sources::Sources;

/// A pack that every source says it does not have is asked for this often before it counts as missing, because a
/// cache may say so while its own server restarts.
const ROUNDS_WITHOUT: u32 = 3;

/// Reads packs from the best source that answers. A read that breaks off goes on where it stopped, at the next source.
pub struct HttpPacks {
    connections: Connections,
    urls: Vec<String>,
    sources: Mutex<Sources>,
    patience: Patience,
    stop: Arc<AtomicBool>,
}

/// What one attempt at one source came to.
enum Attempt {
    Complete,
    /// Broke off, or the source is away; what arrived is kept.
    Broken(String),
    /// The source does not have the pack.
    Without(String),
}

impl HttpPacks {
    /// Packs at the base URLs `sources` (`http://…`), best first. Setting `stop` ends every read with an error.
    #[must_use]
    pub fn new(sources: Vec<String>, patience: Patience, stop: Arc<AtomicBool>) -> Self {
        let urls: Vec<String> = sources.iter().map(|s| s.trim_end_matches('/').to_owned()).collect();
        let sources = Mutex::new(Sources::new(urls.len()));
        Self { connections: Connections::new(Arc::clone(&stop)), urls, sources, patience, stop }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        // Every change of it is one assignment, so a panic elsewhere leaves it whole.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries sources until `attempt` is complete; it gets a source's number and the pack's URL there.
    fn keep_trying(
        &self,
        pack: &PackId,
        avoid: &[usize],
        mut attempt: impl FnMut(usize, &str) -> Attempt,
    ) -> io::Result<()> {
        let (began, mut backoff, mut rounds_without) = (Instant::now(), Backoff::default(), 0);
        loop {
            let (mut without, mut reason) = (0, String::from("there is no source"));
            let order = self.sources().order(avoid, Instant::now());
            for index in order {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(io::Error::other("the job was withdrawn"));
                }
                let outcome = attempt(index, &format!("{}/{pack}", self.urls[index]));
                let (mut sources, now) = (self.sources(), Instant::now());
                match outcome {
                    Attempt::Complete => {
                        sources.answered(index, now);
                        return Ok(());
                    }
                    Attempt::Broken(why) => reason = why,
                    Attempt::Without(why) => {
                        without += 1;
                        reason = why;
                    }
                }
                sources.failed(index, now);
                tracing::debug!(%pack, reason, "a source did not give what it was asked for");
            }
            if without == self.urls.len() {
                rounds_without += 1;
                if rounds_without >= ROUNDS_WITHOUT {
                    return Err(io::Error::new(io::ErrorKind::NotFound, reason));
                }
            }
            if matches!(self.patience, Patience::For(limit) if began.elapsed() >= limit) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            self.wait(pack, &reason, backoff.pause());
        }
    }

    fn wait(&self, pack: &PackId, reason: &str, pause: Duration) {
        tracing::warn!(%pack, reason, pause_ms = pause.as_millis(), "pack not read yet, trying again");
        std::thread::sleep(pause);
    }
}

impl PackSource for HttpPacks {
    fn read(&self, pack: &PackId, range: Range<u64>) -> io::Result<Vec<u8>> {
        Ok(self.read_from(pack, range, &[])?.bytes)
    }

    fn read_from(&self, pack: &PackId, range: Range<u64>, avoid: &[Giver]) -> io::Result<PackBytes> {
        let wanted = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
        let mut read = PackBytes { bytes: Vec::with_capacity(wanted), parts: Vec::new() };
        if wanted == 0 {
            return Ok(read);
        }
        let avoid: Vec<usize> = avoid.iter().map(|giver| giver.0).collect();
        self.keep_trying(pack, &avoid, |index, url| {
            let begin = read.bytes.len();
            let attempt = read_more(&self.connections, url, &range, &mut read.bytes);
            if read.bytes.len() > begin {
                read.parts.push((begin, Giver(index)));
            }
            attempt
        })?;
        Ok(read)
    }

    fn givers(&self) -> usize {
        self.sources().count()
    }

    fn charge(&self, giver: Giver) {
        tracing::warn!(source = self.urls[giver.0], "a source gave bytes that are not the image's");
        self.sources().lied(giver.0, Instant::now());
    }

    fn size(&self, pack: &PackId) -> io::Result<u64> {
        let mut size = 0;
        self.keep_trying(pack, &[], |_, url| match self.connections.ask(url, None) {
            Err(error) => Attempt::Broken(format!("{url}: {error}")),
            Ok(answer) => match (answer.head.status, answer.head.length) {
                (200, Some(length)) => {
                    size = length;
                    answer.done();
                    Attempt::Complete
                }
                (status, _) => refused(url, status),
            },
        })?;
        Ok(size)
    }
}

/// Appends to `bytes` what is still missing of `range`.
fn read_more(connections: &Connections, url: &str, range: &Range<u64>, bytes: &mut Vec<u8>) -> Attempt {
    let missing = range.start + bytes.len() as u64..range.end;
    let answer = match connections.ask(url, Some(&missing)) {
        Ok(answer) => answer,
        Err(error) => return Attempt::Broken(format!("{url}: {error}")),
    };
    if answer.head.status != 206 {
        return refused(url, answer.head.status);
    }
    let expected = format!("bytes {}-{}/", missing.start, missing.end - 1);
    match &answer.head.content_range {
        Some(given) if given.starts_with(&expected) => {}
        given => return Attempt::Broken(format!("{url}: sent {given:?} when asked for {expected}")),
    }
    match answer.read(missing.end - missing.start, bytes) {
        Ok(()) => Attempt::Complete,
        Err(error) => Attempt::Broken(format!("{url}: {error}")),
    }
}

fn refused(url: &str, status: u16) -> Attempt {
    match status {
        403 | 404 | 410 | 416 => {
            Attempt::Without(format!("{url}: the source does not have it (status {status})"))
        }
        _ => Attempt::Broken(format!("{url}: status {status}")),
    }
}

/// Sends captured packs to the server.
pub struct UploadSink {
    client: Client,
}

impl UploadSink {
    /// Sends as `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl PackSink for UploadSink {
    fn put(&mut self, id: &PackId, bytes: Vec<u8>) -> io::Result<()> {
        self.client.put_pack(id, &bytes).map_err(io::Error::other)
    }
}
