//! Exclude patterns in the manner of rsync.
//!
//! | pattern | matches |
//! |---|---|
//! | `/etc/x` | `etc/x` at the root (anchored) |
//! | `x`, `a/x` | a path that ends in it, at any depth |
//! | `x/` | directories only |
//! | `*` | any bytes but `/` |
//! | `**` | any bytes |
//! | `?` | one byte but `/` |
//! | `[a-z]`, `[!a-z]` | one byte of (not of) a set, never `/` |
//! | `\*` | the byte itself |
//! | `x/***` | `x` and all in it |
//!
//! What is inside an excluded directory is excluded with it; a directory whose content is excluded (`x/*`) stays,
//! empty.

use sysclone_protocol::identity::{IDENTITY, Treatment};

/// Content that exists only while a system runs. The directories themselves are kept.
pub const VOLATILE: &[&str] = &["/proc/*", "/sys/*", "/run/*", "/tmp/*", "/var/tmp/*"];

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExcludeError {
    /// It is empty, or nothing but slashes: it would match everything or nothing.
    #[error("the exclude pattern '{0}' names nothing")]
    Empty(String),
    /// A `[` without its `]`, or a set with nothing in it.
    #[error("the exclude pattern '{0}' has a '[' without its ']'")]
    Set(String),
    /// A backslash with nothing after it.
    #[error("the exclude pattern '{0}' ends in a backslash")]
    Escape(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyByte,
    Set { negated: bool, ranges: Vec<(u8, u8)> },
    Star,
    DoubleStar,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    tokens: Vec<Token>,
    anchored: bool,
    directories_only: bool,
}

/// A list of patterns.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    texts: Vec<String>,
    patterns: Vec<Pattern>,
}

impl Excludes {
    /// Reads patterns.
    ///
    /// # Errors
    /// One of them is malformed.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, ExcludeError> {
        let mut excludes = Self::default();
        for text in texts {
            let text = text.as_ref();
            for pattern in parse_pattern(text)? {
                excludes.patterns.push(pattern);
            }
            excludes.texts.push(text.to_owned());
        }
        Ok(excludes)
    }

    /// What every capture leaves out: [`VOLATILE`], the identity list but for files that are edited, and `more`.
    ///
    /// # Errors
    /// One of `more` is malformed.
    pub fn for_capture(more: &[String]) -> Result<Self, ExcludeError> {
        let identity = IDENTITY.iter().filter(|item| match item.treatment {
            Treatment::Dropped | Treatment::Made | Treatment::Added => true,
            Treatment::Edited => false,
        });
        let built_in = VOLATILE.iter().copied().chain(identity.map(|item| item.pattern));
        Self::parse(built_in.chain(more.iter().map(String::as_str)))
    }

    /// The patterns as they were written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Whether the path (from the root, without a leading slash) is left out.
    #[must_use]
    pub fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(path, is_directory))
    }
}

impl Pattern {
    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.directories_only && !is_directory {
            return false;
        }
        if self.anchored {
            return matches(&self.tokens, path);
        }
        let starts = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i + 1);
        std::iter::once(0).chain(starts).any(|start| matches(&self.tokens, &path[start..]))
    }
}

/// `x/***` stands for two patterns; every other text for one.
fn parse_pattern(text: &str) -> Result<Vec<Pattern>, ExcludeError> {
    let Some(directory) = text.strip_suffix("/***") else { return Ok(vec![parse_one(text)?]) };
    Ok(vec![parse_one(&format!("{directory}/"))?, parse_one(&format!("{directory}/**"))?])
}

fn parse_one(text: &str) -> Result<Pattern, ExcludeError> {
    let bytes = text.as_bytes();
    let anchored = bytes.starts_with(b"/");
    let start = bytes.iter().position(|b| *b != b'/').ok_or_else(|| ExcludeError::Empty(text.to_owned()))?;
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(bytes.len(), |last| last + 1);
    let tokens = parse_tokens(&bytes[start..end], text)?;
    Ok(Pattern { tokens, anchored, directories_only: end < bytes.len() })
}

fn parse_tokens(mut rest: &[u8], text: &str) -> Result<Vec<Token>, ExcludeError> {
    let mut tokens = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        tokens.push(match first {
            b'*' if rest.first() == Some(&b'*') => {
                rest = &rest[1..];
                Token::DoubleStar
            }
            b'*' => Token::Star,
            b'?' => Token::AnyByte,
            b'[' => {
                let (set, after) = parse_set(rest).ok_or_else(|| ExcludeError::Set(text.to_owned()))?;
                rest = after;
                set
            }
            b'\\' => {
                let (&escaped, after) =
                    rest.split_first().ok_or_else(|| ExcludeError::Escape(text.to_owned()))?;
                rest = after;
                Token::Byte(escaped)
            }
            byte => Token::Byte(byte),
        });
    }
    Ok(tokens)
}

/// Reads a set after its `[`. A `]` directly after `[` or `[!` is a member, as in a shell.
fn parse_set(bytes: &[u8]) -> Option<(Token, &[u8])> {
    let negated = matches!(bytes.first(), Some(b'!' | b'^'));
    let body = &bytes[usize::from(negated)..];
    let end = 1 + body.get(1..)?.iter().position(|b| *b == b']')?;
    let mut ranges = Vec::new();
    let mut members = &body[..end];
    while let Some((&low, after)) = members.split_first() {
        members = match after {
            [b'-', high, rest @ ..] => {
                ranges.push((low, *high));
                rest
            }
            rest => {
                ranges.push((low, low));
                rest
            }
        };
    }
    Some((Token::Set { negated, ranges }, &body[end + 1..]))
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
    use super::*;

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
    fn malformed_patterns_are_refused() {
        assert_eq!(Excludes::parse([""]).unwrap_err(), ExcludeError::Empty(String::new()));
        assert_eq!(Excludes::parse(["//"]).unwrap_err(), ExcludeError::Empty("//".into()));
        assert_eq!(Excludes::parse(["/***"]).unwrap_err(), ExcludeError::Empty("/".into()));
        assert_eq!(Excludes::parse(["a[b"]).unwrap_err(), ExcludeError::Set("a[b".into()));
        assert_eq!(Excludes::parse(["a[]"]).unwrap_err(), ExcludeError::Set("a[]".into()));
        assert_eq!(Excludes::parse(["a\\"]).unwrap_err(), ExcludeError::Escape("a\\".into()));
    }

    #[test]
    fn a_capture_leaves_out_identity_and_volatile_content_but_keeps_edited_files() {
        let excludes = Excludes::for_capture(&["/swapfile".to_owned()]).unwrap();
        for path in
            ["etc/hostname", "etc/machine-id", "etc/ssh/ssh_host_ed25519_key", "tmp/x", "run/y", "swapfile"]
        {
            assert!(excludes.matches(path.as_bytes(), false), "{path}");
        }
        for path in ["etc/hosts", "etc/ssh/sshd_config", "tmp", "var/lib/sysclone"] {
            assert!(!excludes.matches(path.as_bytes(), true), "{path}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let path = vec![b'a'; 5000];
        assert!(!Excludes::parse(["*a*a*a*a*a*a*a*a*b"]).unwrap().matches(&path, false));
        assert!(!Excludes::parse(["**a**a**a**a**a**b"]).unwrap().matches(&path, false));
    }
}
