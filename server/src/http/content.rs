//! The body of an answer, and how it goes onto a socket: bytes are written, files are sent by the kernel without
//! passing through this process.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise, sendfile};
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Sent in one go before other connections have their turn.
const SLICE: u64 = 2 << 20;
/// How far the disk reads ahead of the socket.
const AHEAD: u64 = 4 << 20;
/// A client that takes nothing for this long is gone. Targets with slow disks do pause while they write.
const STALL: Duration = Duration::from_secs(300);

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Content {
    /// None.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Part of a file.
    File(File, Range<u64>),
}

/// Sends an answer: its head, then its content.
///
/// # Errors
/// The client is gone or takes nothing, or the file cannot be read or is shorter than it was.
pub(super) async fn send_answer(stream: &TcpStream, head: &[u8], content: Content) -> io::Result<()> {
    match content {
        Content::Empty => send_bytes(stream, head, SendFlags::empty()).await,
        // Nothing would follow what MORE holds back.
        Content::Bytes(bytes) if bytes.is_empty() => send_bytes(stream, head, SendFlags::empty()).await,
        Content::File(_, range) if range.is_empty() => send_bytes(stream, head, SendFlags::empty()).await,
        Content::Bytes(bytes) => {
            send_bytes(stream, head, SendFlags::MORE).await?;
            send_bytes(stream, &bytes, SendFlags::empty()).await
        }
        Content::File(file, range) => {
            send_bytes(stream, head, SendFlags::MORE).await?;
            send_file(stream, Arc::new(file), range).await
        }
    }
}

async fn send_bytes(stream: &TcpStream, mut bytes: &[u8], flags: SendFlags) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = in_time(stream, || send(stream, bytes, flags | SendFlags::NOSIGNAL)).await?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

async fn send_file(stream: &TcpStream, file: Arc<File>, range: Range<u64>) -> io::Result<()> {
    let (mut offset, mut loaded) = (range.start, range.start);
    while offset < range.end {
        if offset == loaded {
            loaded = range.end.min(offset + SLICE);
            load(&file, loaded - 1..range.end).await?;
        }
        let count = usize::try_from(loaded - offset).expect("a slice fits into memory");
        let mut at = offset;
        let sent = in_time(stream, || sendfile(stream, &*file, Some(&mut at), count)).await?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += sent as u64;
    }
    Ok(())
}

/// Brings the start of `range` into memory, the end of the slice that is sent next, and asks for what follows: sending
/// from a disk would hold up every connection of this thread.
async fn load(file: &Arc<File>, range: Range<u64>) -> io::Result<()> {
    let mut byte = [0];
    let cached = preadv2(file, &mut [IoSliceMut::new(&mut byte)], range.start, ReadWriteFlags::NOWAIT);
    if cached.is_ok() {
        return Ok(());
    }
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let start = (range.start + 1).saturating_sub(SLICE);
        let length = range.end.min(range.start + AHEAD) - start;
        // Only advice: without it the disk is slower.
        let _ = fadvise(&file, start, NonZeroU64::new(length), Advice::WillNeed);
        rustix::io::pread(&file, &mut [0], range.start)
    });
    read.await.map_err(io::Error::other)?.map(drop).map_err(io::Error::from)
}

/// One call that writes to the socket, made when there is room in it.
async fn in_time(
    stream: &TcpStream,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let write = stream.async_io(Interest::WRITABLE, || call().map_err(io::Error::from));
    match tokio::time::timeout(STALL, write).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

    use super::*;

    /// What a client receives that reads slowly and in odd sizes.
    async fn received(content: Content) -> (Vec<u8>, io::Result<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let reader = std::thread::spawn(move || {
            let (mut all, mut piece) = (Vec::new(), [0; 7919]);
            loop {
                match client.read(&mut piece).unwrap() {
                    0 => return all,
                    count => all.extend_from_slice(&piece[..count]),
                }
            }
        });
        let result = send_answer(&server, b"head", content).await;
        drop(server);
        (reader.join().unwrap(), result)
    }

    fn pattern(length: u32) -> Vec<u8> {
        (0..length).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
    }

    #[tokio::test]
    async fn every_part_of_a_file_arrives_as_it_is() {
        let bytes = pattern(9_000_001);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        for range in [0..9_000_001, 0..1, 9_000_000..9_000_001, 524_287..524_289, 1_000_003..8_999_999] {
            file.seek(SeekFrom::Start(0)).unwrap();
            let (start, end) = (range.start as usize, range.end as usize);
            let (got, result) = received(Content::File(file.try_clone().unwrap(), range)).await;
            result.unwrap();
            assert!(got[..4] == *b"head" && got[4..] == bytes[start..end], "{start}..{end}");
        }
    }

    #[tokio::test]
    async fn bytes_arrive_as_they_are() {
        let bytes = Bytes::from(pattern(3_000_000));
        let (got, result) = received(Content::Bytes(bytes.clone())).await;
        result.unwrap();
        assert!(got[..4] == *b"head" && got[4..] == bytes[..]);
        assert_eq!(received(Content::Empty).await.0, b"head");
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&pattern(1000)).unwrap();
        let (got, result) = received(Content::File(file, 0..2000)).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(got.len(), 1004);
    }
}
