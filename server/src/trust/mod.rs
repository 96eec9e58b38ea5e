//! The server's secrets and what follows from them: key files, tickets and tokens, the TLS identity.

mod files;
mod keys;
mod sealed;
mod ticket;
mod tls;

pub use files::KeyFileError;
pub use keys::Keys;
pub use sealed::{AttributeKey, MASK, SealError, is_secret};
pub use ticket::{TicketKey, Token, TokenHash, random};
pub use tls::{TlsError, TlsIdentity};
