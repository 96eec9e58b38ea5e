//! Range requests (RFC 9110, section 14): one range, exactly.

use std::ops::Range;

/// What a request wants of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no range, or one that RFC 9110 says to ignore (malformed, or several).
    Whole,
    /// These bytes; never empty, never beyond the end.
    Part(Range<u64>),
    /// Bytes that are not there.
    Unsatisfiable,
}

/// Reads a `Range` header for a content of `length` bytes.
#[must_use]
pub fn parse_range(header: &str, length: u64) -> Wanted {
    let Some(spec) = strip_unit(header.trim()) else { return Wanted::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::Whole };
    match (number(first), number(last)) {
        (Some(Ok(first)), None) if last.trim().is_empty() => part(first, length.saturating_sub(1), length),
        (Some(Ok(first)), Some(Ok(last))) if first <= last => part(first, last, length),
        (None, Some(Ok(suffix))) if first.trim().is_empty() => match suffix.min(length) {
            0 => Wanted::Unsatisfiable,
            suffix => Wanted::Part(length - suffix..length),
        },
        // A first position that does not even fit 64 bits is past every end.
        (Some(Err(TooLarge)), _) => Wanted::Unsatisfiable,
        (Some(Ok(first)), Some(Err(TooLarge))) => part(first, u64::MAX, length),
        (None, Some(Err(TooLarge))) if length > 0 => Wanted::Part(0..length),
        _ => Wanted::Whole,
    }
}

fn part(first: u64, last: u64, length: u64) -> Wanted {
    if first >= length { Wanted::Unsatisfiable } else { Wanted::Part(first..last.min(length - 1) + 1) }
}

/// Units are compared without regard to case. Several ranges are answered with the whole content.
fn strip_unit(header: &str) -> Option<&str> {
    let (unit, spec) = header.split_once('=')?;
    (unit.eq_ignore_ascii_case("bytes") && !spec.contains(',')).then_some(spec)
}

struct TooLarge;

/// A number of digits only; none when there is something else.
fn number(text: &str) -> Option<Result<u64, TooLarge>> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().map_err(|_| TooLarge))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_exact() {
        use Wanted::{Part, Unsatisfiable, Whole};
        for (header, length, expected) in [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=0-9", 10, Part(0..10)),
            ("bytes=0-99", 10, Part(0..10)),
            ("bytes=9-", 10, Part(9..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-20", 10, Unsatisfiable),
            ("bytes=-1", 10, Part(9..10)),
            ("bytes=-99", 10, Part(0..10)),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Unsatisfiable),
            ("BYTES=1-2", 10, Part(1..3)),
            ("bytes= 1-2 ", 10, Part(1..3)),
            ("bytes=0-18446744073709551615", 10, Part(0..10)),
            ("bytes=0-99999999999999999999", 10, Part(0..10)),
            ("bytes=99999999999999999999-", 10, Unsatisfiable),
            ("bytes=-99999999999999999999", 10, Part(0..10)),
            ("bytes=5-4", 10, Whole),
            ("bytes=a-b", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=1", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("", 10, Whole),
        ] {
            assert_eq!(parse_range(header, length), expected, "{header} of {length}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_a_range_that_is_not_there(header in ".*", length: u64) {
            if let Wanted::Part(range) = parse_range(&header, length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }

        #[test]
        fn any_numbers_make_no_range_that_is_not_there(first: u64, last: u64, length: u64) {
            if let Wanted::Part(range) = parse_range(&format!("bytes={first}-{last}"), length) {
                prop_assert!(range.start == first && range.end <= length && range.end - 1 <= last);
            }
        }
    }
}
