//! Reads one pattern.

use super::ExcludeError;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Byte(u8),
    AnyByte,
    Set { negated: bool, ranges: Vec<(u8, u8)> },
    Star,
    DoubleStar,
}

/// What one pattern asks of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The bytes before the first token that is none: every path that matches an anchored pattern begins with them.
    pub(super) head: Vec<u8>,
    pub(super) tokens: Vec<Token>,
    pub(super) anchored: bool,
    pub(super) directories_only: bool,
}

/// `x/***` stands for two patterns; every other text for one.
pub(super) fn parse_patterns(text: &str) -> Result<Vec<Pattern>, ExcludeError> {
    let Some(directory) = text.strip_suffix("/***") else { return Ok(vec![parse_one(text, text)?]) };
    Ok(vec![parse_one(&format!("{directory}/"), text)?, parse_one(&format!("{directory}/**"), text)?])
}

/// Reads a pattern that is (a form of) what was `written`.
fn parse_one(text: &str, written: &str) -> Result<Pattern, ExcludeError> {
    let bytes = text.as_bytes();
    let anchored = bytes.starts_with(b"/");
    let empty = || ExcludeError::Empty(written.to_owned());
    let start = bytes.iter().position(|b| *b != b'/').ok_or_else(empty)?;
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(bytes.len(), |last| last + 1);
    let body = &bytes[start..end];
    let wild = written.bytes().any(|b| matches!(b, b'*' | b'?' | b'['));
    let tokens =
        if wild { parse_tokens(body, written)? } else { body.iter().copied().map(Token::Byte).collect() };
    let literal = |token: &Token| match token {
        Token::Byte(byte) => Some(*byte),
        Token::AnyByte | Token::Set { .. } | Token::Star | Token::DoubleStar => None,
    };
    let head = tokens.iter().map_while(literal).collect();
    Ok(Pattern { head, tokens, anchored, directories_only: end < bytes.len() })
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
    let mut rest = &bytes[usize::from(negated)..];
    let mut ranges = Vec::new();
    loop {
        let (&first, after) = rest.split_first()?;
        rest = after;
        if first == b'[' && rest.first() == Some(&b':') {
            if let Some((class, after)) = parse_class(&rest[1..])? {
                ranges.extend(class);
                rest = after;
            } else {
                ranges.push((b'[', b'['));
            }
        } else {
            let low = member(first, &mut rest)?;
            let high = match rest {
                [b'-', next, after @ ..] if *next != b']' => {
                    rest = after;
                    member(*next, &mut rest)?
                }
                _ => low,
            };
            ranges.push((low, high));
        }
        if let Some(after) = rest.strip_prefix(b"]") {
            return Some((Token::Set { negated, ranges }, after));
        }
    }
}

/// A byte of a set, which may be written after a backslash.
fn member(first: u8, rest: &mut &[u8]) -> Option<u8> {
    if first != b'\\' {
        return Some(first);
    }
    let (&escaped, after) = rest.split_first()?;
    *rest = after;
    Some(escaped)
}

/// Ranges of bytes, and what is still to read.
type Class<'a> = (Vec<(u8, u8)>, &'a [u8]);

/// Reads a class of bytes after its `[:`; an inner none when it is no class but a `[` with a `:` after it.
fn parse_class(bytes: &[u8]) -> Option<Option<Class<'_>>> {
    let end = bytes.iter().position(|b| *b == b']')?;
    let Some(name) = bytes[..end].strip_suffix(b":") else { return Some(None) };
    let ranges: &[(u8, u8)] = match name {
        b"alnum" => &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')],
        b"alpha" => &[(b'A', b'Z'), (b'a', b'z')],
        b"blank" => &[(b' ', b' '), (b'\t', b'\t')],
        b"cntrl" => &[(0, 31), (127, 127)],
        b"digit" => &[(b'0', b'9')],
        b"graph" => &[(b'!', b'~')],
        b"lower" => &[(b'a', b'z')],
        b"print" => &[(b' ', b'~')],
        b"punct" => &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        b"space" => &[(b'\t', b'\r'), (b' ', b' ')],
        b"upper" => &[(b'A', b'Z')],
        b"xdigit" => &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')],
        _ => return None,
    };
    Some(Some((ranges.to_vec(), &bytes[end + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_patterns_are_refused() {
        let refused = |text: &str| parse_patterns(text).unwrap_err();
        assert_eq!(refused(""), ExcludeError::Empty(String::new()));
        assert_eq!(refused("//"), ExcludeError::Empty("//".into()));
        assert_eq!(refused("/***"), ExcludeError::Empty("/***".into()));
        for text in ["a[b", "a[]", "a[b-", "[[:alpha:]", "[[:none:]]", "[a\\"] {
            assert_eq!(refused(text), ExcludeError::Set(text.into()), "{text}");
        }
        assert_eq!(refused("a*\\"), ExcludeError::Escape("a*\\".into()));
        assert!(parse_patterns("a\\").is_ok(), "a plain backslash");
    }
}
