//! Passwords in the database: sealed with a key that is outside of it, so that a copy of the database opens no BMC.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sysclone_protocol::names::Secret;

use super::ticket::random;

/// What sealed values begin with.
const MARK: &str = "sealed:1:";

/// What is shown in place of a password.
pub const MASK: &str = "********";

/// Whether an attribute holds a password.
#[must_use]
pub fn is_secret(attr: &str) -> bool {
    attr.to_ascii_lowercase().ends_with("password")
}

/// A sealed value that this key does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{attr} was sealed with another key: set it again, or restore keys/attributes.key from a backup")]
pub struct SealError {
    attr: String,
}

/// The key that passwords are sealed with.
#[derive(Clone)]
pub struct AttributeKey([u8; 32]);

impl fmt::Debug for AttributeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttributeKey(…)")
    }
}

impl AttributeKey {
    /// Reads the key from its file's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD_NO_PAD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// A new key, as text.
    #[must_use]
    pub fn make() -> Secret {
        Secret::new(STANDARD_NO_PAD.encode(random::<32>()))
    }

    /// Seals the value of an attribute. A value that this key has sealed already stays as it is.
    #[must_use]
    pub fn seal(&self, attr: &str, value: &str) -> String {
        if value.starts_with(MARK) && self.open(attr, value).is_ok() {
            return value.to_owned();
        }
        // 96 random bits: with 2^32 passwords sealed, two equal ones are still less likely than one in 2^32.
        let nonce = random::<NONCE_LEN>();
        let mut bytes = value.as_bytes().to_vec();
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.cipher().seal_in_place_append_tag(nonce_of, Aad::from(attr), &mut bytes).expect("it is short");
        format!("{MARK}{}", STANDARD_NO_PAD.encode([&nonce[..], &bytes].concat()))
    }

    /// Opens a value; one that was never sealed is taken as it is.
    ///
    /// # Errors
    /// It was sealed with another key, or for another attribute.
    pub fn open(&self, attr: &str, value: &str) -> Result<Secret, SealError> {
        let Some(text) = value.strip_prefix(MARK) else { return Ok(Secret::new(value.to_owned())) };
        self.opened(attr, text).map(Secret::new).ok_or_else(|| SealError { attr: attr.to_owned() })
    }

    fn opened(&self, attr: &str, text: &str) -> Option<String> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let (nonce, mut sealed) = (Nonce::try_assume_unique_for_key(nonce).ok()?, sealed.to_vec());
        let open = self.cipher().open_in_place(nonce, Aad::from(attr), &mut sealed).ok()?.to_vec();
        String::from_utf8(open).ok()
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &self.0).expect("the key has the right length"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AttributeKey {
        AttributeKey::parse(AttributeKey::make().reveal()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_for_the_same_attribute_only() {
        let key = key();
        let sealed = key.seal("bmcpassword", "geheim");
        assert!(!sealed.contains("geheim") && sealed.starts_with(MARK));
        assert_eq!(key.open("bmcpassword", &sealed).unwrap().reveal(), "geheim");
        assert!(key.open("comments", &sealed).is_err());
        assert!(self::key().open("bmcpassword", &sealed).is_err());
        assert!(key.open("bmcpassword", "sealed:1:rubbish").is_err());
        assert_ne!(sealed, key.seal("bmcpassword", "geheim"), "equal passwords look equal");
    }

    #[test]
    fn sealing_twice_changes_nothing_and_an_imitation_is_sealed_itself() {
        let key = key();
        let sealed = key.seal("bmcpassword", "geheim");
        assert_eq!(key.seal("bmcpassword", &sealed), sealed);
        let odd = "sealed:1:AAAA";
        assert_eq!(key.open("bmcpassword", &key.seal("bmcpassword", odd)).unwrap().reveal(), odd);
    }

    #[test]
    fn passwords_are_known_by_their_names() {
        for (attr, secret) in
            [("bmcpassword", true), ("password", true), ("bmcusername", false), ("comments", false)]
        {
            assert_eq!(is_secret(attr), secret, "{attr}");
        }
    }
}
