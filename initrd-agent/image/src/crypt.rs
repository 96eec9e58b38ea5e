//! Keys and the encryption of frames: ChaCha20-Poly1305 under a key of its own for every pack.
//!
//! The pack key is derived (BLAKE3 key derivation) from the image key and the pack's random salt, so a nonce only has
//! to be unique inside one pack: it is the frame's number there.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sysclone_protocol::names::Secret;
use zeroize::Zeroizing;

/// Separates pack keys from every other use of an image key.
const PACK_KEY_CONTEXT: &str = "sysclone image format 1: pack key";

/// A random number that makes every pack's key its own.
pub(crate) type Salt = [u8; 32];

/// Why a key could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not 32 bytes in base64.
    #[error("the key is not 32 bytes in base64")]
    Malformed,
    /// The kernel gave no random numbers.
    #[error("the operating system gave no random numbers")]
    NoRandom,
    /// A signature key pair that does not belong together, or a seed that is none.
    #[error("the key is not a valid Ed25519 key")]
    Invalid,
}

/// The secret of one image, 32 bytes. Whoever has it reads the image's packs.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageKey(Zeroizing<[u8; 32]>);

impl ImageKey {
    /// A new random key.
    ///
    /// # Errors
    /// The operating system gave no random numbers.
    pub fn random() -> Result<Self, KeyError> {
        random_bytes().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// Reads a key from base64.
    ///
    /// # Errors
    /// The text is not 32 bytes in base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        decode_base64(text).map(Self)
    }

    /// The key in base64, for an encrypted wire or a mode-0600 file.
    #[must_use]
    pub fn to_base64(&self) -> Secret {
        Secret::new(STANDARD.encode(&self.0[..]))
    }

    /// The key of the pack with this salt.
    pub(crate) fn pack_key(&self, salt: &Salt) -> PackKey {
        let mut hasher = blake3::Hasher::new_derive_key(PACK_KEY_CONTEXT);
        hasher.update(&self.0[..]).update(salt);
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key[..]).expect("32 bytes are a ChaCha20 key");
        PackKey(LessSafeKey::new(key))
    }
}

impl fmt::Debug for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImageKey(…)")
    }
}

/// 32 random bytes.
pub(crate) fn random_bytes() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::NoRandom)?;
    Ok(bytes)
}

/// 32 bytes from base64; spaces and newlines around them are ignored.
pub(crate) fn decode_base64(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| KeyError::Malformed)?);
    let bytes: [u8; 32] = bytes[..].try_into().map_err(|_| KeyError::Malformed)?;
    Ok(Zeroizing::new(bytes))
}

/// The bytes were not sealed with this key, or not as this part of the pack, or they were changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// Which part of a pack a sealed block is; it decides the nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The frame with this number.
    Frame(u32),
    /// The index.
    Index,
}

impl Part {
    fn nonce(self) -> Nonce {
        let (domain, number) = match self {
            Self::Frame(number) => (0, number),
            Self::Index => (1, 0),
        };
        let mut nonce = [0; 12];
        nonce[0] = domain;
        nonce[8..].copy_from_slice(&number.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals and opens the parts of one pack.
pub(crate) struct PackKey(LessSafeKey);

impl PackKey {
    /// Encrypts in place and appends the tag.
    pub(crate) fn seal(&self, part: Part, bytes: &mut Vec<u8>) {
        self.0
            .seal_in_place_append_tag(part.nonce(), Aad::empty(), bytes)
            .expect("a frame is far below the 256 GiB limit of ChaCha20-Poly1305");
    }

    /// Checks and decrypts in place; the answer is the plain bytes at the front of `bytes`.
    pub(crate) fn open<'b>(&self, part: Part, bytes: &'b mut [u8]) -> Result<&'b [u8], NotAuthentic> {
        self.0.open_in_place(part.nonce(), Aad::empty(), bytes).map(|plain| &*plain).map_err(|_| NotAuthentic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ImageKey {
        ImageKey(Zeroizing::new([7; 32]))
    }

    #[test]
    fn keys_go_through_base64_and_do_not_show() {
        let key = ImageKey::random().unwrap();
        assert_eq!(ImageKey::from_base64(key.to_base64().reveal()).unwrap(), key);
        assert_eq!(format!("{key:?}"), "ImageKey(…)");
        for bad in ["", "AAAA", "!", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])] {
            assert_eq!(ImageKey::from_base64(bad), Err(KeyError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_sealed_frame_opens_only_with_its_key_salt_number_and_bytes() {
        let mut sealed = b"content".to_vec();
        key().pack_key(&[1; 32]).seal(Part::Frame(3), &mut sealed);
        assert_eq!(sealed.len(), 7 + 16);
        let open = |key: &ImageKey, salt: u8, part: Part, bytes: &[u8]| {
            key.pack_key(&[salt; 32]).open(part, &mut bytes.to_vec()).map(<[u8]>::to_vec)
        };
        assert_eq!(open(&key(), 1, Part::Frame(3), &sealed).unwrap(), b"content");
        assert_eq!(open(&ImageKey::random().unwrap(), 1, Part::Frame(3), &sealed), Err(NotAuthentic));
        assert_eq!(open(&key(), 2, Part::Frame(3), &sealed), Err(NotAuthentic));
        assert_eq!(open(&key(), 1, Part::Frame(4), &sealed), Err(NotAuthentic));
        assert_eq!(open(&key(), 1, Part::Index, &sealed), Err(NotAuthentic));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&key(), 1, Part::Frame(3), &changed), Err(NotAuthentic), "byte {at}");
        }
    }
}
