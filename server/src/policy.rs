//! Who may do what: xCAT's policy rules. Text in the database, checked when it is written, decided here; no I/O.
//!
//! Rules are looked at by priority, the lowest number first, and the first that fits decides. What no rule fits is
//! denied, unless there are no rules at all: then whoever can reach the daemon may do everything but what is root's.
//! Root on this machine may do everything, because it can write the database anyway.
//!
//! Several verbs that do the same are the same to the server: a rule for `chdef` is one for `nodech`, too.

mod rule;
#[cfg(test)]
mod tests;

use crate::noderange::NodeSource;
use crate::wire::Objects;
use rule::Rule;

pub use rule::check_rule_attribute;

/// The nodes that a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About<'a> {
    /// It is about something else.
    Nothing,
    /// Every node there is, also those of tomorrow.
    All,
    /// These.
    Nodes(&'a [String]),
}

/// A call that somebody wants to make.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Account name of a process on this machine, or `token:NAME`.
    pub account: &'a str,
    /// Whether it is a token: those are allowed by rules that name them only.
    pub token: bool,
    /// Verbs that make this call, as administrators know them.
    pub verbs: &'a [&'a str],
    /// What stands after verb and nodes (`-t node mgt=ipmi`, `osimage=demo`).
    pub parameters: &'a str,
    /// Nodes concerned.
    pub about: About<'a>,
}

/// What became of a call; with the priority of the rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be made. There is no rule when there are no rules at all.
    Allowed(Option<String>),
    /// By a rule with `rule=trusted`: policy itself may be changed, too.
    Trusted(String),
    /// It may not. There is no rule when none fits.
    Denied(Option<String>),
}

/// All rules, in the order in which they are looked at.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads the objects of type `policy`. `machine` is this machine's name.
    #[must_use]
    pub fn read(policies: &Objects, machine: &str) -> Self {
        let mut rules: Vec<Rule> =
            policies.iter().map(|(priority, attributes)| Rule::read(priority, attributes, machine)).collect();
        rules.sort_by(|a, b| a.order().total_cmp(&b.order()).then_with(|| a.priority.cmp(&b.priority)));
        Self(rules)
    }

    /// Whether a call may be made.
    #[must_use]
    pub fn decide(&self, call: &Call<'_>, nodes: &dyn NodeSource) -> Verdict {
        if self.0.is_empty() {
            return Verdict::Allowed(None);
        }
        match self.0.iter().find(|rule| rule.fits(call, nodes)) {
            Some(rule) => rule.verdict(),
            None => Verdict::Denied(None),
        }
    }
}
