//! Stanza files: definitions as `lsdef -z` prints them, here and in xCAT.
//!
//! ```text
//! # <xCAT data object stanza file>
//!
//! n1:
//!     objtype=node
//!     groups=all
//! ```

use std::collections::BTreeSet;

use super::console::Usage;
use crate::define::schema;
use crate::trust::MASK;
use crate::wire::{AttributeAction, AttributeChange, ChangeAction, ChangeRequest, ObjectType};

/// What `lsdef` shows of nodes and nobody sets.
const VIEWS: [&str; 3] = ["status", "statustime", "currstate"];

/// A stanza file, read.
#[derive(Debug, Default)]
pub(super) struct Stanzas {
    /// A request for each object.
    pub(super) requests: Vec<ChangeRequest>,
    /// Attributes that are kept although nothing here uses them, as `type attribute`.
    pub(super) unknown: BTreeSet<String>,
    /// Objects and attributes that are left out, and why.
    pub(super) left_out: Vec<String>,
}

impl Stanzas {
    /// Reads a file; objects that say no type are of `kind`.
    ///
    /// # Errors
    /// A line is none of a stanza file, or an object has no type; the line's number is named.
    pub(super) fn read(
        text: &str,
        (action, kind): (ChangeAction, Option<ObjectType>),
    ) -> Result<Self, Usage> {
        let mut stanzas = Self::default();
        let mut open: Option<Open> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |why: &str| Usage(format!("line {number} of the stanza file: {why}"));
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let indented = line.starts_with([' ', '\t']);
            match (trimmed.strip_suffix(':').filter(|_| !indented), trimmed.split_once('=')) {
                (Some(name), _) => {
                    if let Some(done) = open.replace(Open::new(name, number)) {
                        stanzas.close(done, (action, kind))?;
                    }
                }
                (None, Some((attr, value))) => {
                    let object =
                        open.as_mut().ok_or_else(|| wrong("an attribute before any object's name"))?;
                    object.put(attr.trim(), value.trim());
                }
                (None, None) => return Err(wrong("neither 'name:' nor 'attribute=value'")),
            }
        }
        if let Some(done) = open {
            stanzas.close(done, (action, kind))?;
        }
        // Who is in a group can only be said of nodes that there are.
        stanzas.requests.sort_by_key(|request| request.kind == ObjectType::Group);
        Ok(stanzas)
    }

    fn close(
        &mut self,
        object: Open,
        (action, kind): (ChangeAction, Option<ObjectType>),
    ) -> Result<(), Usage> {
        let Open { name, line, objtype, attributes } = object;
        let at = format!("line {line} of the stanza file: {name}");
        let kind = match objtype {
            Some(word) => match ObjectType::of_word(&word) {
                Some(kind) => kind,
                None => {
                    self.left_out.push(format!("{name}: objects of type '{word}' are not kept here"));
                    return Ok(());
                }
            },
            None => kind.ok_or_else(|| Usage(format!("{at} has no objtype; give one with -t")))?,
        };
        let mut changes = Vec::new();
        for (attr, value) in attributes {
            if kind == ObjectType::Node && VIEWS.contains(&attr.as_str()) {
                continue;
            }
            if value == MASK {
                self.left_out.push(format!("{name} {attr}: passwords are masked in the file; set it here"));
                continue;
            }
            if !schema::is_known(kind, &attr) {
                self.unknown.insert(format!("{} {attr}", kind.word()));
            }
            changes.push(AttributeChange { name: attr, value, action: AttributeAction::Set });
        }
        self.requests.push(ChangeRequest { action, kind, names: vec![name], attributes: changes });
        Ok(())
    }
}

/// A stanza that is being read.
struct Open {
    name: String,
    line: usize,
    objtype: Option<String>,
    attributes: Vec<(String, String)>,
}

impl Open {
    fn new(name: &str, line: usize) -> Self {
        Self { name: name.trim().to_owned(), line, objtype: None, attributes: Vec::new() }
    }

    fn put(&mut self, attr: &str, value: &str) {
        match attr {
            "objtype" => self.objtype = Some(value.to_owned()),
            _ => self.attributes.push((attr.to_owned(), value.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Stanzas, String> {
        Stanzas::read(text, (ChangeAction::Create, None)).map_err(|error| error.to_string())
    }

    #[test]
    fn objects_of_all_types_are_read_and_what_is_odd_is_kept_aside() {
        let text = "# <xCAT data object stanza file>\n\nn1:\n    objtype=node\n    groups=all,x\n    status=booted\n\
                    \tmac=52:54:00:00:00:01!a|52:54:00:00:00:02!b\n    bmcpassword=MASK\n    madeup=a=b\n\nimg1:\n  \
                    objtype=osimage\n  provmethod=sysclone\npdu1:\n    objtype=pdu\n    outlet=8\n";
        let read = read(&text.replace("MASK", MASK)).unwrap();
        let shown: Vec<String> = read
            .requests
            .iter()
            .map(|r| {
                let attributes = r.attributes.iter().map(|a| format!("{}={}", a.name, a.value));
                format!("{} {}: {}", r.kind.word(), r.names[0], attributes.collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "node n1: groups=all,x mac=52:54:00:00:00:01!a|52:54:00:00:00:02!b madeup=a=b",
                "osimage img1: provmethod=sysclone"
            ]
        );
        assert_eq!(read.unknown.into_iter().collect::<Vec<_>>(), ["node madeup"]);
        assert_eq!(read.left_out[1], "pdu1: objects of type 'pdu' are not kept here");
        assert!(read.left_out[0].starts_with("n1 bmcpassword"));
    }

    #[test]
    fn what_is_no_stanza_file_is_refused_with_its_line() {
        for (text, part) in [
            ("    a=b\n", "line 1 of the stanza file: an attribute before"),
            ("n1:\n    objtype=node\n    what is this\n", "line 3"),
            ("n1:\n    a=b\n", "line 1 of the stanza file: n1 has no objtype"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
