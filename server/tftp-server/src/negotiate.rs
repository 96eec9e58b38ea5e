//! Option negotiation (RFC 2347): what a request asks for, and what the server agrees to.

use crate::packet::RawOption;

/// Block size when none is negotiated (RFC 1350).
const DEFAULT_BLOCK: usize = 512;
/// Block sizes that can be asked for (RFC 2348).
const BLOCK_RANGE: std::ops::RangeInclusive<u64> = 8..=65464;
/// Blocks in flight at most. Beyond this nothing gets faster, and a boot ROM's receive ring overflows.
const MAX_WINDOW: u64 = 64;
/// Bytes in flight at most: what a default Linux receive buffer (208 KiB, counted with overhead) can hold.
const MAX_WINDOW_BYTES: u64 = 128 * 1024;

/// What both sides keep to during one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Bytes in each block but the last.
    pub block_size: usize,
    /// Blocks sent before an acknowledgement is awaited.
    pub window: u64,
    /// The retransmission interval in seconds that the client proposed (RFC 2349).
    pub timeout: Option<u8>,
    /// The client wanted to know the file's size.
    pub size_asked: bool,
    /// Options to acknowledge, with their values; empty means that there is no OACK.
    pub accepted: Vec<(&'static str, u64)>,
}

/// Decides on `options` for a file of `size` bytes, where no block may be longer than `largest_block`.
/// Unknown options, repeated ones and values out of range are ignored, as RFC 2347 wants.
pub(crate) fn negotiate(options: &[RawOption<'_>], size: u64, largest_block: usize) -> Terms {
    let block_size = number(options, "blksize")
        .filter(|n| n >= BLOCK_RANGE.start())
        .map(|n| n.min(*BLOCK_RANGE.end()).min(largest_block as u64).max(*BLOCK_RANGE.start()));
    let block = block_size.unwrap_or(DEFAULT_BLOCK as u64);
    let window = number(options, "windowsize")
        .filter(|n| (1..=65535).contains(n))
        .map(|n| n.min(MAX_WINDOW).min(MAX_WINDOW_BYTES / block).max(1));
    let timeout = number(options, "timeout").filter(|n| (1..=255).contains(n));
    // curl ends the transfer when it is told the size 0; without the option it finds the file empty by itself.
    let tsize = number(options, "tsize").map(|_| size).filter(|size| *size > 0);

    let mut accepted = Vec::new();
    for (name, value) in
        [("blksize", block_size), ("timeout", timeout), ("tsize", tsize), ("windowsize", window)]
    {
        accepted.extend(value.map(|value| (name, value)));
    }
    Terms {
        block_size: usize::try_from(block).expect("a block is at most 65464 bytes"),
        window: window.unwrap_or(1),
        timeout: timeout.and_then(|n| u8::try_from(n).ok()),
        size_asked: tsize.is_some(),
        accepted,
    }
}

/// The first option called `name`, in any case, if its value is a decimal number.
fn number(options: &[RawOption<'_>], name: &str) -> Option<u64> {
    let (_, value) = options.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))?;
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(options: &[(&str, &str)]) -> Terms {
        let raw: Vec<RawOption<'_>> = options.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        negotiate(&raw, 1_000_000, 1468)
    }

    #[test]
    fn each_option_is_accepted_within_its_bounds_and_ignored_outside() {
        for (name, value, accepted) in [
            ("blksize", "512", Some(512)),
            ("BlkSize", "8", Some(8)),
            ("blksize", "7", None),
            ("blksize", "1468", Some(1468)),
            ("blksize", "65464", Some(1468)),
            ("blksize", "99999", Some(1468)),
            ("blksize", "-1", None),
            ("blksize", "+512", None),
            ("blksize", "", None),
            ("blksize", "99999999999999999999999", None),
            ("timeout", "1", Some(1)),
            ("timeout", "255", Some(255)),
            ("timeout", "0", None),
            ("timeout", "256", None),
            ("tsize", "0", Some(1_000_000)),
            ("tsize", "77", Some(1_000_000)),
            ("tsize", "x", None),
            ("windowsize", "1", Some(1)),
            ("windowsize", "16", Some(16)),
            ("windowsize", "65535", Some(64)),
            ("windowsize", "0", None),
            ("windowsize", "65536", None),
            ("multicast", "", None),
        ] {
            let terms = agreed(&[(name, value)]);
            assert_eq!(terms.accepted.first().map(|(_, v)| *v), accepted, "{name}={value}");
        }
    }

    #[test]
    fn the_size_of_an_empty_file_is_not_told() {
        let options = [(&b"tsize"[..], &b"0"[..])];
        assert_eq!(negotiate(&options, 0, 1468).accepted, []);
    }

    #[test]
    fn without_options_the_first_rfc_applies() {
        let plain = Terms { block_size: 512, window: 1, timeout: None, size_asked: false, accepted: vec![] };
        assert_eq!(agreed(&[]), plain);
    }

    #[test]
    fn the_bytes_in_flight_are_bounded() {
        let options = [(&b"blksize"[..], &b"65464"[..]), (b"windowsize", b"64")];
        assert_eq!(negotiate(&options, 1, 65464).window, 2);
    }

    #[test]
    fn of_a_repeated_option_the_first_counts() {
        assert_eq!(agreed(&[("blksize", "1024"), ("blksize", "2048")]).block_size, 1024);
    }
}
