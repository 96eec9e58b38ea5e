//! Signed manifests: Ed25519 over the manifest's bytes. Only a manifest that opens here is ever applied.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sysclone_protocol::names::Secret;
use zeroize::Zeroizing;

use crate::crypt::{KeyError, decode_base64, random_bytes};
use crate::id::ManifestDigest;
use crate::manifest::{DeltaError, Header, Manifest, ManifestError, decode_header};

/// First bytes of a signed manifest.
const MAGIC: [u8; 8] = *b"SYSCSIG1";
/// First bytes of a signed difference.
const DELTA_MAGIC: [u8; 8] = *b"SYSCSIGD";
/// Length of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;
/// Goes before the hash that is signed, so that no signature made for something else is ever taken for one of these.
const CONTEXT: &[u8] = b"sysclone manifest signature 1\0";

/// Why a signed manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not a signed manifest at all.
    #[error("this is not a signed manifest")]
    NotSigned,
    /// The signature does not fit bytes and key.
    #[error("the manifest's signature is not valid: it was changed, or another server made it")]
    Signature,
    /// Signed, but not a manifest that this version reads.
    #[error("reading the signed manifest")]
    Manifest(#[from] ManifestError),
    /// The difference does not fit the manifest at hand.
    #[error("making the manifest from its difference")]
    Delta(#[from] DeltaError),
}

/// The server's secret half.
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

/// The half that everybody may have; baked into the initrd.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl SigningKey {
    /// A new random key.
    ///
    /// # Errors
    /// The operating system gave no random numbers.
    pub fn random() -> Result<Self, KeyError> {
        Self::from_seed(Zeroizing::new(random_bytes()?))
    }

    /// Reads the key's seed from base64.
    ///
    /// # Errors
    /// The text is not 32 bytes in base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        Self::from_seed(decode_base64(text)?)
    }

    fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| KeyError::Invalid)?;
        Ok(Self { seed, pair })
    }

    /// The seed in base64, for a mode-0600 file.
    #[must_use]
    pub fn to_base64(&self) -> Secret {
        Secret::new(STANDARD.encode(&self.seed[..]))
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        let bytes = self.pair.public_key().as_ref();
        VerifyingKey(bytes.try_into().expect("an Ed25519 public key is 32 bytes"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl VerifyingKey {
    /// Reads a key from base64; whether it is a point on the curve shows at the first use.
    ///
    /// # Errors
    /// The text is not 32 bytes in base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        decode_base64(text).map(|bytes| Self(*bytes))
    }

    /// The key in base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.to_base64())
    }
}

fn message(unsigned: &[u8]) -> Vec<u8> {
    [CONTEXT, blake3::hash(unsigned).as_bytes()].concat()
}

/// Puts a signature before the bytes of [`Manifest::encode`].
#[must_use]
pub fn seal(unsigned: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = key.pair.sign(&message(unsigned));
    [&MAGIC, signature.as_ref(), unsigned].concat()
}

/// Checks the signature, then reads the manifest. Nothing of the manifest is looked at before its signature holds.
///
/// # Errors
/// Not a signed manifest, a signature that does not hold, or a manifest that breaks a rule of the format.
pub fn open(sealed: &[u8], key: &VerifyingKey) -> Result<Manifest, OpenError> {
    Ok(Manifest::decode(verified(sealed, key)?)?)
}

/// Puts the signature of a signed manifest before the difference (of [`Manifest::delta`]) that makes it; none when
/// `sealed` is no signed manifest.
#[must_use]
pub fn seal_delta(sealed: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let (signature, _) = sealed.strip_prefix(&MAGIC)?.split_at_checked(SIGNATURE_BYTES)?;
    Some([&DELTA_MAGIC, signature, delta].concat())
}

/// Makes a manifest from `base` and a signed difference. The signature is checked on the bytes of what was made: they
/// are the server's only when both write the format alike, so a failure means no more than that the whole must be
/// fetched.
///
/// # Errors
/// Not a signed difference, one from another manifest than `base`, or a signature that does not hold.
pub fn open_delta(sealed: &[u8], base: &Manifest, key: &VerifyingKey) -> Result<Manifest, OpenError> {
    let rest = sealed.strip_prefix(&DELTA_MAGIC).ok_or(OpenError::NotSigned)?;
    let (signature, delta) = rest.split_at_checked(SIGNATURE_BYTES).ok_or(OpenError::NotSigned)?;
    let manifest = Manifest::from_delta(base, delta)?;
    verified(&[&MAGIC, signature, &manifest.encode()[..]].concat(), key)?;
    Ok(manifest)
}

/// Checks the signature, then reads the header alone: a small part of the work, for what is known only about a
/// generation as a whole.
///
/// # Errors
/// Not a signed manifest, a signature that does not hold, or a header that this version does not read.
pub fn open_header(sealed: &[u8], key: &VerifyingKey) -> Result<Header, OpenError> {
    Ok(decode_header(verified(sealed, key)?)?)
}

/// Checks the signature, then tells the manifest's digest, which costs a small part of reading it.
///
/// # Errors
/// Not a signed manifest, a signature that does not hold, or bytes that cannot be unpacked.
pub fn open_digest(sealed: &[u8], key: &VerifyingKey) -> Result<ManifestDigest, OpenError> {
    Ok(Manifest::digest_of(verified(sealed, key)?)?)
}

/// The bytes that were signed, if they were.
fn verified<'a>(sealed: &'a [u8], key: &VerifyingKey) -> Result<&'a [u8], OpenError> {
    let rest = sealed.strip_prefix(&MAGIC).ok_or(OpenError::NotSigned)?;
    let (signature, unsigned) = rest.split_at_checked(SIGNATURE_BYTES).ok_or(OpenError::NotSigned)?;
    UnparsedPublicKey::new(&ED25519, key.0)
        .verify(&message(unsigned), signature)
        .map_err(|_| OpenError::Signature)?;
    Ok(unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::small;

    #[test]
    fn keys_go_through_base64_and_the_secret_half_does_not_show() {
        let key = SigningKey::random().unwrap();
        let again = SigningKey::from_base64(key.to_base64().reveal()).unwrap();
        assert_eq!(again.verifying_key(), key.verifying_key());
        let public = key.verifying_key();
        assert_eq!(VerifyingKey::from_base64(&public.to_base64()).unwrap(), public);
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }

    #[test]
    fn a_signed_manifest_opens_with_its_key_only() {
        let (key, other) = (SigningKey::random().unwrap(), SigningKey::random().unwrap());
        let manifest = small();
        let sealed = seal(&manifest.encode(), &key);
        assert_eq!(open(&sealed, &key.verifying_key()).unwrap(), manifest);
        assert!(matches!(open(&sealed, &other.verifying_key()), Err(OpenError::Signature)));
        assert!(matches!(open(&manifest.encode(), &key.verifying_key()), Err(OpenError::NotSigned)));
    }

    #[test]
    fn a_signed_difference_makes_the_signed_manifest_and_no_other() {
        let key = SigningKey::random().unwrap();
        let (base, mut new) = (small(), small());
        new.header.generation = 3;
        new.entries[5].meta.mode = 0o600;
        let sealed = seal(&new.encode(), &key);
        let delta = seal_delta(&sealed, &new.delta(&base)).unwrap();
        assert_eq!(open_delta(&delta, &base, &key.verifying_key()).unwrap(), new);
        assert!(matches!(open_delta(&delta, &new, &key.verifying_key()), Err(OpenError::Delta(_))));
        let other = SigningKey::random().unwrap().verifying_key();
        assert!(matches!(open_delta(&delta, &base, &other), Err(OpenError::Signature)));
        for at in 0..delta.len() {
            let mut changed = delta.clone();
            changed[at] ^= 1 << (at % 8);
            // A bit that says nothing may change; what is made may not.
            let opened = open_delta(&changed, &base, &key.verifying_key());
            assert!(opened.is_err() || opened.is_ok_and(|made| made == new), "byte {at}");
        }
        assert_eq!(seal_delta(&new.encode(), b""), None);
    }

    #[test]
    fn no_changed_bit_is_accepted() {
        let key = SigningKey::random().unwrap();
        let sealed = seal(&small().encode(), &key);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(open(&changed, &key.verifying_key()).is_err(), "byte {at}");
            assert!(open(&sealed[..at], &key.verifying_key()).is_err(), "cut at {at}");
        }
    }
}
