//! What the server tells its owner: how each transfer ended.

use std::net::SocketAddr;
use std::time::Duration;

use crate::packet::ErrorCode;

/// Hears of every request that was answered. Called from the transfer's task, so it must not block.
pub trait Events: Send + Sync + 'static {
    /// A request has ended, one way or another.
    fn finished(&self, transfer: &Transfer);
}

/// Nobody listens.
impl Events for () {
    fn finished(&self, _transfer: &Transfer) {}
}

/// One request from its first packet to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The name as asked for; it is from the network, so quote it before showing it.
    pub name: String,
    /// Size of the file in bytes, once it was found.
    pub size_bytes: Option<u64>,
    /// Bytes that the client has acknowledged.
    pub acknowledged_bytes: u64,
    /// Data packets that had to be sent again.
    pub retransmitted: u64,
    /// Time from the request to the end.
    pub elapsed: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The client acknowledged the last block.
    Done,
    /// Everything was sent and only the last acknowledgement is missing: nearly always it was lost on the way.
    Unconfirmed,
    /// The client asked for the size only and ended the transfer before any data, as EDK2 and PXE ROMs do.
    SizeOnly,
    /// It failed.
    Failed(Failure),
}

/// Why a transfer failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The request was refused, with this error on the wire.
    #[error("refused: {reason}")]
    Refused {
        /// Code sent to the client.
        code: ErrorCode,
        /// Message sent to the client.
        reason: String,
    },
    /// The client ended the transfer.
    #[error("the client ended it with error {}: {message}", code.0)]
    Client {
        /// Its code.
        code: ErrorCode,
        /// Its message, characters that are no text replaced.
        message: String,
    },
    /// The client stopped answering.
    #[error("no answer for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The client's port is closed: its program ended or the machine was reset.
    #[error("the client's port is closed")]
    Gone,
    /// The same client port began another request.
    #[error("the client began again")]
    Superseded,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The transfer's socket failed.
    #[error("socket: {0}")]
    Socket(String),
}
