//! Text to [`Range`], by recursive descent.

use super::ast::{Atom, Operator, Pattern, Range, Select, Term};
use super::names::Word;
use super::{MAX_DEPTH, MAX_TEXT_BYTES, RangeError};

impl std::str::FromStr for Range {
    type Err = RangeError;
    fn from_str(text: &str) -> Result<Self, RangeError> {
        parse(text)
    }
}

impl std::str::FromStr for Select {
    type Err = RangeError;
    /// Reads one comparison, as the option `-w` takes it; the value runs to the end of the text.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let name = text.find(['=', '!']).unwrap_or(text.len());
        let (operator, value) =
            split_operator(&text[name..]).ok_or_else(|| RangeError::Comparison { text: text.to_owned() })?;
        select(&text[..name], operator, value)
    }
}

/// Reads a whole text as one range. An empty text is an empty range.
pub(super) fn parse(text: &str) -> Result<Range, RangeError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(RangeError::TooLong);
    }
    let mut parser = Parser { rest: text, depth: 0 };
    let range = parser.range()?;
    match parser.rest {
        "" => Ok(range),
        rest => Err(RangeError::Unexpected { rest: rest.to_owned() }),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn range(&mut self) -> Result<Range, RangeError> {
        let mut terms = Vec::new();
        loop {
            self.skip_blanks();
            if !self.rest.is_empty() && !self.rest.starts_with([',', ')']) {
                terms.push(self.term()?);
                self.skip_blanks();
            }
            if !self.take(',') {
                return Ok(Range { terms });
            }
        }
    }

    fn term(&mut self) -> Result<Term, RangeError> {
        let exclude = self.take('-');
        let mut atoms = vec![self.atom()?];
        while self.take('@') {
            atoms.push(self.atom()?);
        }
        Ok(Term { exclude, atoms })
    }

    fn atom(&mut self) -> Result<Atom, RangeError> {
        match self.rest.chars().next() {
            None | Some(',' | '@' | ')') => {
                Err(RangeError::Missing { what: "a node or group", rest: self.rest.to_owned() })
            }
            Some('(') => self.nested(),
            Some('/') => self.matching(),
            Some('^') => Ok(self.file()),
            Some(_) => self.word(),
        }
    }

    fn nested(&mut self) -> Result<Atom, RangeError> {
        let opened = self.rest;
        self.advance(1);
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(RangeError::TooDeep);
        }
        let range = self.range()?;
        self.depth -= 1;
        if self.take(')') {
            Ok(Atom::Nested(range))
        } else if self.rest.is_empty() {
            Err(RangeError::Unclosed { opened: '(', text: opened.to_owned() })
        } else {
            Err(RangeError::Unexpected { rest: self.rest.to_owned() })
        }
    }

    fn matching(&mut self) -> Result<Atom, RangeError> {
        self.advance(1);
        let end = regex_end(self.rest);
        let text = self.advance(end);
        Ok(Atom::Matching(Pattern::whole(without_closing_slash(text))?))
    }

    fn file(&mut self) -> Atom {
        self.advance(1);
        let end = self.rest.find([',', '@', ')']).unwrap_or(self.rest.len());
        Atom::File(self.advance(end).into())
    }

    fn word(&mut self) -> Result<Atom, RangeError> {
        let end = word_end(self.rest)?;
        let text = self.advance(end);
        if let Some((operator, tail)) = split_operator(self.rest) {
            self.rest = tail;
            let value = match operator {
                Operator::Equal | Operator::NotEqual => {
                    let end = self.rest.find([',', '@', ')']).unwrap_or(self.rest.len());
                    self.advance(end)
                }
                Operator::Matches | Operator::MatchesNot => self.advance(regex_end(self.rest)),
            };
            return select(text, operator, value).map(Atom::Select);
        }
        if self.rest.starts_with(['=', '!']) {
            return Err(RangeError::Comparison { text: format!("{text}{}", self.rest) });
        }
        Word::read(text).map(Atom::Word)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest.strip_prefix(wanted);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

fn split_operator(text: &str) -> Option<(Operator, &str)> {
    [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("=~", Operator::Matches),
        ("!~", Operator::MatchesNot),
    ]
    .into_iter()
    .find_map(|(sign, operator)| Some((operator, text.strip_prefix(sign)?)))
}

fn select(name: &str, operator: Operator, value: &str) -> Result<Select, RangeError> {
    if name.is_empty() {
        return Err(RangeError::Missing { what: "an attribute name", rest: value.to_owned() });
    }
    let (value, pattern) = match operator {
        Operator::Equal | Operator::NotEqual => (value, None),
        Operator::Matches | Operator::MatchesNot => {
            let text = without_closing_slash(value.strip_prefix('/').unwrap_or(value));
            (text, Some(Pattern::new(text)?))
        }
    };
    Ok(Select { attribute: name.to_owned(), operator, value: value.to_owned(), pattern })
}

/// Where a word ends: before a separator or comparison outside brackets.
fn word_end(text: &str) -> Result<usize, RangeError> {
    let mut opened = None;
    for (at, c) in text.char_indices() {
        match c {
            '[' if opened.is_none() => opened = Some(at),
            ']' => opened = None,
            _ if opened.is_some() => {}
            ',' | '@' | '(' | ')' | '=' | '!' => return Ok(at),
            _ if c.is_whitespace() => return Ok(at),
            _ => {}
        }
    }
    match opened {
        None => Ok(text.len()),
        Some(at) => Err(RangeError::Unclosed { opened: '[', text: text[at..].to_owned() }),
    }
}

/// Where a regular expression ends: before a separator outside its own brackets and parentheses.
fn regex_end(text: &str) -> usize {
    let mut groups = 0_u32;
    let mut braces = false;
    let mut class: Option<usize> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, class) {
            ('\\', _) => drop(chars.next()),
            // A ']' that comes first in a class is one of its members.
            (']', Some(start)) if !matches!(&text[start + 1..at], "" | "^") => class = None,
            (_, Some(_)) => {}
            ('[', None) => class = Some(at),
            ('(', None) => groups += 1,
            (')', None) if groups > 0 => groups -= 1,
            ('{', None) => braces = true,
            ('}', None) => braces = false,
            (',' | '@' | ')', None) if groups == 0 && !braces => return at,
            _ => {}
        }
    }
    text.len()
}

fn without_closing_slash(text: &str) -> &str {
    match text.strip_suffix('/') {
        Some(inner) if !ends_in_escape(inner) => inner,
        _ => text,
    }
}

/// Whether the character after `text` is escaped by an odd number of backslashes at its end.
fn ends_in_escape(text: &str) -> bool {
    text.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}
