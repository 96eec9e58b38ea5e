//! What nodes have from their groups: an attribute that a node does not have itself is that of the first of its groups
//! that has it. Values that depend on the node's name are computed here, be they the node's own or a group's.

use std::collections::BTreeMap;

use super::perl::Computed;
use crate::db::Attributes;
use crate::wire::Objects;

/// What a group says of itself, not of its nodes; and what is no value to be computed, be it a node's or a group's.
pub(super) const OWN: &[&str] =
    &["groups", "grouptype", "membergroups", "members", "updateexcludes", "usercomment", "wherevals"];

/// An attribute as a group has it.
#[derive(Debug, Clone)]
enum Value {
    Plain(String),
    Computed(String, Computed),
    Wrong(String, String),
}

impl Value {
    fn read(text: &str) -> Self {
        match Computed::parse(text) {
            Ok(None) => Self::Plain(text.to_owned()),
            Ok(Some(computed)) => Self::Computed(text.to_owned(), computed),
            Err(error) => Self::Wrong(text.to_owned(), error.to_string()),
        }
    }

    /// The value for a node, none when it is empty; or the text as it was written, and why it has none.
    fn of(&self, node: &str) -> Result<Option<String>, (String, String)> {
        match self {
            Self::Plain(text) => Ok(Some(text.clone())),
            Self::Computed(text, computed) => {
                computed.value(node).map_err(|error| (text.clone(), error.to_string()))
            }
            Self::Wrong(text, why) => Err((text.clone(), why.clone())),
        }
    }
}

/// The attributes of all groups, ready to be given to nodes.
#[derive(Debug, Clone, Default)]
pub struct Inherited {
    groups: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Inherited {
    /// Reads the groups' definitions.
    #[must_use]
    pub fn new(groups: &Objects) -> Self {
        let mut inherited = Self::default();
        for (name, attributes) in groups {
            let given = attributes.iter().filter(|(attr, _)| !OWN.contains(&attr.as_str()));
            let values = given.map(|(attr, text)| (attr.clone(), Value::read(text))).collect();
            inherited.groups.insert(name.clone(), values);
        }
        inherited
    }

    /// A node's attributes, its groups' included; and what is wrong with the first that has no value, which stands as
    /// it was written.
    #[must_use]
    pub fn attributes_of(&self, node: &str, own: &Attributes) -> (Attributes, Option<String>) {
        let mut all = Attributes::new();
        let mut wrong = None;
        let mut put = |attr: &str, value: &Value| {
            let value = value.of(node).unwrap_or_else(|(text, why)| {
                wrong.get_or_insert_with(|| format!("{attr}={text} of {node} cannot be computed: {why}"));
                Some(text)
            });
            all.extend(value.map(|value| (attr.to_owned(), value)));
        };
        for (attr, text) in own {
            let is_plain = OWN.contains(&attr.as_str());
            put(attr, &if is_plain { Value::Plain(text.clone()) } else { Value::read(text) });
        }
        let groups = words(own.get("groups"));
        let mut taken: std::collections::BTreeSet<&str> = own.keys().map(String::as_str).collect();
        for (attr, value) in groups.filter_map(|group| self.groups.get(group)).flatten() {
            if taken.insert(attr) {
                put(attr, value);
            }
        }
        (all, wrong)
    }

    /// The same for many nodes; what cannot be computed stays as it was written.
    pub fn add_to(&self, nodes: &mut Objects) {
        for (name, attributes) in nodes {
            *attributes = self.attributes_of(name, attributes).0;
        }
    }
}

fn words(list: Option<&String>) -> impl Iterator<Item = &str> {
    list.map(String::as_str).unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(attr, value)| ((*attr).to_owned(), (*value).to_owned())).collect()
    }

    fn groups() -> Inherited {
        let bmc =
            attributes(&[("bmc", r"/\z/-bmc/"), ("ip", r"|\D+(\d+)|10.1.0.($1+0)|"), ("arch", "ppc64le")]);
        let rack = attributes(&[("arch", "x86_64"), ("usercomment", "not the nodes'"), ("mgt", "ipmi")]);
        let wrong = attributes(&[("bmc", "|n(|x|")]);
        let all = [("all", bmc), ("rack", rack), ("wrong", wrong)];
        Inherited::new(&all.into_iter().map(|(name, attributes)| (name.to_owned(), attributes)).collect())
    }

    #[test]
    fn a_node_has_what_its_groups_have_and_its_own_first() {
        let own = attributes(&[("groups", "all,rack"), ("bmc", "mine")]);
        let (found, wrong) = groups().attributes_of("n007", &own);
        let expected = [
            ("arch", "ppc64le"),
            ("bmc", "mine"),
            ("groups", "all,rack"),
            ("ip", "10.1.0.7"),
            ("mgt", "ipmi"),
        ];
        assert_eq!((found, wrong), (attributes(&expected), None));
        let (found, _) = groups().attributes_of("n8", &attributes(&[("groups", "all")]));
        assert_eq!(found["bmc"], "n8-bmc");
        let own = attributes(&[("groups", r"/\z/-a/")]);
        assert_eq!(groups().attributes_of("n1", &own), (own, None), "the names of groups are not computed");
    }

    #[test]
    fn what_cannot_be_computed_is_named_with_node_and_attribute() {
        let (found, wrong) = groups().attributes_of("n1", &attributes(&[("groups", "wrong")]));
        assert_eq!(found["bmc"], "|n(|x|");
        let wrong = wrong.unwrap();
        assert!(wrong.starts_with("bmc=|n(|x| of n1 cannot be computed: 'n('"), "{wrong}");
    }
}
