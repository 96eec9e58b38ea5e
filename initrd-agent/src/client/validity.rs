//! Reads the day from which an X.509 certificate is valid (RFC 5280, section 4.1.2.5), and nothing else of it.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds since the epoch at which the DER certificate's validity begins; none when the bytes are not a certificate
/// or the day is before 1970.
pub(super) fn not_before(certificate: &[u8]) -> Option<u64> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (body, _) = expect(certificate, SEQUENCE)?;
    let after_version = match expect(body, EXPLICIT_VERSION) {
        Some((_, rest)) => rest,
        None => body,
    };
    let (_, after_serial) = expect(after_version, INTEGER)?;
    let (_, after_algorithm) = expect(after_serial, SEQUENCE)?;
    let (_, after_issuer) = expect(after_algorithm, SEQUENCE)?;
    let (validity, _) = expect(after_issuer, SEQUENCE)?;
    let (tag, text, _) = value(validity)?;
    parse_time(tag, text)
}

/// The value of the next element when it has this tag, and what follows it.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = value(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag, value and rest of one DER element with a length of at most four bytes.
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn parse_time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year, rest) = match (tag, digits.len()) {
        // RFC 5280: two-digit years from 50 on are of the twentieth century.
        (UTC_TIME, 12) => match number(&digits[..2]) {
            year @ 50.. => (1900 + year, &digits[2..]),
            year => (2000 + year, &digits[2..]),
        },
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let mut pairs = rest.chunks(2).map(number);
    let mut next = || pairs.next().unwrap_or_default();
    let (month, day, hour, minute, second) = (next(), next(), next(), next(), next());
    let days = days_from_epoch(year, month, day)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

/// Days between 1970-01-01 and a day of the Gregorian calendar.
fn days_from_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last day of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // 719,468 days lie between the first of March of the year 0 and the epoch; January 1970 counts as 1969 here.
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_date_counts_them() {
        // date -u -d 2024-02-29 +%s, divided by 86400, and so on.
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((1970, 3, 1), 59),
            ((2000, 2, 29), 11016),
            ((2024, 2, 29), 19782),
            ((2026, 11, 23), 20780),
            ((4096, 1, 1), 776_506),
        ] {
            assert_eq!(days_from_epoch(date.0, date.1, date.2), Some(days), "{date:?}");
        }
        assert_eq!(days_from_epoch(1969, 12, 31), None);
    }

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(parse_time(UTC_TIME, b"700101000001Z"), Some(1));
        assert_eq!(parse_time(UTC_TIME, b"240229000000Z"), Some(1_709_164_800));
        assert_eq!(parse_time(GENERALIZED_TIME, b"20240229000000Z"), Some(1_709_164_800));
        for bad in [&b"240229000000"[..], b"24022900000aZ", b"", b"Z", b"19691231235959Z"] {
            assert_eq!(parse_time(GENERALIZED_TIME, bad), None);
        }
    }

    #[test]
    fn a_real_certificate_says_when_it_begins() {
        let mut params = rcgen::CertificateParams::new(vec!["host".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2031, 5, 6);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(not_before(certificate.der()), Some(1_935_792_000));
    }

    #[test]
    fn other_bytes_are_no_certificate() {
        let mut params = rcgen::CertificateParams::new(vec!["host".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2031, 5, 6);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        for cut in 0..100 {
            assert_eq!(not_before(&certificate.der()[..cut]), None);
        }
        assert_eq!(not_before(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
