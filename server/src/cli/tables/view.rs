//! A table with its rows.

use std::collections::BTreeMap;

use crate::cli::client::Client;
use crate::cli::console::Usage;
use crate::cli::objects::{self, Object};
use crate::define::schema::{self, Table};
use crate::wire::ObjectType;

/// The table of the site's settings, which are attributes of one object.
const SITE: &str = "site";
const SITE_COLUMNS: [&str; 4] = ["key", "value", "comments", "disable"];

/// A table as a dump shows it.
pub(super) struct View {
    pub(super) name: &'static str,
    pub(super) columns: Vec<&'static str>,
    /// Values by column; what is not set is not there.
    pub(super) rows: Vec<BTreeMap<&'static str, String>>,
}

/// Names of all tables, sorted.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = schema::tables().iter().map(|table| table.name).chain([SITE]).collect();
    names.sort_unstable();
    names
}

/// What a table's rows are made of.
pub(super) enum Origin {
    Site,
    Objects(&'static Table),
}

/// The text for a column that a table does not have.
pub(super) fn no_column(table: &str, column: &str) -> Usage {
    Usage(format!("no such column: the table {table} has no column '{column}'"))
}

/// The table of this name.
pub(super) fn origin(name: &str) -> Result<Origin, Usage> {
    match schema::table(name) {
        _ if name == SITE => Ok(Origin::Site),
        Some(table) => Ok(Origin::Objects(table)),
        None => Err(Usage(format!("No such table: {name}"))),
    }
}

impl View {
    /// Reads a table from the daemon.
    pub(super) async fn read(client: &Client, name: &str) -> anyhow::Result<Self> {
        match origin(name)? {
            Origin::Site => Ok(Self::site(objects::all(client, ObjectType::Site).await?)),
            Origin::Objects(table) => Ok(Self::of(table, objects::all(client, table.kind).await?)),
        }
    }

    fn site(objects: Vec<Object>) -> Self {
        let mut rows: BTreeMap<String, BTreeMap<&'static str, String>> = BTreeMap::new();
        for (name, value) in objects.into_iter().flat_map(|site| site.attributes) {
            let more = SITE_COLUMNS[2..]
                .iter()
                .find_map(|column| Some((name.strip_suffix(column)?.strip_suffix('.')?.to_owned(), *column)));
            let (key, column) = more.unwrap_or((name, "value"));
            let row = rows.entry(key.clone()).or_insert_with(|| BTreeMap::from([("key", key)]));
            row.insert(column, value);
        }
        Self { name: SITE, columns: SITE_COLUMNS.to_vec(), rows: rows.into_values().collect() }
    }

    fn of(table: &'static Table, objects: Vec<Object>) -> Self {
        let columns = std::iter::once(table.key).chain(table.columns.iter().map(|column| column.name));
        let rows = objects.into_iter().filter_map(|object| row(table, object));
        Self { name: table.name, columns: columns.collect(), rows: rows.collect() }
    }

    /// The rows whose columns have these values.
    pub(super) fn rows_where<'a>(
        &'a self,
        wanted: &'a [(String, String)],
    ) -> impl Iterator<Item = &'a BTreeMap<&'static str, String>> {
        self.rows.iter().filter(move |row| {
            wanted.iter().all(|(column, value)| row.get(column.as_str()).is_some_and(|found| found == value))
        })
    }

    /// A row as a dump prints it.
    pub(super) fn line(&self, row: &BTreeMap<&'static str, String>) -> String {
        let quoted = |value: &String| format!("\"{}\"", value.replace('"', "\"\""));
        let cells = self.columns.iter().map(|column| row.get(column).map(quoted).unwrap_or_default());
        cells.collect::<Vec<_>>().join(",")
    }

    /// The line before the rows.
    pub(super) fn header(&self) -> String {
        format!("#{}", self.columns.join(","))
    }
}

/// None when the object has nothing in this table.
fn row(table: &'static Table, mut object: Object) -> Option<BTreeMap<&'static str, String>> {
    if let Some((attribute, values)) = table.only_if {
        object.attributes.get(attribute).filter(|value| values.contains(&value.as_str()))?;
    }
    let cells = table.columns.iter().filter_map(|column| {
        Some((column.name, object.attributes.remove(&column.attribute).filter(|value| !value.is_empty())?))
    });
    let mut row: BTreeMap<&'static str, String> = cells.collect();
    if row.is_empty() {
        return None;
    }
    row.insert(table.key, object.name);
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_objects_that_have_something_in_the_table() {
        let object = |name: &str, pairs: &[(&str, &str)]| Object {
            name: name.to_owned(),
            kind: "node",
            attributes: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let table = schema::table("nodehm").unwrap();
        let objects = vec![
            object("n1", &[("mgt", "ipmi"), ("groups", "all"), ("nodehm.comments", "say \"x\"")]),
            object("n2", &[("groups", "all")]),
        ];
        let view = View::of(table, objects);
        assert!(view.header().starts_with("#node,power,mgt,"), "{}", view.header());
        assert!(view.header().ends_with(",comments,disable"), "{}", view.header());
        let lines: Vec<String> = view.rows.iter().map(|row| view.line(row)).collect();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("\"n1\",,\"ipmi\",,"), "{lines:?}");
        assert!(lines[0].ends_with("\"say \"\"x\"\"\","), "{lines:?}");
    }
}
