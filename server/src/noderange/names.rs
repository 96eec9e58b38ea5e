//! Words that stand for several names: spans, brackets and increments.

use super::RangeError;

/// A word as typed, and the names it stands for when no node or group has it as its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) reading: Reading,
}

/// How a word is read when it is not a name itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// A name and nothing else.
    Literal,
    /// Every combination of one choice per piece.
    Product(Vec<Piece>),
    /// A span that counts down; an error unless it is the name of something.
    Backwards,
}

/// Texts of which one is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece(Vec<Count>);

/// A text in which one number counts from `first` to `last`, padded with zeros to `width` digits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    prefix: String,
    first: u64,
    last: u64,
    width: usize,
    suffix: String,
}

impl Word {
    /// Reads a word. Only brackets can be wrong in themselves; anything else may be a name.
    pub(super) fn read(text: &str) -> Result<Self, RangeError> {
        let reading = if text.contains('[') {
            Reading::Product(read_brackets(text)?)
        } else if let Some(count) = read_increment(text) {
            Reading::Product(vec![Piece(vec![count])])
        } else {
            match split_span(text).map(|(left, right)| read_span(left, right)) {
                Some(Span::Forward(count)) => Reading::Product(vec![Piece(vec![count])]),
                Some(Span::Backward) => Reading::Backwards,
                Some(Span::Unlike) | None => Reading::Literal,
            }
        };
        Ok(Self { text: text.to_owned(), reading })
    }

    /// All names that it stands for, in counting order.
    ///
    /// # Errors
    /// There are more than `budget`, or it runs backwards.
    pub(super) fn names(&self, budget: u64) -> Result<Vec<String>, RangeError> {
        let pieces = match &self.reading {
            Reading::Literal => &[Piece(vec![Count::fixed(&self.text)])][..],
            Reading::Backwards => return Err(RangeError::Backwards { text: self.text.clone() }),
            Reading::Product(pieces) => pieces,
        };
        let total = pieces.iter().try_fold(1_u64, |total, piece| total.checked_mul(piece.len()));
        if total.is_none_or(|total| total > budget) {
            return Err(RangeError::TooMany { text: self.text.clone() });
        }
        Ok(pieces.iter().fold(vec![String::new()], |names, piece| {
            names.iter().flat_map(|name| piece.texts().map(move |text| format!("{name}{text}"))).collect()
        }))
    }
}

impl Piece {
    fn len(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, c| sum.saturating_add((c.last - c.first).saturating_add(1)))
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(Count::texts)
    }
}

impl Count {
    /// A text without a counting number in it, written as one that counts from its own end.
    fn fixed(text: &str) -> Self {
        Self { prefix: text.to_owned(), first: 0, last: 0, width: 0, suffix: String::new() }
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        let Self { prefix, first, last, width, suffix } = self;
        (*first..=*last).map(move |number| match width {
            0 => prefix.clone(),
            width => format!("{prefix}{number:0width$}{suffix}"),
        })
    }
}

/// What two names have between them.
enum Span {
    /// They are alike but for one number, which grows.
    Forward(Count),
    /// They are alike but for one number, which shrinks.
    Backward,
    /// They are two different kinds of name.
    Unlike,
}

/// The two ends of `a-b` or `a:b`. With an even number of dashes nobody can say which one is meant: it is a name.
fn split_span(text: &str) -> Option<(&str, &str)> {
    if let Some((left, right)) = text.split_once(':') {
        return (!right.contains(':')).then_some((left, right));
    }
    let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    if dashes.len().is_multiple_of(2) {
        return None;
    }
    let middle = dashes[dashes.len() / 2];
    Some((&text[..middle], &text[middle + 1..]))
}

/// Counts from one name to another when exactly one number differs.
fn read_span(left: &str, right: &str) -> Span {
    let (lefts, rights) = (components(left), components(right));
    if lefts.len() != rights.len() {
        return Span::Unlike;
    }
    let differing: Vec<usize> = (0..lefts.len()).filter(|&i| lefts[i] != rights[i]).collect();
    let at = match differing[..] {
        [] if !left.is_empty() => return Span::Forward(Count::fixed(left)),
        [at] => at,
        _ => return Span::Unlike,
    };
    let (Some(first), Some(last)) = (number(lefts[at]), number(rights[at])) else { return Span::Unlike };
    if first > last {
        return Span::Backward;
    }
    Span::Forward(Count {
        prefix: lefts[..at].concat(),
        first,
        last,
        width: lefts[at].len(),
        suffix: lefts[at + 1..].concat(),
    })
}

/// Cuts a name into runs of digits and runs of everything else.
fn components(name: &str) -> Vec<&str> {
    let is_digit = |c: char| c.is_ascii_digit();
    let mut rest = name;
    let mut parts = Vec::new();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_digit(c) != is_digit(first)).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        parts.push(part);
        rest = tail;
    }
    parts
}

/// A text of digits only, as a number.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `name+N`: the number at the end of the name, or before its domain, and the N that follow it.
fn read_increment(text: &str) -> Option<Count> {
    let (name, steps) = text.split_once('+')?;
    let steps = number(steps)?;
    let host = name.split_once('.').map_or(name, |(host, _)| host);
    let digits = host.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (prefix, start) = host.split_at(host.len() - digits);
    let first = number(start)?;
    Some(Count {
        prefix: prefix.to_owned(),
        first,
        last: first.checked_add(steps)?,
        width: start.len(),
        suffix: name[host.len()..].to_owned(),
    })
}

/// `pre[1-3,5]mid[a,b]post`: literal text and bracketed choices by turns.
fn read_brackets(text: &str) -> Result<Vec<Piece>, RangeError> {
    let wrong = || RangeError::Brackets { text: text.to_owned() };
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, opened)) = rest.split_once('[') {
        let (inside, after) = opened.split_once(']').ok_or_else(wrong)?;
        if before.contains(']') || inside.contains('[') {
            return Err(wrong());
        }
        pieces.push(Piece(vec![Count::fixed(before)]));
        let choices: Option<Vec<Count>> = inside.split(',').map(|item| read_choice(item.trim())).collect();
        pieces.push(Piece(choices.ok_or_else(wrong)?));
        rest = after;
    }
    if rest.contains(']') {
        return Err(wrong());
    }
    pieces.push(Piece(vec![Count::fixed(rest)]));
    Ok(pieces)
}

/// One item between brackets: a text or a span.
fn read_choice(item: &str) -> Option<Count> {
    if item.is_empty() {
        return None;
    }
    match split_span(item) {
        None => Some(Count::fixed(item)),
        Some((left, right)) => match read_span(left, right) {
            Span::Forward(count) => Some(count),
            Span::Backward | Span::Unlike => None,
        },
    }
}
