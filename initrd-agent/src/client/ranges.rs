//! Ranges of files over HTTP/1.1 (RFC 9110, 9112), on connections that are kept. Most of a deployment passes through
//! here. The socket wakes this process for a MiB at a time instead of for every segment: the server, which has to
//! do the waking, needs a third less processor time for it, and bytes go from the kernel to where they are wanted.

use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::low_water::set_low_water;

/// A connection that is not made in this time is tried again.
const CONNECT: Duration = Duration::from_secs(10);
/// A peer that sends or takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(30);
/// How often a waiting call looks whether it is still wanted.
const TICK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// The process is woken for so many bytes, or for the last ones.
const WAKE_BYTES: usize = 1 << 20;
/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Most headers of an answer.
const MAX_HEADERS: usize = 64;

/// Connections to sources, each used by one call at a time.
pub(super) struct Connections {
    idle: Mutex<Vec<(String, TcpStream)>>,
    stop: Arc<AtomicBool>,
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) length: Option<u64>,
    pub(super) content_range: Option<String>,
    /// Whether the connection serves another request after this.
    keep: bool,
}

/// An answer whose body is still to be read.
pub(super) struct Answer<'a> {
    pub(super) head: Head,
    connections: &'a Connections,
    host: String,
    stream: TcpStream,
    /// What came together with the head.
    begun: Vec<u8>,
}

impl Connections {
    /// No connections yet; setting `stop` ends every call.
    pub(super) fn new(stop: Arc<AtomicBool>) -> Self {
        Self { idle: Mutex::new(Vec::new()), stop }
    }

    /// Asks for `range` of `url` (`http://host[:port]/path`); without a range for its head alone.
    ///
    /// # Errors
    /// The source cannot be reached, says nothing, or nothing that is HTTP.
    pub(super) fn ask(&self, url: &str, range: Option<&Range<u64>>) -> io::Result<Answer<'_>> {
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("packs are fetched by http:// only"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (method, range) = match range {
            Some(range) => ("GET", format!("Range: bytes={}-{}\r\n", range.start, range.end - 1)),
            None => ("HEAD", String::new()),
        };
        let agent = concat!("sysclone-agent/", env!("CARGO_PKG_VERSION"));
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n{range}\r\n");
        if let Some(stream) = self.idle(host) {
            // The source may have closed it meanwhile; that is no reason to go to another one.
            if let Ok(answer) = self.exchange(host, stream, &request) {
                return Ok(answer);
            }
            // The others are no better.
            self.lock().retain(|(of, _)| of != host);
        }
        self.exchange(host, connect(host)?, &request)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, TcpStream)>> {
        // Every change of it is one call, so a panic elsewhere leaves it whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self, host: &str) -> Option<TcpStream> {
        let mut idle = self.lock();
        let at = idle.iter().rposition(|(of, _)| of == host)?;
        Some(idle.remove(at).1)
    }

    fn exchange(&self, host: &str, mut stream: TcpStream, request: &str) -> io::Result<Answer<'_>> {
        stream.write_all(request.as_bytes())?;
        let mut begun = Vec::with_capacity(MAX_HEAD_BYTES);
        set_low_water(&stream, 1)?;
        loop {
            self.receive(&stream, &mut begun)?;
            if let Some((head, length)) = parse(&begun)? {
                begun.drain(..length);
                return Ok(Answer { head, connections: self, host: host.to_owned(), stream, begun });
            }
            if begun.len() >= MAX_HEAD_BYTES {
                return Err(wrong("the answer's head does not end"));
            }
        }
    }

    /// Appends at least one byte to `bytes`, at most as many as there is room for.
    fn receive(&self, stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
        let began = Instant::now();
        loop {
            match poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // Also when too little is there to be woken: whatever came within a second is taken.
            match recv(stream, spare_capacity(bytes), RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the job was withdrawn"));
            }
            if began.elapsed() >= STALLED {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

impl Answer<'_> {
    /// Appends the body, which must be `missing` bytes long, to `bytes`. What came stays there when it breaks off.
    ///
    /// # Errors
    /// The body has another length, the connection ended, or nothing came for too long.
    pub(super) fn read(mut self, missing: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        if self.head.length != Some(missing) || self.begun.len() as u64 > missing {
            return Err(wrong("the answer has another length than was asked for"));
        }
        let end = bytes.len() + usize::try_from(missing).map_err(io::Error::other)?;
        bytes.append(&mut self.begun);
        bytes.reserve_exact(end - bytes.len());
        while bytes.len() < end {
            let rest = end - bytes.len();
            set_low_water(&self.stream, rest.min(WAKE_BYTES))?;
            self.connections.receive(&self.stream, bytes)?;
            if bytes.len() > end {
                bytes.truncate(end);
                return Err(wrong("the source says more than it was asked for"));
            }
        }
        self.done();
        Ok(())
    }

    /// Keeps the connection for the next call; nothing of the body may be left.
    pub(super) fn done(self) {
        if self.head.keep && self.begun.is_empty() {
            self.connections.lock().push((self.host, self.stream));
        }
    }
}

fn wrong(sentence: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence)
}

fn connect(host: &str) -> io::Result<TcpStream> {
    let port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let addresses = if port { host.to_socket_addrs()? } else { format!("{host}:80").to_socket_addrs()? };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(STALLED))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The head in `bytes` and its length, once it is whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let close = header("connection").is_some_and(|words| words.to_ascii_lowercase().contains("close"));
    let head = Head {
        status: response.code.unwrap_or(0),
        length: header("content-length").and_then(|digits| digits.parse().ok()),
        content_range: header("content-range").map(str::to_owned),
        keep: response.version == Some(1) && !close,
    };
    Ok(Some((head, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_when_they_are_whole() {
        let text =
            b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\nContent-Range: bytes 0-4/9\r\n\r\nhello";
        for end in 0..text.len() - 5 {
            assert_eq!(parse(&text[..end]).unwrap(), None, "{end}");
        }
        let range = Some("bytes 0-4/9".to_owned());
        let head = Head { status: 206, length: Some(5), content_range: range, keep: true };
        assert_eq!(parse(text).unwrap(), Some((head, text.len() - 5)));
        let closing = parse(b"HTTP/1.1 404 No\r\nConnection: Close\r\n\r\n").unwrap().unwrap().0;
        assert!(!closing.keep && closing.length.is_none());
        assert!(!parse(b"HTTP/1.0 200 Old\r\n\r\n").unwrap().unwrap().0.keep);
        assert!(parse(b"SSH-2.0-OpenSSH_9.2\r\n").is_err());
    }
}
