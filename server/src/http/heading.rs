//! The heads of HTTP/1 requests and answers as bytes (RFC 9112). No input or output here.

use std::fmt::Write as _;
use std::time::SystemTime;

use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, response};
use httparse::Status;

/// Enough for any firmware or cache; a head that needs more is refused.
const MAX_HEADERS: usize = 64;

/// One request, read.
#[derive(Debug)]
pub(super) struct Heading {
    /// What is asked.
    pub(super) request: Parts,
    /// How many bytes the head has.
    pub(super) length: usize,
    /// Whether another request may follow on the connection.
    pub(super) keep: bool,
}

/// Reads a request's head; none while it is not complete.
///
/// # Errors
/// The status to refuse it with.
pub(super) fn parse_heading(bytes: &[u8]) -> Result<Option<Heading>, StatusCode> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(_) => return Err(StatusCode::BAD_REQUEST),
    };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(StatusCode::BAD_REQUEST);
    };
    let mut request = Request::new(()).into_parts().0;
    request.method = Method::from_bytes(method.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
    request.uri = target.parse::<Uri>().map_err(|_| StatusCode::BAD_REQUEST)?;
    request.version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    for header in parsed.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| StatusCode::BAD_REQUEST)?;
        request.headers.append(name, value);
    }
    let keep = may_go_on(request.version, &request.headers) && !has_body(&request.headers);
    Ok(Some(Heading { request, length, keep }))
}

/// RFC 9112, section 9.3: HTTP/1.1 goes on unless told otherwise, HTTP/1.0 ends unless told otherwise.
fn may_go_on(version: Version, headers: &HeaderMap) -> bool {
    let said = |word: &str| {
        let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(word))
    };
    !said("close") && (version == Version::HTTP_11 || said("keep-alive"))
}

/// Nothing here takes a body. What follows such a head is never taken for a request.
fn has_body(headers: &HeaderMap) -> bool {
    let empty = |length: &HeaderValue| length.as_bytes() == b"0";
    headers.contains_key(TRANSFER_ENCODING) || !headers.get_all(CONTENT_LENGTH).iter().all(empty)
}

/// The head of an answer to a request of this `version`.
pub(super) fn render_heading(answer: &response::Parts, version: Version, keep: bool) -> Vec<u8> {
    // RFC 9110, section 6.2: the version says what the client may expect; old firmware takes it at its word.
    let number = if version == Version::HTTP_10 { "1.0" } else { "1.1" };
    let mut head = String::with_capacity(512);
    let reason = answer.status.canonical_reason().unwrap_or_default();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new();
    let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    let _ = write!(head, "HTTP/{number} {} {reason}\r\n", answer.status.as_u16());
    if let Ok(now) = date.timestamp_to_rfc9110_string(&now) {
        let _ = write!(head, "Date: {now}\r\n");
    }
    if version == Version::HTTP_10 || !keep {
        let _ = write!(head, "Connection: {}\r\n", if keep { "keep-alive" } else { "close" });
    }
    let mut head = head.into_bytes();
    for (name, value) in &answer.headers {
        head.extend(title_case(name.as_str()));
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// `Content-Length`, as GRUB 2.06 wants it. In lower case it does not know where a file ends, and waits for more until
/// it gives up.
fn title_case(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().scan(true, |first, byte| {
        let first = std::mem::replace(first, byte == b'-');
        Some(if first { byte.to_ascii_uppercase() } else { byte })
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Response;
    use proptest::prelude::*;

    use super::*;

    fn keeps(head: &str) -> bool {
        parse_heading(head.as_bytes()).unwrap().unwrap().keep
    }

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let head = b"GET /packs/0 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\nGET";
        for end in 0..head.len() - 3 {
            assert!(parse_heading(&head[..end]).unwrap().is_none(), "{end}");
        }
        let read = parse_heading(head).unwrap().unwrap();
        assert_eq!((read.length, read.keep), (head.len() - 3, true));
        assert_eq!((read.request.method, read.request.uri.path()), (Method::GET, "/packs/0"));
        assert_eq!(read.request.headers["range"], "bytes=0-1");
    }

    #[test]
    fn a_connection_goes_on_as_both_sides_say() {
        assert!(keeps("GET / HTTP/1.1\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n"));
        assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(keeps("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"));
        assert!(!keeps("PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\n"));
        assert!(!keeps("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for head in
            ["GET\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "\0\r\n\r\n"]
        {
            assert_eq!(parse_heading(head.as_bytes()).unwrap_err(), StatusCode::BAD_REQUEST, "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        let refused = parse_heading(many.as_bytes()).unwrap_err();
        assert_eq!(refused, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }

    #[test]
    fn an_answer_says_whether_the_connection_goes_on() {
        let (answer, ()) =
            Response::builder().status(206).header("etag", "\"a\"").body(()).unwrap().into_parts();
        let text = |version, keep| String::from_utf8(render_heading(&answer, version, keep)).unwrap();
        let head = text(Version::HTTP_11, true);
        assert!(head.starts_with("HTTP/1.1 206 Partial Content\r\nDate: "), "{head}");
        assert!(head.ends_with(" GMT\r\nEtag: \"a\"\r\n\r\n"), "{head}");
        assert!(text(Version::HTTP_11, false).contains("Connection: close\r\n"));
        assert!(text(Version::HTTP_10, true).contains("Connection: keep-alive\r\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_not(bytes: Vec<u8>) {
            if let Ok(Some(read)) = parse_heading(&bytes) {
                prop_assert!(read.length <= bytes.len());
            }
        }
    }
}
