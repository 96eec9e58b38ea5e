//! The TFTP wire format (RFC 1350 section 5, RFC 2347): bytes to values and back. No I/O, no policy.

/// Error codes of RFC 1350 section 5 and RFC 2347.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// Not defined; the message says what is meant.
    pub const UNDEFINED: Self = Self(0);
    /// File not found.
    pub const NOT_FOUND: Self = Self(1);
    /// Access violation.
    pub const ACCESS: Self = Self(2);
    /// Illegal TFTP operation.
    pub const ILLEGAL: Self = Self(4);
    /// The client gives up because of the options; EDK2 sends it after it has learnt a file's size.
    pub const OPTIONS: Self = Self(8);
}

/// One datagram, borrowed from the buffer it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RRQ: the client wants a file.
    Read(Request<'a>),
    /// WRQ: the client wants to send a file.
    Write(Request<'a>),
    /// DATA.
    Data {
        /// Block number modulo 65536.
        block: u16,
        /// Up to one block size of bytes.
        payload: &'a [u8],
    },
    /// ACK of a block, modulo 65536; 0 accepts an option acknowledgement.
    Ack(u16),
    /// ERROR: the sender has ended the transfer.
    Error {
        /// Why.
        code: ErrorCode,
        /// Text for people, not necessarily ASCII.
        message: &'a [u8],
    },
    /// OACK: the options that the server accepts, with its values.
    OptionAck(Vec<RawOption<'a>>),
}

/// A read or write request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// File name, any bytes but NUL.
    pub name: &'a [u8],
    /// `octet`, `netascii` or `mail`, in any case.
    pub mode: &'a [u8],
    /// Options in the order they came; values are not checked.
    pub options: Vec<RawOption<'a>>,
}

/// One option, name and value, as text without NUL.
pub type RawOption<'a> = (&'a [u8], &'a [u8]);

/// Why a datagram is not a TFTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It ends inside the fixed part.
    #[error("the packet is too short")]
    Short,
    /// The opcode is none of RFC 1350 or RFC 2347.
    #[error("opcode {0} is not a TFTP operation")]
    Opcode(u16),
    /// A request has no terminated file name or mode.
    #[error("the request has no terminated file name and mode")]
    Request,
}

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTION_ACK: u16 = 6;

impl<'a> Packet<'a> {
    /// Reads one datagram.
    ///
    /// # Errors
    /// [`PacketError`] when it is not TFTP. Options that are not well formed are dropped, not refused (RFC 2347).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (opcode, rest) = word(bytes)?;
        match opcode {
            READ => Ok(Self::Read(request(rest)?)),
            WRITE => Ok(Self::Write(request(rest)?)),
            DATA => word(rest).map(|(block, payload)| Self::Data { block, payload }),
            ACK => word(rest).map(|(block, _)| Self::Ack(block)),
            ERROR => {
                let (code, text) = word(rest)?;
                // Some ROMs send the message without its NUL.
                let message = text.split(|&b| b == 0).next().unwrap_or_default();
                Ok(Self::Error { code: ErrorCode(code), message })
            }
            OPTION_ACK => Ok(Self::OptionAck(options(rest))),
            other => Err(PacketError::Opcode(other)),
        }
    }

    /// Replaces the contents of `out` with this packet's bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Read(request) => encode_request(READ, request, out),
            Self::Write(request) => encode_request(WRITE, request, out),
            Self::Data { block, payload } => {
                put_word(DATA, out);
                put_word(*block, out);
                out.extend_from_slice(payload);
            }
            Self::Ack(block) => {
                put_word(ACK, out);
                put_word(*block, out);
            }
            Self::Error { code, message } => {
                put_word(ERROR, out);
                put_word(code.0, out);
                put_text(message, out);
            }
            Self::OptionAck(options) => {
                put_word(OPTION_ACK, out);
                put_options(options, out);
            }
        }
    }
}

