//! Answers with content that has a name: ETag, ranges, conditions, HEAD.

use std::fs::File;
use std::ops::Range;

use axum::http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use bytes::Bytes;

use super::content::Content;
use super::range::{Wanted, parse_range};

/// What is known of a content before any byte of it is read.
pub(super) struct Facts<'a> {
    /// Length in bytes.
    pub(super) length: u64,
    /// Strong validator without quotes; none for content that is made per request.
    pub(super) etag: Option<&'a str>,
    /// Media type.
    pub(super) media_type: &'static str,
    /// Whether the content under this name never changes.
    pub(super) immutable: bool,
}

/// What to send, decided from the request's headers alone.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Whole,
    Part(Range<u64>),
    NotModified,
    Unsatisfiable,
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// RFC 9110, section 13.2.2: If-None-Match before Range, and Range only when If-Range holds.
fn plan(method: &Method, headers: &HeaderMap, facts: &Facts<'_>) -> Plan {
    let quoted = facts.etag.map(|etag| format!("\"{etag}\""));
    if let (Some(wanted), Some(etag)) = (text(headers, &IF_NONE_MATCH), &quoted) {
        // This comparison is weak: a W/ before the tag does not matter.
        let same = |tag: &str| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == etag;
        if wanted.split(',').any(same) {
            return Plan::NotModified;
        }
    }
    // Range is defined for GET only. A date in If-Range never equals a tag, so it gets the whole content.
    let current = match text(headers, &IF_RANGE) {
        Some(condition) => quoted.as_deref() == Some(condition.trim()),
        None => !headers.contains_key(IF_RANGE),
    };
    match text(headers, &RANGE).filter(|_| current && method == Method::GET) {
        Some(range) => match parse_range(range, facts.length) {
            Wanted::Whole => Plan::Whole,
            Wanted::Part(part) => Plan::Part(part),
            Wanted::Unsatisfiable => Plan::Unsatisfiable,
        },
        None => Plan::Whole,
    }
}

/// The head of the answer, and the bytes that belong into its body.
fn head(plan: Plan, facts: &Facts<'_>) -> (axum::http::response::Builder, Option<Range<u64>>) {
    let mut answer = Response::builder().header(ACCEPT_RANGES, "bytes");
    if let Some(etag) = facts.etag {
        answer = answer.header(ETAG, format!("\"{etag}\""));
    }
    let cache = if facts.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    answer = answer.header(CACHE_CONTROL, cache);
    let with_body = |answer: axum::http::response::Builder, range: &Range<u64>| {
        answer.header(CONTENT_TYPE, facts.media_type).header(CONTENT_LENGTH, range.end - range.start)
    };
    match plan {
        Plan::Whole => {
            let range = 0..facts.length;
            (with_body(answer, &range).status(StatusCode::OK), Some(range))
        }
        Plan::Part(range) => {
            let said = format!("bytes {}-{}/{}", range.start, range.end - 1, facts.length);
            let answer = with_body(answer, &range).header(CONTENT_RANGE, said);
            (answer.status(StatusCode::PARTIAL_CONTENT), Some(range))
        }
        Plan::NotModified => (answer.status(StatusCode::NOT_MODIFIED), None),
        Plan::Unsatisfiable => {
            let said = format!("bytes */{}", facts.length);
            let answer = answer.header(CONTENT_RANGE, said).header(CONTENT_LENGTH, 0);
            (answer.status(StatusCode::RANGE_NOT_SATISFIABLE), None)
        }
    }
}

fn finish(answer: axum::http::response::Builder, content: Content) -> Response<Content> {
    answer.body(content).expect("all header values here are printable ASCII")
}

/// An answer with bytes that are in memory.
pub(super) fn answer_bytes(
    method: &Method,
    headers: &HeaderMap,
    facts: &Facts<'_>,
    bytes: &Bytes,
) -> Response<Content> {
    let (answer, range) = head(plan(method, headers, facts), facts);
    let content = range.map_or(Content::Empty, |range| {
        let at = |offset| usize::try_from(offset).expect("an offset in memory fits");
        Content::Bytes(bytes.slice(at(range.start)..at(range.end)))
    });
    finish(answer, content)
}

/// An answer with a file that is open, or the wanted part of it.
pub(super) fn answer_file(
    method: &Method,
    headers: &HeaderMap,
    facts: &Facts<'_>,
    file: File,
) -> Response<Content> {
    let (answer, range) = head(plan(method, headers, facts), facts);
    finish(answer, range.map_or(Content::Empty, |range| Content::File(file, range)))
}

/// A short refusal in words.
pub(super) fn refuse(status: StatusCode, words: &str) -> Response<Content> {
    let text = format!("{words}\n");
    let mut answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CONTENT_LENGTH, text.len());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        answer = answer.header(ALLOW, "GET, HEAD");
    }
    finish(answer, Content::Bytes(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(pairs: &[(HeaderName, &'static str)]) -> Plan {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let facts = Facts { length: 100, etag: Some("abc"), media_type: "x/y", immutable: false };
        plan(&Method::GET, &headers, &facts)
    }

    #[test]
    fn conditions_are_taken_in_the_order_of_the_rfc() {
        assert_eq!(planned(&[]), Plan::Whole);
        assert_eq!(planned(&[(RANGE, "bytes=1-2")]), Plan::Part(1..3));
        assert_eq!(planned(&[(RANGE, "bytes=100-")]), Plan::Unsatisfiable);
        assert_eq!(planned(&[(RANGE, "bytes=1-2"), (IF_RANGE, "\"abc\"")]), Plan::Part(1..3));
        assert_eq!(planned(&[(RANGE, "bytes=1-2"), (IF_RANGE, "\"old\"")]), Plan::Whole);
        assert_eq!(planned(&[(RANGE, "bytes=1-2"), (IF_RANGE, "W/\"abc\"")]), Plan::Whole);
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(planned(&[(RANGE, "bytes=1-2"), (IF_RANGE, date)]), Plan::Whole);
        assert_eq!(planned(&[(IF_NONE_MATCH, "\"x\", W/\"abc\"")]), Plan::NotModified);
        assert_eq!(planned(&[(IF_NONE_MATCH, "\"x\"")]), Plan::Whole);
    }

    #[test]
    fn head_takes_no_range() {
        let headers = [(RANGE, "bytes=1-2".parse().unwrap())].into_iter().collect();
        let facts = Facts { length: 100, etag: None, media_type: "x/y", immutable: false };
        assert_eq!(plan(&Method::HEAD, &headers, &facts), Plan::Whole);
    }
}
