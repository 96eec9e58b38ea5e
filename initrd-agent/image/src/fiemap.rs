//! Asks the kernel where a file has room that was reserved and never written (`fallocate(1)`): it reads as zeros, and
//! looking for data or holes does not tell it from a hole.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{self, Opcode};

/// Records that are asked for at a time.
const AT_ONCE: usize = 64;

/// `FIEMAP_EXTENT_LAST` and `FIEMAP_EXTENT_UNWRITTEN` (linux/fiemap.h).
const LAST: u32 = 1;
const UNWRITTEN: u32 = 0x800;

/// `struct fiemap` without its records: what the size in the request's number is.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Header {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Record {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Request {
    header: Header,
    records: [Record; AT_ONCE],
}

const FIEMAP: Opcode = ioctl::opcode::read_write::<Header>(b'f', 11);

/// The ranges below `size` that are reserved but not written, in order; none where the file system does not tell.
pub(crate) fn unwritten(fd: BorrowedFd<'_>, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < size {
        let count = AT_ONCE as u32;
        let header = Header { start, length: size - start, count, ..Header::default() };
        let mut request = Request { header, records: [Record::default(); AT_ONCE] };
        match ask(fd, &mut request) {
            Ok(()) => {}
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        }
        let records = &request.records[..(request.header.mapped as usize).min(AT_ONCE)];
        for record in records.iter().filter(|record| record.flags & UNWRITTEN != 0) {
            let end = record.logical.saturating_add(record.length).min(size);
            if record.logical < end {
                found.push(record.logical..end);
            }
        }
        match records.last() {
            Some(last) if last.flags & LAST == 0 && last.length > 0 => start = last.logical + last.length,
            Some(_) | None => break,
        }
    }
    Ok(found)
}

#[expect(unsafe_code, reason = "rustix has no wrapper of this ioctl")]
fn ask(fd: BorrowedFd<'_>, request: &mut Request) -> rustix::io::Result<()> {
    // SAFETY: the kernel writes a header and at most as many records as the header counts, which are there.
    unsafe { ioctl::ioctl(fd, ioctl::Updater::<FIEMAP, Request>::new(request)) }
}

/// `ranges` without what `taken` holds; both in order.
pub(crate) fn without(ranges: Vec<Range<u64>>, taken: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for Range { mut start, end } in ranges {
        for other in taken {
            if other.start >= end {
                break;
            }
            if start < other.start {
                left.push(start..other.start);
            }
            start = start.max(other.end);
        }
        if start < end {
            left.push(start..end);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_data_is_not_reserved() {
        let taken = [10..20, 30..40, 90..95];
        assert_eq!(without(vec![0..50, 60..70, 90..94], &taken), [0..10, 20..30, 40..50, 60..70]);
        assert_eq!(without(vec![12..15, 35..60, 94..99], &taken), [40..60, 95..99]);
    }
}
