//! What a capture leaves out: rules in the manner of rsync's `--exclude`, judged by rsync itself in the tests.
//!
//! The first rule whose pattern matches a name decides: `- PATTERN` or plain `PATTERN` leaves it out, `+ PATTERN`
//! keeps it. What no rule matches is kept.
//!
//! | pattern | matches |
//! |---|---|
//! | `/etc/x` | `etc/x` at the root (anchored) |
//! | `x`, `a/x` | a path that ends in it, at any depth |
//! | `x/` | directories only |
//! | `*` | any bytes but `/` |
//! | `**` | any bytes |
//! | `?` | one byte but `/` |
//! | `[a-z]`, `[!a-z]`, `[[:digit:]]` | one byte of (not of) a set, never `/` |
//! | `\*` | the byte itself; a backslash is plain in a pattern without `*`, `?` and `[` |
//! | `x/***` | `x` and all in it |
//!
//! What is inside an excluded directory is excluded with it, whatever rule would keep it; a directory whose content is
//! excluded (`x/*`) stays, empty.

mod matching;
mod pattern;

use sysclone_protocol::identity::{IDENTITY, Treatment};

use pattern::{Pattern, parse_patterns};

/// Content that exists only while a system runs. The directories themselves are kept.
pub const VOLATILE: &[&str] = &["/proc/*", "/sys/*", "/run/*", "/tmp/*", "/var/tmp/*"];

/// Why a pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExcludeError {
    /// It is empty, or nothing but slashes: it would match everything or nothing.
    #[error("the exclude pattern '{0}' names nothing")]
    Empty(String),
    /// A `[` without its `]`, a set with nothing in it, or a class that there is not.
    #[error("the exclude pattern '{0}' has a '[' without its ']', or a class of bytes that is not known")]
    Set(String),
    /// A backslash with nothing after it.
    #[error("the exclude pattern '{0}' ends in a backslash")]
    Escape(String),
}

/// A pattern and what becomes of what it matches.
#[derive(Debug, Clone)]
struct Rule {
    keeps: bool,
    patterns: Vec<Pattern>,
}

/// A list of rules.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    texts: Vec<String>,
    rules: Vec<Rule>,
    /// The rules that can match a path, by its first byte: most are about one directory at the root.
    by_first: Vec<Vec<u32>>,
}

impl Excludes {
    /// Reads rules.
    ///
    /// # Errors
    /// One of them is malformed.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, ExcludeError> {
        let mut excludes = Self::default();
        for text in texts {
            let text = text.as_ref();
            let (keeps, pattern) = match (text.strip_prefix("+ "), text.strip_prefix("- ")) {
                (Some(pattern), _) => (true, pattern),
                (None, Some(pattern)) => (false, pattern),
                (None, None) => (false, text),
            };
            excludes.rules.push(Rule { keeps, patterns: parse_patterns(pattern)? });
            excludes.texts.push(text.to_owned());
        }
        excludes.by_first = (0..=u8::MAX).map(|first| excludes.about(first)).collect();
        Ok(excludes)
    }

    /// What every capture goes by: the identity list but for files that are edited, then `more`, then [`VOLATILE`].
    /// A rule of `more` can keep something volatile, but nobody's identity.
    ///
    /// # Errors
    /// One of `more` is malformed.
    pub fn for_capture(more: &[String]) -> Result<Self, ExcludeError> {
        let identity = IDENTITY.iter().filter(|item| match item.treatment {
            Treatment::Dropped | Treatment::Made | Treatment::Added => true,
            Treatment::Edited => false,
        });
        let identity = identity.map(|item| item.pattern);
        Self::parse(identity.chain(more.iter().map(String::as_str)).chain(VOLATILE.iter().copied()))
    }

    /// The rules that can match a path with this first byte, in their order.
    fn about(&self, first: u8) -> Vec<u32> {
        let can = |pattern: &Pattern| {
            !pattern.anchored || pattern.head.first().is_none_or(|literal| *literal == first)
        };
        let rules = self.rules.iter().zip(0..);
        rules.filter(|(rule, _)| rule.patterns.iter().any(can)).map(|(_, number)| number).collect()
    }

    /// The rules as they were written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Whether the path (from the root, without a leading slash) is left out, if the directories above it are not.
    #[must_use]
    pub fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        self.deciding(path, is_directory).is_some_and(|rule| !self.rules[rule].keeps)
    }

    /// The number of the rule that decides about a path, if the directories above it are not left out.
    #[must_use]
    pub fn deciding(&self, path: &[u8], is_directory: bool) -> Option<usize> {
        let fits = |rule: &Rule| rule.patterns.iter().any(|pattern| pattern.matches(path, is_directory));
        let candidates = self.by_first.get(usize::from(*path.first()?))?;
        candidates.iter().map(|rule| *rule as usize).find(|rule| fits(&self.rules[*rule]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let excludes = Excludes::parse(["+ /var/keep", "/var/*", "- *.o", "+ *"]).unwrap();
        for (path, left_out) in
            [("var/keep", false), ("var/other", true), ("src/a.o", true), ("src/a.c", false), ("var", false)]
        {
            assert_eq!(excludes.matches(path.as_bytes(), false), left_out, "{path}");
        }
        assert_eq!(excludes.texts(), ["+ /var/keep", "/var/*", "- *.o", "+ *"]);
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
    fn a_rule_can_keep_what_is_volatile_but_nobodys_identity() {
        let excludes = Excludes::for_capture(&["+ /var/tmp/data".into(), "+ *".into()]).unwrap();
        assert!(!excludes.matches(b"var/tmp/data", true));
        assert!(excludes.matches(b"etc/machine-id", false));
    }
}
