//! Noderanges over the definitions.

use super::schema;
use super::snapshot::Snapshot;
use crate::noderange::NodeSource;
use crate::wire::ObjectType;

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

    fn has_attribute(&self, name: &str) -> bool {
        // What no table of xCAT has may have come with an imported definition.
        schema::resolve(ObjectType::Node, name).is_some() || self.has_own(name)
    }

    fn attribute(&self, node: &str, name: &str) -> Option<String> {
        schema::value(ObjectType::Node, name, (node, self.attributes(node)?)).map(str::to_owned)
    }

    fn excluded(&self) -> Option<String> {
        self.site().excludenodes.clone()
    }
}
