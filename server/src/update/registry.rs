//! Updates under way: one of a node at a time, each with a token that dies with it. In memory: when the server ends, the
//! agents see the end of their input.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sysclone_protocol::names::{ImageRef, NodeName, Secret};
use sysclone_protocol::update::UpdateAction;

use super::UpdateError;
use super::target::Target;
use crate::trust::{TokenHash, random};

/// How long a node that asked may take; its next one has a token of its own.
const LENT: Duration = Duration::from_secs(6 * 3600);

/// One update.
#[derive(Debug)]
pub struct Updating {
    /// The clone.
    pub node: NodeName,
    /// The generation that it is to be like.
    pub image: ImageRef,
    /// Digest of that generation's manifest, when it was read.
    pub digest: Option<String>,
    /// Who asked for it.
    pub actor: String,
    token: TokenHash,
    /// What a clone that asked by itself was told to do.
    pub(super) lent: Option<UpdateAction>,
    ends: Option<Instant>,
}

impl Updating {
    fn is_good(&self) -> bool {
        self.ends.is_none_or(|ends| Instant::now() < ends)
    }
}

/// All updates under way.
#[derive(Debug, Default)]
pub struct Updates {
    all: Mutex<HashMap<NodeName, Arc<Updating>>>,
    /// The difference of manifests that was asked for last: a range asks for the same one.
    pub(crate) delta: tokio::sync::Mutex<Option<(DeltaKey, Bytes)>>,
}

/// Digest of the manifest that is made, and the generation that it is made from.
pub(crate) type DeltaKey = (String, ImageRef);

/// Ends an update when dropped: its token is worth nothing from then on.
pub(super) struct Claim<'a> {
    updates: &'a Updates,
    updating: Arc<Updating>,
}

impl Updates {
    fn all(&self) -> MutexGuard<'_, HashMap<NodeName, Arc<Updating>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    #[must_use]
    pub fn running(&self) -> usize {
        self.all().values().filter(|updating| updating.is_good()).count()
    }

    /// Begins an update; the secret is its token.
    pub(super) fn claim(
        &self,
        node: &NodeName,
        target: &Target,
        actor: &str,
    ) -> Result<(Claim<'_>, Secret), UpdateError> {
        let (updating, token) = self.begin((node, target), actor, None)?;
        Ok((Claim { updates: self, updating }, token))
    }

    /// Begins an update that its node asked for; the secret is its token, which ends by itself.
    pub(super) fn lend(
        &self,
        node: &NodeName,
        target: &Target,
        action: &UpdateAction,
    ) -> Result<Secret, UpdateError> {
        Ok(self.begin((node, target), "itself", Some(action.clone()))?.1)
    }

    fn begin(
        &self,
        (node, target): (&NodeName, &Target),
        actor: &str,
        lent: Option<UpdateAction>,
    ) -> Result<(Arc<Updating>, Secret), UpdateError> {
        let mut all = self.all();
        // A node that asked may have been switched off since; when it is at work, its agent refuses a second one.
        if let Some(other) = all.get(node).filter(|other| other.lent.is_none()) {
            let text = format!("it is being updated to {} by {} already", other.image, other.actor);
            return Err(UpdateError::Said(text));
        }
        all.retain(|_, other| other.is_good());
        let token = Secret::new(blake3::Hash::from_bytes(random()).to_hex().to_string());
        let updating = Arc::new(Updating {
            node: node.clone(),
            image: target.image.clone(),
            digest: target.digest.clone(),
            actor: actor.to_owned(),
            token: TokenHash::of(token.reveal()),
            ends: lent.is_some().then(|| Instant::now() + LENT),
            lent,
        });
        all.insert(node.clone(), Arc::clone(&updating));
        Ok((updating, token))
    }

    /// Ends an update.
    pub(super) fn end(&self, updating: &Arc<Updating>) {
        let mut all = self.all();
        if all.get(&updating.node).is_some_and(|present| Arc::ptr_eq(present, updating)) {
            all.remove(&updating.node);
        }
    }

    /// The update with this token.
    #[must_use]
    pub fn by_token(&self, token: &TokenHash) -> Option<Arc<Updating>> {
        // Hashes of random tokens are compared, so the time that takes tells nothing.
        self.all().values().find(|updating| updating.token == *token && updating.is_good()).cloned()
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.updates.end(&self.updating);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target { image: "demo@4".parse().unwrap(), arch: None, digest: None, source: String::new() }
    }

    #[test]
    fn a_node_has_one_update_and_its_token_dies_with_it() {
        let updates = Updates::default();
        let (node, image) = ("n1".parse().unwrap(), target());
        let (claim, token) = updates.claim(&node, &image, "admin:root").unwrap();
        let refused = updates.claim(&node, &image, "admin:anna").err().unwrap().to_string();
        assert_eq!(refused, "it is being updated to demo@4 by admin:root already");
        let hash = TokenHash::of(token.reveal());
        assert_eq!(updates.by_token(&hash).unwrap().image, image.image);
        drop(claim);
        assert!(updates.by_token(&hash).is_none());
        assert!(updates.claim(&node, &image, "admin:anna").is_ok());
    }

    #[test]
    fn a_node_that_asked_and_went_away_is_in_nobodys_way() {
        let updates = Updates::default();
        let (node, image) = ("n1".parse().unwrap(), target());
        let lent = updates.lend(&node, &image, &UpdateAction::Apply).unwrap();
        let lent = TokenHash::of(lent.reveal());
        let updating = updates.by_token(&lent).unwrap();
        let (claim, token) = updates.claim(&node, &image, "admin:root").unwrap();
        assert!(
            updates.by_token(&lent).is_none() && updates.lend(&node, &image, &UpdateAction::Plan).is_err()
        );
        updates.end(&updating);
        assert!(updates.by_token(&TokenHash::of(token.reveal())).is_some(), "that one is another");
        drop(claim);
    }
}
