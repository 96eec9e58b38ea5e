//! Attribute values that are computed from a node's name, as xCAT's Perl does: `/\z/-bmc/` and
//! `|\D+(\d+)|10.1.0.($1+0)|`. One such value at a group serves all its nodes.
//!
//! ```text
//! /regex/text/          the first match of regex in the name becomes text, as it is
//! |regex|text|          the same; what stands in parentheses is integer arithmetic over $1, $2…
//! |text|                the numbers in the name are $1, $2…, without their leading zeros
//! ```
//!
//! A name that the regex does not match is the value, as in Perl. An empty result leaves the attribute unset.

mod arithmetic;
#[cfg(test)]
mod tests;

use fancy_regex::{Captures, Regex, RegexBuilder};

use arithmetic::calculate;

/// Steps that a regex may go back. Node names are short; what needs more is a mistake that would hold up every boot.
const BACKTRACK_LIMIT: usize = 100_000;

/// Why a computed value has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PerlError {
    /// The regular expression cannot be read, or takes too long.
    #[error("'{text}' is not a usable regular expression: {reason}")]
    Regex {
        /// The expression.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The arithmetic cannot be read.
    #[error("'{text}' is not integer arithmetic over $1, $2…: {reason}")]
    Arithmetic {
        /// What stands in parentheses.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A value that depends on the node's name.
#[derive(Debug, Clone)]
pub(super) struct Computed {
    /// None for `|text|`, where it depends on how many numbers a name has.
    regex: Option<Regex>,
    replacement: String,
    arithmetic: bool,
}

impl Computed {
    /// Reads an attribute's value; none when it is a plain one.
    ///
    /// # Errors
    /// It has the form of a computed value and cannot be one.
    pub(super) fn parse(value: &str) -> Result<Option<Self>, PerlError> {
        if let Some(inner) = value.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            let Some((regex, text)) = inner.split_once('/').filter(|(_, text)| !text.contains('/')) else {
                return Ok(None);
            };
            return Ok(Some(Self {
                regex: Some(compile(regex)?),
                replacement: text.into(),
                arithmetic: false,
            }));
        }
        let Some(inner) = value.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) else {
            return Ok(None);
        };
        let (regex, text) = match inner.split_once('|') {
            Some((regex, text)) => (Some(compile(regex)?), text),
            None => (None, inner),
        };
        for part in Parts::of(text) {
            if let Part::Bracketed(expression) = part {
                arithmetic::check(expression)?;
            }
        }
        Ok(Some(Self { regex, replacement: text.to_owned(), arithmetic: true }))
    }

    /// The value for the node of this name; none when it is empty.
    ///
    /// # Errors
    /// The regex takes too long on this name.
    pub(super) fn value(&self, node: &str) -> Result<Option<String>, PerlError> {
        let by_numbers;
        let regex = match &self.regex {
            Some(regex) => regex,
            None => {
                by_numbers = compile(&number_pattern(node))?;
                &by_numbers
            }
        };
        let captures = regex.captures(node).map_err(|error| unusable(regex.as_str(), &error))?;
        let Some(captures) = captures else { return Ok(Some(node.to_owned())) };
        let matched = captures.get(0).expect("a match has itself");
        let text =
            if self.arithmetic { fill(&self.replacement, &captures)? } else { self.replacement.clone() };
        let value = format!("{}{text}{}", &node[..matched.start()], &node[matched.end()..]);
        Ok(Some(value).filter(|value| !value.is_empty()))
    }
}

fn compile(text: &str) -> Result<Regex, PerlError> {
    let built = RegexBuilder::new(text).backtrack_limit(BACKTRACK_LIMIT).build();
    built.map_err(|error| unusable(text, &error))
}

fn unusable(text: &str, error: &fancy_regex::Error) -> PerlError {
    let message = error.to_string();
    let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    PerlError::Regex { text: text.to_owned(), reason }
}

/// What xCAT matches a name with when no regex is given: every number, without what stands before it.
fn number_pattern(node: &str) -> String {
    let numbers = node.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).count();
    r"[\D0]*(\d+)".repeat(numbers) + ".*$"
}

/// Replaces what stands in parentheses by its result.
fn fill(text: &str, captures: &Captures<'_, str>) -> Result<String, PerlError> {
    let capture = |number: usize| captures.get(number).map(|found| found.as_str());
    let mut filled = String::new();
    for part in Parts::of(text) {
        match part {
            Part::Plain(plain) => filled.push_str(plain),
            Part::Bracketed(expression) => filled.push_str(&calculate(expression, &capture)?),
        }
    }
    Ok(filled)
}

enum Part<'a> {
    Plain(&'a str),
    /// With its parentheses.
    Bracketed(&'a str),
}

/// A text cut at its outermost parentheses. One that is never closed is plain text, as are all after it.
struct Parts<'a> {
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        Self { rest }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let end = self.rest.len();
        if end == 0 {
            return None;
        }
        let opened = self.rest.find(['(', ')']).unwrap_or(end);
        if opened > 0 {
            return Some(Part::Plain(self.take(opened)));
        }
        Some(match closing(self.rest) {
            Some(closed) => Part::Bracketed(self.take(closed + 1)),
            None => Part::Plain(self.take(end)),
        })
    }
}

/// Where the parenthesis that opens a text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}
