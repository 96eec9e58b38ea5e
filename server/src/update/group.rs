//! Plans with equal changes are sent once: of a thousand equal nodes, one says what changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use blake3::Hash;
use sysclone_protocol::update::UpdatePlan;

/// The plans of one request.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<HashMap<Hash, String>>);

impl Groups {
    /// The first node that has the same changes, which are taken out of this plan then. What nodes say of their plans'
    /// digests is not relied on: one must not speak for another.
    pub(super) fn fold(&self, node: &str, plan: &mut UpdatePlan) -> Option<String> {
        let changes = serde_json::to_vec(&(&plan.changes, &plan.boot)).expect("wire types always encode");
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = known.entry(blake3::hash(&changes)).or_insert_with(|| node.to_owned());
        if first == node {
            return None;
        }
        plan.changes.clear();
        plan.boot.clear();
        Some(first.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_changes_are_sent_once_whatever_a_node_says_of_their_digest() {
        let groups = Groups::default();
        let plan = |boot: &str| UpdatePlan { boot: vec![boot.to_owned()], ..UpdatePlan::default() };
        assert_eq!(groups.fold("n1", &mut plan("a")), None);
        let mut same = plan("a");
        assert_eq!(groups.fold("n2", &mut same), Some("n1".to_owned()));
        assert!(same.boot.is_empty());
        assert_eq!(groups.fold("n3", &mut plan("b")), None, "its digest is the same");
        assert_eq!(groups.fold("n1", &mut plan("a")), None);
    }
}
