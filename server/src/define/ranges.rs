//! Noderanges over the definitions.

use super::snapshot::Snapshot;
use crate::noderange::NodeSource;

impl NodeSource for Snapshot {
    fn nodes(&self) -> Vec<String> {
        self.names().map(str::to_owned).collect()
    }

    fn has_node(&self, name: &str) -> bool {
        self.attributes(name).is_some()
    }

    fn group(&self, name: &str) -> Option<Vec<String>> {
        // As in xCAT, `all` is every node whether or not anybody put it into a group of that name.
        let members = Snapshot::group(self, name);
        if name == "all" && members.is_none() { Some(self.nodes()) } else { members.map(<[String]>::to_vec) }
    }

    fn has_attribute(&self, _name: &str) -> bool {
        // Attributes are free text here; one that nobody has selects nothing.
        true
    }

    fn attribute(&self, node: &str, name: &str) -> Option<String> {
        self.attributes(node)?.get(name).cloned()
    }

    fn excluded(&self) -> Option<String> {
        self.site().excludenodes.clone()
    }
}
