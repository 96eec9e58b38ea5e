//! One HTTP exchange with the server and what can go wrong with it.

use std::time::Duration;

use sysclone_protocol::agent::ErrorReply;
use ureq::http::Response;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};
use ureq::{Agent, Body};

use super::connector::TlsConnector;
use super::verifier::client_config;

/// A connection that is not made in this time is tried again.
const CONNECT: Duration = Duration::from_secs(10);
/// A peer that sends or takes nothing for this long is gone.
const STALLED: Duration = Duration::from_secs(30);
/// An answer that has not begun after this time is tried again. Accepting a manifest checks every pack in it.
const ANSWER: Duration = Duration::from_secs(300);
/// The longest answer that is not a pack: manifests of some ten million files.
const MAX_ANSWER_BYTES: u64 = 4 << 30;

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server cannot be reached, or the connection broke.
    #[error("no contact with {url}")]
    Unreachable {
        /// What was called.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server cannot answer now.
    #[error("the server cannot answer now ({status}): {error}")]
    Busy {
        /// HTTP status.
        status: u16,
        /// What it said.
        error: String,
    },
    /// The server understood and said no.
    #[error("the server refused ({status}): {error}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said: what is wrong and what to do.
        error: String,
    },
    /// The answer is not what this version understands.
    #[error("the answer of {url} cannot be read")]
    Garbled {
        /// What was called.
        url: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Makes the HTTP client for the server at TLS addresses under `ca_pem` and for plain pack sources.
///
/// # Errors
/// `ca_pem` holds no usable certificate.
pub(super) fn http_agent(ca_pem: &str) -> anyhow::Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .no_delay(true)
        .user_agent(concat!("sysclone-agent/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .timeout_per_read(Some(STALLED))
        .timeout_per_write(Some(STALLED))
        .input_buffer_size(128 << 10)
        .output_buffer_size(128 << 10)
        .max_idle_connections_per_host(8)
        .build();
    let connector = TcpConnector::default().chain(TlsConnector::new(client_config(ca_pem)?));
    Ok(Agent::with_parts(config, connector, DefaultResolver::default()))
}

/// Reads a whole answer, or says why there is none.
///
/// # Errors
/// The connection failed, or the status is neither 2xx nor 304.
pub(super) fn answer(
    url: &str,
    outcome: Result<Response<Body>, ureq::Error>,
) -> Result<(u16, Vec<u8>), CallError> {
    let unreachable = |source| CallError::Unreachable { url: url.to_owned(), source: Box::new(source) };
    let mut response = outcome.map_err(unreachable)?;
    let status = response.status().as_u16();
    let body =
        response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(unreachable)?;
    match status {
        200..=299 | 304 => Ok((status, body)),
        408 | 429 | 500 | 502..=504 => Err(CallError::Busy { status, error: reason(&body) }),
        _ => Err(CallError::Refused { status, error: reason(&body) }),
    }
}

/// What a refusal says, also when it does not come from our server but from something between.
fn reason(body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorReply>(body) {
        Ok(reply) => reply.error,
        Err(_) => {
            let text: String =
                String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect();
            if text.is_empty() { "no reason given".to_owned() } else { text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_in_any_body() {
        for (body, expected) in [
            (&br#"{"error":"no such ticket"}"#[..], "no such ticket"),
            (b"<h1>Bad\x07 Gateway</h1>\n", "<h1>Bad Gateway</h1>"),
            (b"", "no reason given"),
        ] {
            assert_eq!(reason(body), expected);
        }
    }
}
