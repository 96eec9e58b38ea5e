//! Tells whether a pattern fits a path.

use super::pattern::{Pattern, Token};

impl Pattern {
    pub(super) fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.directories_only && !is_directory {
            return false;
        }
        let head = &self.head[..];
        if self.anchored {
            let rest = path.strip_prefix(head);
            return rest.is_some_and(|rest| matches(&self.tokens[head.len()..], rest));
        }
        if head.len() == self.tokens.len() {
            let before = path.strip_suffix(head);
            return before.is_some_and(|before| before.is_empty() || before.ends_with(b"/"));
        }
        // A leading `**` also stands for the root, which has a slash before its names like every directory.
        if self.tokens.first() == Some(&Token::DoubleStar) {
            return matches(&self.tokens, &[b"/", path].concat());
        }
        let starts = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i + 1);
        std::iter::once(0).chain(starts).any(|start| matches(&self.tokens, &path[start..]))
    }
}

/// A place to come back to: the token after a star, and how far the star has reached.
type Mark = Option<(usize, usize)>;

/// Matches with two marks to come back to: the last `*`, and the last `**`. Time is at most pattern × path per
/// `**` in the pattern.
fn matches(tokens: &[Token], path: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let (mut star, mut double): (Mark, Mark) = (None, None);
    loop {
        let advanced = match (tokens.get(token), path.get(at)) {
            (None, None) => return true,
            (Some(Token::Star), _) => {
                star = Some((token + 1, at));
                token += 1;
                continue;
            }
            (Some(Token::DoubleStar), _) => {
                (star, double) = (None, Some((token + 1, at)));
                token += 1;
                continue;
            }
            (Some(Token::Byte(byte)), Some(found)) => byte == found,
            (Some(Token::AnyByte), Some(found)) => *found != b'/',
            (Some(Token::Set { negated, ranges }), Some(found)) => {
                *found != b'/' && ranges.iter().any(|(low, high)| (low..=high).contains(&found)) != *negated
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        if advanced {
            (token, at) = (token + 1, at + 1);
        } else if let Some((after, from)) =
            star.filter(|(_, from)| path.get(*from).is_some_and(|b| *b != b'/'))
        {
            star = Some((after, from + 1));
            (token, at) = (after, from + 1);
        } else if let Some((after, from)) = double.filter(|(_, from)| *from < path.len()) {
            (star, double) = (None, Some((after, from + 1)));
            (token, at) = (after, from + 1);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Excludes;

    /// Pattern, path, whether the path is a directory, whether it matches.
    const TABLE: &[(&str, &str, bool, bool)] = &[
        ("/etc/hostname", "etc/hostname", false, true),
        ("/etc/hostname", "chroot/etc/hostname", false, false),
        ("/etc/hostname", "etc/hostname2", false, false),
        ("hostname", "etc/hostname", false, true),
        ("hostname", "hostname", false, true),
        ("hostname", "etc/myhostname", false, false),
        ("etc/hostname", "chroot/etc/hostname", false, true),
        ("etc/hostname", "chroot/xetc/hostname", false, false),
        ("/tmp/*", "tmp/x", false, true),
        ("/tmp/*", "tmp/x", true, true),
        ("/tmp/*", "tmp", true, false),
        ("/tmp/*", "tmp/x/y", false, false),
        ("/var/lib/dhcp/*.lease*", "var/lib/dhcp/dhclient.leases", false, true),
        ("/var/lib/dhcp/*.lease*", "var/lib/dhcp/dhclient.conf", false, false),
        ("/etc/ssh/ssh_host_*", "etc/ssh/ssh_host_rsa_key.pub", false, true),
        ("/a/**/z", "a/b/c/z", false, true),
        ("/a/**/z", "a/z", false, false),
        ("/a/**", "a/b/c", false, true),
        ("/a/**", "a", true, false),
        ("**.o", "src/deep/x.o", false, true),
        ("**/x", "a/b/x", false, true),
        ("**/x", "x", false, true),
        ("*a*b*c*", "xxaxxbxxcxx", false, true),
        ("*a*b*c*", "xxaxxcxxbxx", false, false),
        ("/**a*b/c", "x/aa/ab/ab/c", false, true),
        ("cache/", "var/cache", true, true),
        ("cache/", "var/cache", false, false),
        ("/x/***", "x", true, true),
        ("/x/***", "x/y/z", false, true),
        ("/x/***", "xy", true, false),
        ("/data/[0-9]*", "data/7x", false, true),
        ("/data/[!0-9]", "data/7", false, false),
        ("/data/[^0-9]", "data/a", false, true),
        ("/data/[]x]", "data/]", false, true),
        ("/data/[a-]", "data/-", false, true),
        ("/a[/]b", "a/b", false, false),
        ("/?", "a", false, true),
        ("/a?b", "a/b", false, false),
        ("/a\\*", "a*", false, true),
        ("/a\\*", "ab", false, false),
        ("/a\\b", "a\\b", false, true),
        ("/a\\b*", "ab", false, true),
        ("[[:digit:]x]", "7", false, true),
        ("[[:digit:]x]", "y", false, false),
        ("[\\]a]", "]", false, true),
        ("[a-\\]]", "b", false, false),
        ("//double", "double", false, true),
    ];

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, path, is_directory, expected) in TABLE {
            let excludes = Excludes::parse([pattern]).unwrap();
            assert_eq!(excludes.matches(path.as_bytes(), *is_directory), *expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn names_need_not_be_text() {
        assert!(Excludes::parse(["/a/*"]).unwrap().matches(b"a/\xff\xfe", false));
        assert!(Excludes::parse(["/a/?"]).unwrap().matches(b"a/\xff", false));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let path = vec![b'a'; 5000];
        assert!(!Excludes::parse(["*a*a*a*a*a*a*a*a*b"]).unwrap().matches(&path, false));
        assert!(!Excludes::parse(["**a**a**a**a**a**b"]).unwrap().matches(&path, false));
    }
}
