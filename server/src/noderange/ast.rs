//! What a noderange is made of, and how it is written back as text.

use std::fmt;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::names::Word;
use super::{RangeError, parse};

/// A parsed noderange. Its `Display` is a text that parses to the same range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    pub(super) terms: Vec<Term>,
}

/// One part of a union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// Taken away from the union instead of added to it.
    pub(super) exclude: bool,
    /// What the nodes must all be in; never empty.
    pub(super) atoms: Vec<Atom>,
}

/// The smallest part that stands for nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Atom {
    Nested(Range),
    Word(Word),
    Matching(Pattern),
    File(PathBuf),
    Select(Select),
}

/// A comparison of an attribute, which chooses nodes (`mgt==ipmi`) or objects of another type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// Attribute name as written; what `table.attr` and short names stand for is the source's to know.
    pub attribute: String,
    /// The comparison.
    pub operator: Operator,
    pub(super) value: String,
    /// Set for the two operators that match.
    pub(super) pattern: Option<Pattern>,
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

/// A compiled regular expression that remembers how it was written.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) text: String,
    pub(super) regex: Regex,
}

impl Pattern {
    /// An expression that matches anywhere.
    pub(super) fn new(text: &str) -> Result<Self, RangeError> {
        Self::compile(text, text)
    }

    /// An expression that must match the whole.
    pub(super) fn whole(text: &str) -> Result<Self, RangeError> {
        // Compiled on its own first: `a)(b` is only valid inside the anchoring group.
        Self::compile(text, text)?;
        Self::compile(text, &format!("^(?:{text})$"))
    }

    fn compile(text: &str, expression: &str) -> Result<Self, RangeError> {
        let regex = Regex::new(expression).map_err(|error| {
            let message = error.to_string();
            let last = message.lines().last().unwrap_or_default();
            RangeError::Regex {
                text: text.to_owned(),
                reason: last.strip_prefix("error: ").unwrap_or(last).to_owned(),
            }
        })?;
        Ok(Self { text: text.to_owned(), regex })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Pattern {}

impl Select {
    /// Whether an attribute of this value is chosen. An unset attribute counts as the empty text.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        let matches = || self.pattern.as_ref().is_some_and(|p| p.regex.is_match(value));
        match self.operator {
            Operator::Equal => value == self.value,
            Operator::NotEqual => value != self.value,
            Operator::Matches => matches(),
            Operator::MatchesNot => !matches(),
        }
    }
}

impl Range {
    /// Replaces every `^file` by the ranges in that file: one per line; what follows a blank is a comment, lines
    /// that start with `#` or `^` are left out, and a colon at a name's end is dropped, so that saved output of
    /// other commands (`n1: on`) can be used.
    ///
    /// # Errors
    /// A file cannot be read, or a line in it is not a range.
    pub fn with_files(
        self,
        read: &mut dyn FnMut(&Path) -> std::io::Result<String>,
    ) -> Result<Self, RangeError> {
        let mut terms = Vec::with_capacity(self.terms.len());
        for Term { exclude, atoms } in self.terms {
            let atoms = atoms
                .into_iter()
                .map(|atom| match atom {
                    Atom::File(path) => read_nodes(path, read).map(Atom::Nested),
                    Atom::Nested(range) => range.with_files(read).map(Atom::Nested),
                    Atom::Word(_) | Atom::Matching(_) | Atom::Select(_) => Ok(atom),
                })
                .collect::<Result<_, _>>()?;
            terms.push(Term { exclude, atoms });
        }
        Ok(Self { terms })
    }
}

fn read_nodes(
    path: PathBuf,
    read: &mut dyn FnMut(&Path) -> std::io::Result<String>,
) -> Result<Range, RangeError> {
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) => return Err(RangeError::Unreadable { path, reason: error.to_string() }),
    };
    let mut terms = Vec::new();
    for line in text.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if !line.starts_with(['#', '^']) && !word.starts_with('#') {
            terms.extend(parse::parse(word.trim_end_matches(':'))?.terms);
        }
    }
    // A line may not bring in another file: what `^` names is only what the person typed.
    Range { terms }.with_files(&mut |_| Ok(String::new()))
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            write!(f, "{term}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.exclude { "-" } else { "" })?;
        for (index, atom) in self.atoms.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "@" })?;
            write!(f, "{atom}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nested(range) => write!(f, "({range})"),
            Self::Word(word) => write!(f, "{}", word.text),
            Self::Matching(pattern) => write!(f, "/{}/", pattern.text),
            Self::File(path) => write!(f, "^{}", path.display()),
            Self::Select(select) => write!(f, "{select}"),
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = &self.value;
        match self.operator {
            Operator::Equal => write!(f, "{}=={value}", self.attribute),
            Operator::NotEqual => write!(f, "{}!={value}", self.attribute),
            Operator::Matches => write!(f, "{}=~/{value}/", self.attribute),
            Operator::MatchesNot => write!(f, "{}!~/{value}/", self.attribute),
        }
    }
}
