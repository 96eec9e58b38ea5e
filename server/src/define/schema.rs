//! xCAT's tables and the attributes of our objects that stand for their columns: which names are known, what
//! `table.column` means, and what a dump of a table shows. The values themselves are kept by object and attribute.

mod tables;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::db::Attributes;
use crate::wire::ObjectType;

use tables::SOURCE;

/// One of xCAT's tables as a view on objects.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Objects that are its rows.
    pub kind: ObjectType,
    /// The column that holds the object's name.
    pub key: &'static str,
    /// Rows are only objects whose attribute has one of these values.
    pub only_if: Option<(&'static str, &'static [&'static str])>,
    /// All other columns in order.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// The attribute that holds its values.
    pub attribute: String,
    /// Whether the attribute is one of the object's own, shown with it. Others are only seen in the table.
    pub shown: bool,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// The name of the object itself.
    Name,
    /// An attribute.
    Attribute(String),
}

static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| SOURCE.iter().map(tables::Source::read).collect());

static ATTRIBUTES: LazyLock<HashMap<(ObjectType, &'static str), ()>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    for table in TABLES.iter() {
        for column in table.columns.iter().filter(|column| column.shown) {
            known.insert((table.kind, column.attribute.as_str()), ());
            // A group's row in a table of nodes stands for all nodes of the group.
            if table.kind == ObjectType::Node && table.name != "nodelist" {
                known.insert((ObjectType::Group, column.attribute.as_str()), ());
            }
        }
    }
    known
});

/// All tables, sorted by name.
#[must_use]
pub fn tables() -> &'static [Table] {
    &TABLES
}

/// The table of this name.
#[must_use]
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

impl Table {
    /// What a column of this name holds.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<Resolved> {
        if name == self.key {
            return Some(Resolved::Name);
        }
        let column = self.columns.iter().find(|column| column.name == name)?;
        Some(Resolved::Attribute(column.attribute.clone()))
    }
}

/// Whether objects of a type have an attribute of this name. Site settings may have any name.
#[must_use]
pub fn is_known(kind: ObjectType, attribute: &str) -> bool {
    kind == ObjectType::Site
        || ATTRIBUTES.contains_key(&(kind, attribute))
        || attribute
            .split_once('.')
            .is_some_and(|(family, member)| is_family(kind, family) && !member.is_empty())
}

/// `nicips.eth0`, `passwd.HMC`: attributes that have a value for each member.
fn is_family(kind: ObjectType, family: &str) -> bool {
    matches!(kind, ObjectType::Node | ObjectType::Group)
        && (family == "passwd" || (family.starts_with("nic") && is_known(kind, family)))
}

/// What a name in a comparison or a question stands for: an attribute, a short name of xCAT, or `table.column`.
#[must_use]
pub fn resolve(kind: ObjectType, name: &str) -> Option<Resolved> {
    let attribute = |name: &str| Some(Resolved::Attribute(name.to_owned()));
    match name {
        "tags" => return attribute("groups"),
        "node" if kind == ObjectType::Node => return Some(Resolved::Name),
        _ if is_known(kind, name) => return attribute(name),
        _ => {}
    }
    let (table_name, column) = name.split_once('.')?;
    let table = table(table_name).filter(|table| table.kind == kind)?;
    table.column(column)
}

/// The value of what a name stands for at one object; none when it is unset.
#[must_use]
pub fn value<'a>(
    kind: ObjectType,
    name: &str,
    (object, attributes): (&'a str, &'a Attributes),
) -> Option<&'a str> {
    let attribute = match resolve(kind, name) {
        Some(Resolved::Name) => return Some(object),
        Some(Resolved::Attribute(attribute)) => attribute,
        None => name.to_owned(),
    };
    attributes.get(&attribute).map(String::as_str)
}

/// Whether an attribute is only seen in its table (`nodehm.comments`), not with its object.
#[must_use]
pub fn is_hidden(attribute: &str) -> bool {
    attribute.ends_with(".comments") || attribute.ends_with(".disable")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str) -> Option<Resolved> {
        Some(Resolved::Attribute(name.to_owned()))
    }

    #[test]
    fn names_are_resolved_as_xcat_does() {
        for (name, expected) in [
            ("groups", attribute("groups")),
            ("tags", attribute("groups")),
            ("mgt", attribute("mgt")),
            ("nodehm.mgt", attribute("mgt")),
            ("nodelist.groups", attribute("groups")),
            ("nodelist.node", Some(Resolved::Name)),
            ("ipmi.username", attribute("bmcusername")),
            ("nodehm.comments", attribute("nodehm.comments")),
            ("nodelist.comments", attribute("usercomment")),
            ("nicips.eth0", attribute("nicips.eth0")),
            ("passwd.HMC", attribute("passwd.HMC")),
            ("gruops", None),
            ("nodetypes.os", None),
            ("nodehm.os", None),
            ("networks.net", None),
        ] {
            assert_eq!(resolve(ObjectType::Node, name), expected, "{name}");
        }
    }

    #[test]
    fn groups_have_what_nodes_have_but_no_place_in_the_list_of_nodes() {
        assert!(is_known(ObjectType::Group, "bmc") && is_known(ObjectType::Group, "members"));
        assert!(!is_known(ObjectType::Group, "primarysn") && !is_known(ObjectType::Node, "members"));
        assert!(is_known(ObjectType::Site, "whatever"));
    }

    #[test]
    fn no_table_has_a_column_twice() {
        for table in tables() {
            let mut names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
            names.push(table.key);
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", table.name);
        }
        assert!(tables().is_sorted_by_key(|table| table.name));
    }
}
