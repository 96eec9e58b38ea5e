//! Matches device aliases (`pci:v00001AF4d…`) with the patterns of `modules.alias`, as fnmatch(3) does for the
//! characters that occur there: `*`, `?`, `[…]` and everything else for itself.

/// Whether all of `text` matches `pattern`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after a star has to take one byte more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        let step = match text.get(t) {
            None if p == pattern.len() => return true,
            None => return false,
            Some(byte) => match_one(&pattern[p..], *byte),
        };
        match (step, retry) {
            (Some(width), _) => (p, t) = (p + width, t + 1),
            (None, Some((after, from))) => {
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, None) => return false,
        }
    }
}

/// How many pattern bytes take this byte; none when they do not.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let end = pattern.iter().position(|b| *b == b']')?;
            in_set(&pattern[1..end], byte).then_some(end + 1)
        }
        exact => (exact == byte).then_some(1),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    match set {
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || in_set(rest, byte),
        [one, rest @ ..] => *one == byte || in_set(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_from_real_alias_files_match() {
        for (pattern, alias, expected) in [
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("virtio:d00000002v*", "virtio:d00000001v00001AF4", false),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true),
            ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", false),
            (
                "usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*",
                "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
                true,
            ),
            ("usb:v0409p0[0-3]5Ad*", "usb:v0409p025Ad0100", true),
            ("usb:v0409p0[0-3]5Ad*", "usb:v0409p045Ad0100", false),
            ("acpi*:PNP0501:*", "acpi:PNP0501:", true),
            ("acpi*:PNP0501:*", "acpi:PNP0500:", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a[x", "a[x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), alias.as_bytes()), expected, "{pattern} {alias}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!matches(b"*a*a*a*a*a*a*a*a*a*b", &[b'a'; 4000]));
    }
}
