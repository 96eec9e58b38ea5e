//! [`Range`] to nodes.

use std::collections::BTreeSet;

use super::ast::{Atom, Range, Select, Term};
use super::names::Word;
use super::{MAX_NAMES, RangeError};

/// Everything that evaluating a range asks about the nodes.
pub trait NodeSource {
    /// Names of all nodes.
    fn nodes(&self) -> Vec<String>;

    /// Whether a node has this name.
    fn has_node(&self, name: &str) -> bool;

    /// Nodes in the group of this name; none when there is no such group.
    fn group(&self, name: &str) -> Option<Vec<String>>;

    /// Whether nodes can have an attribute of this name.
    fn has_attribute(&self, name: &str) -> bool;

    /// The value of a node's attribute; none when it is unset.
    fn attribute(&self, node: &str, name: &str) -> Option<String>;

    /// A range that is taken away from every range (site attribute `excludenodes`).
    fn excluded(&self) -> Option<String> {
        None
    }
}

/// What a range came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Known nodes, sorted, each once.
    pub nodes: Vec<String>,
    /// Names that no node or group has, in the order they appeared, each once.
    pub unknown: Vec<String>,
}

impl Range {
    /// The nodes that the range stands for in `source`.
    ///
    /// # Errors
    /// It makes too many names, counts backwards, names a file, or selects by an attribute that nodes do not have.
    pub fn evaluate(&self, source: &dyn NodeSource) -> Result<Selection, RangeError> {
        let mut selection = self.evaluate_with_hidden(source)?;
        if let Some(text) = source.excluded() {
            let site = Evaluation::new(source).range(&text.parse()?)?;
            selection.nodes.retain(|node| !site.contains(node));
        }
        Ok(selection)
    }

    /// The same with the nodes that the site hides from other verbs than those of definitions.
    ///
    /// # Errors
    /// As [`Range::evaluate`].
    pub fn evaluate_with_hidden(&self, source: &dyn NodeSource) -> Result<Selection, RangeError> {
        let mut run = Evaluation::new(source);
        let nodes = run.range(self)?;
        Ok(Selection { nodes: nodes.into_iter().collect(), unknown: run.unknown })
    }
}

struct Evaluation<'a> {
    source: &'a dyn NodeSource,
    unknown: Vec<String>,
    /// The same names, to find each quickly.
    seen: BTreeSet<String>,
    /// Names that may still be made.
    budget: u64,
}

type Nodes = BTreeSet<String>;

impl<'a> Evaluation<'a> {
    fn new(source: &'a dyn NodeSource) -> Self {
        Self { source, unknown: Vec::new(), seen: BTreeSet::new(), budget: MAX_NAMES }
    }

    fn range(&mut self, range: &Range) -> Result<Nodes, RangeError> {
        let (mut chosen, mut excluded) = (Nodes::new(), Nodes::new());
        for term in &range.terms {
            let nodes = self.term(term)?;
            if term.exclude { excluded.extend(nodes) } else { chosen.extend(nodes) }
        }
        chosen.retain(|node| !excluded.contains(node));
        Ok(chosen)
    }

    fn term(&mut self, term: &Term) -> Result<Nodes, RangeError> {
        let mut common: Option<Nodes> = None;
        for atom in &term.atoms {
            let nodes = self.atom(atom)?;
            common = Some(match common {
                None => nodes,
                Some(so_far) => so_far.intersection(&nodes).cloned().collect(),
            });
        }
        Ok(common.unwrap_or_default())
    }

    fn atom(&mut self, atom: &Atom) -> Result<Nodes, RangeError> {
        match atom {
            Atom::Nested(range) => self.range(range),
            Atom::Word(word) => self.word(word),
            Atom::Matching(pattern) => {
                Ok(self.source.nodes().into_iter().filter(|node| pattern.regex.is_match(node)).collect())
            }
            Atom::Select(select) => self.select(select),
            Atom::File(path) => Err(RangeError::File { path: path.clone() }),
        }
    }

    fn word(&mut self, word: &Word) -> Result<Nodes, RangeError> {
        if let Some(nodes) = self.named(&word.text) {
            return Ok(nodes);
        }
        let names = word.names(self.budget)?;
        self.budget -= names.len() as u64;
        let mut nodes = Nodes::new();
        for name in names {
            nodes.extend(self.name(name));
        }
        Ok(nodes)
    }

    /// The nodes of one name, which is noted when nothing has it.
    fn name(&mut self, name: String) -> Nodes {
        if let Some(nodes) = self.named(&name) {
            return nodes;
        }
        let bare_number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        let name = if bare_number { format!("node{name}") } else { name };
        self.named(&name).unwrap_or_else(|| {
            if self.seen.insert(name.clone()) {
                self.unknown.push(name);
            }
            Nodes::new()
        })
    }

    /// The node or the group of this name.
    fn named(&self, name: &str) -> Option<Nodes> {
        if self.source.has_node(name) {
            return Some(Nodes::from([name.to_owned()]));
        }
        Some(self.source.group(name)?.into_iter().collect())
    }

    fn select(&self, select: &Select) -> Result<Nodes, RangeError> {
        let name = &select.attribute;
        if !self.source.has_attribute(name) {
            return Err(RangeError::Attribute { name: name.clone() });
        }
        let accepted = |node: &String| {
            let value = self.source.attribute(node, name).unwrap_or_default();
            select.accepts(&value)
        };
        Ok(self.source.nodes().into_iter().filter(accepted).collect())
    }
}