/// The first two bytes as a big-endian number, and what follows.
fn word(bytes: &[u8]) -> Result<(u16, &[u8]), PacketError> {
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or(PacketError::Short)?;
    Ok((u16::from_be_bytes(*head), rest))
}

/// The text up to the first NUL, and what follows that NUL.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&b| b == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn request(bytes: &[u8]) -> Result<Request<'_>, PacketError> {
    let (name, rest) = text(bytes).ok_or(PacketError::Request)?;
    let (mode, rest) = text(rest).ok_or(PacketError::Request)?;
    Ok(Request { name, mode, options: options(rest) })
}

/// Pairs of texts. A pair without a name (padding) is dropped, and so is an unterminated rest.
fn options(mut bytes: &[u8]) -> Vec<RawOption<'_>> {
    let mut found = Vec::new();
    while let Some((name, rest)) = text(bytes) {
        let Some((value, rest)) = text(rest) else { break };
        if !name.is_empty() {
            found.push((name, value));
        }
        bytes = rest;
    }
    found
}

fn encode_request(opcode: u16, request: &Request<'_>, out: &mut Vec<u8>) {
    put_word(opcode, out);
    put_text(request.name, out);
    put_text(request.mode, out);
    put_options(&request.options, out);
}

fn put_options(options: &[RawOption<'_>], out: &mut Vec<u8>) {
    for (name, value) in options {
        put_text(name, out);
        put_text(value, out);
    }
}

fn put_word(word: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&word.to_be_bytes());
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_options_are_dropped_and_the_request_stands() {
        for (tail, expected) in [
            (&b""[..], vec![]),
            (b"blksize\0", vec![]),
            (b"blksize\x001428", vec![]),
            (b"blksize\x001428\0", vec![(&b"blksize"[..], &b"1428"[..])]),
            (b"blksize\x001428\0tsize", vec![(&b"blksize"[..], &b"1428"[..])]),
            (b"\0\0\0\0", vec![]),
            (b"a\0\0", vec![(&b"a"[..], &b""[..])]),
        ] {
            let bytes = [b"\0\x01f\0octet\0", tail].concat();
            let expected = Request { name: b"f", mode: b"octet", options: expected };
            assert_eq!(Packet::parse(&bytes), Ok(Packet::Read(expected)), "{tail:?}");
        }
    }

    #[test]
    fn what_is_not_tftp_is_named() {
        for (bytes, expected) in [
            (&b""[..], PacketError::Short),
            (b"\0", PacketError::Short),
            (b"\0\x04\0", PacketError::Short),
            (b"\0\x00", PacketError::Opcode(0)),
            (b"\0\x07", PacketError::Opcode(7)),
            (b"\0\x01name", PacketError::Request),
            (b"\0\x01name\0octet", PacketError::Request),
        ] {
            assert_eq!(Packet::parse(bytes), Err(expected), "{bytes:?}");
        }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1u8..=255, 1..40)
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn arbitrary_requests_never_panic(opcode in 1u8..=6, tail in prop::collection::vec(0u8..4, 0..60)) {
            let _ = Packet::parse(&[&[0, opcode][..], &tail].concat());
        }

        #[test]
        fn what_is_written_is_read_back(
            file in name(), mode in name(), pairs in prop::collection::vec((name(), name()), 0..6),
            block: u16, payload in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let options: Vec<RawOption<'_>> = pairs.iter().map(|(n, v)| (&n[..], &v[..])).collect();
            let request = Request { name: &file, mode: &mode, options: options.clone() };
            let mut bytes = Vec::new();
            for packet in [
                Packet::Read(request.clone()),
                Packet::Write(request),
                Packet::OptionAck(options),
                Packet::Data { block, payload: &payload },
                Packet::Ack(block),
                Packet::Error { code: ErrorCode(block), message: &file },
            ] {
                packet.encode_into(&mut bytes);
                prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
            }
        }
    }
}
