//! Tickets and tokens. Neither is ever stored: a ticket is derived from a server key and its job's nonce, so the same
//! one is rendered again at every network boot; of tokens only hashes are kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sysclone_protocol::names::Secret;

const TICKET_CONTEXT: &str = "sysclone 1: one-time ticket of a job";
const TOKEN_CONTEXT: &str = "sysclone 1: bearer token of a job";
const HASH_CONTEXT: &str = "sysclone 1: stored hash of a secret";

/// Bytes of a ticket: 192 bits are beyond guessing and make 32 characters on a kernel command line.
const TICKET_BYTES: usize = 24;

/// The key that tickets and tokens are derived with.
pub struct TicketKey([u8; 32]);

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

/// What the database keeps of a ticket or token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a secret as it came over the wire.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(blake3::derive_key(HASH_CONTEXT, secret.as_bytes()))
    }
}

/// What a derived token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// The calls of an installing agent.
    Install,
    /// The one boot report of the clone.
    Report,
    /// What the clone asks by itself, as long as it is that clone.
    Clone,
    /// What a machine that is nobody's says of itself.
    Discover,
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has no random numbers, which Linux does not do after its start.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system always has random numbers");
    bytes
}

impl TicketKey {
    /// Reads the key from its file's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// A new key in its file's form.
    #[must_use]
    pub fn make() -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()))
    }

    /// The ticket of a job.
    #[must_use]
    pub fn ticket(&self, job: &str, nonce: &[u8]) -> Secret {
        let bytes = self.derive(TICKET_CONTEXT, &[job.as_bytes(), nonce]);
        Secret::new(URL_SAFE_NO_PAD.encode(&bytes[..TICKET_BYTES]))
    }

    /// A token of a job. `attempt` is what the enrolment gave to recognise its own repetition.
    #[must_use]
    pub fn token(&self, token: Token, job: &str, attempt: &[u8]) -> Secret {
        let role: &[u8] = match token {
            Token::Install => b"install",
            Token::Report => b"report",
            Token::Clone => b"clone",
            Token::Discover => b"discover",
        };
        Secret::new(URL_SAFE_NO_PAD.encode(self.derive(TOKEN_CONTEXT, &[role, job.as_bytes(), attempt])))
    }

    /// Keyed BLAKE3 over parts that cannot run into each other. The context makes the keys of different uses
    /// independent.
    fn derive(&self, context: &str, parts: &[&[u8]]) -> [u8; 32] {
        let key = blake3::derive_key(context, &self.0);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_the_same_again_and_differ_by_key_job_and_nonce() {
        let key = TicketKey([1; 32]);
        let ticket = key.ticket("j1", b"n");
        assert_eq!(ticket, key.ticket("j1", b"n"));
        assert_eq!(ticket.reveal().len(), 32);
        for other in [key.ticket("j2", b"n"), key.ticket("j1", b"m"), TicketKey([2; 32]).ticket("j1", b"n")] {
            assert_ne!(ticket, other);
        }
        assert_ne!(key.ticket("ab", b"c"), key.ticket("a", b"bc"));
    }

    #[test]
    fn roles_have_tokens_of_their_own() {
        let key = TicketKey([1; 32]);
        assert_ne!(key.token(Token::Install, "j", b"a"), key.token(Token::Report, "j", b"a"));
    }

    #[test]
    fn keys_go_through_their_file() {
        let text = TicketKey::make();
        assert!(TicketKey::parse(&format!("{}\n", text.reveal())).is_some());
        assert!(TicketKey::parse("short").is_none());
    }
}
