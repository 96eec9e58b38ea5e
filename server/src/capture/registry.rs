//! Captures under way: one of an image at a time, each with a token that dies with it. In memory: a restart of the
//! server ends its captures, and what they sent stays staged in the store.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sysclone_protocol::agent::CaptureReply;
use sysclone_protocol::names::{ImageName, Secret};

use super::CaptureError;
use crate::trust::{TokenHash, random};

/// One capture.
#[derive(Debug)]
pub struct Capturing {
    /// The image that gets a generation.
    pub image: ImageName,
    /// The golden client.
    pub node: String,
    /// Who asked for it.
    pub actor: String,
    token: TokenHash,
    /// What came of it, once its manifest was accepted.
    pub finished: OnceLock<Finished>,
    /// Whether the store has lost packs of the generation before; what they held is sent again.
    pub lost: AtomicBool,
}

/// What came of a capture.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The new generation.
    pub reply: CaptureReply,
    /// Whether the osimage definition is new.
    pub created: bool,
}

/// All captures under way.
#[derive(Debug, Default)]
pub struct Captures(Mutex<HashMap<ImageName, Arc<Capturing>>>);

/// Ends a capture when dropped: its token is worth nothing from then on.
pub(super) struct Claim<'a> {
    captures: &'a Captures,
    pub(super) capturing: Arc<Capturing>,
}

impl Captures {
    fn all(&self) -> MutexGuard<'_, HashMap<ImageName, Arc<Capturing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    #[must_use]
    pub fn running(&self) -> usize {
        self.all().len()
    }

    /// Begins a capture; the secret is its token.
    pub(super) fn claim(
        &self,
        image: &ImageName,
        node: &str,
        actor: &str,
    ) -> Result<(Claim<'_>, Secret), CaptureError> {
        let mut all = self.all();
        if let Some(other) = all.get(image) {
            return Err(CaptureError::Said(format!(
                "the osimage {image} is being captured from {} by {} already",
                other.node, other.actor
            )));
        }
        let token = blake3::Hash::from_bytes(random()).to_hex().to_string();
        let capturing = Arc::new(Capturing {
            image: image.clone(),
            node: node.to_owned(),
            actor: actor.to_owned(),
            token: TokenHash::of(&token),
            finished: OnceLock::new(),
            lost: AtomicBool::new(false),
        });
        all.insert(image.clone(), Arc::clone(&capturing));
        Ok((Claim { captures: self, capturing }, Secret::new(token)))
    }

    /// The capture with this token.
    #[must_use]
    pub fn by_token(&self, token: &TokenHash) -> Option<Arc<Capturing>> {
        // Hashes of random tokens are compared, so the time that takes tells nothing.
        self.all().values().find(|capturing| capturing.token == *token).cloned()
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.captures.all().remove(&self.capturing.image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_one_capture_and_its_token_dies_with_it() {
        let captures = Captures::default();
        let image: ImageName = "demo".parse().unwrap();
        let (claim, token) = captures.claim(&image, "golden", "admin:root").unwrap();
        let refused = captures.claim(&image, "other", "admin:root").err().unwrap().to_string();
        assert_eq!(refused, "the osimage demo is being captured from golden by admin:root already");
        let hash = TokenHash::of(token.reveal());
        assert_eq!(captures.by_token(&hash).unwrap().node, "golden");
        drop(claim);
        assert!(captures.by_token(&hash).is_none());
        assert!(captures.claim(&image, "other", "admin:root").is_ok());
    }
}
