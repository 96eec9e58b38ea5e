//! One rule, with the attributes that policy(5) of xCAT gives it.

use fancy_regex::Regex;

use super::{About, Call, Verdict};
use crate::db::Attributes;
use crate::noderange::{NodeSource, Range};

/// Words of the `rule` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Allow,
    Trusted,
    Deny,
}

fn parse_word(text: &str) -> Option<Word> {
    match text.trim().to_ascii_lowercase().as_str() {
        "allow" | "accept" => Some(Word::Allow),
        "trusted" | "trust" => Some(Word::Trusted),
        "deny" | "denied" | "reject" => Some(Word::Deny),
        _ => None,
    }
}

/// A condition that may be left out, or that nobody can read any more: then a rule that allows does not fit, and one
/// that denies does.
#[derive(Debug, Clone)]
enum Condition<T> {
    Any,
    Is(T),
    Unreadable,
}

impl<T> Condition<T> {
    fn read(text: Option<&String>, parse: impl Fn(&str) -> Option<T>) -> Self {
        match text.map(|text| text.trim()) {
            None | Some("" | "*") => Self::Any,
            Some(text) => parse(text).map_or(Self::Unreadable, Self::Is),
        }
    }
}

/// A rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) priority: String,
    word: Word,
    names: Condition<Vec<String>>,
    commands: Condition<Vec<String>>,
    parameters: Condition<Regex>,
    noderange: Condition<Range>,
    /// Whether calls from this machine are meant.
    here: bool,
    /// Whether it says when it holds, which nobody ever implemented.
    timed: bool,
}

fn words(text: &str) -> Option<Vec<String>> {
    Some(text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect())
}

impl Rule {
    pub(super) fn read(priority: &str, attributes: &Attributes, machine: &str) -> Self {
        let host = Condition::read(attributes.get("host"), words);
        let short = machine.split('.').next().unwrap_or(machine);
        Self {
            priority: priority.to_owned(),
            // What cannot be read allows nothing.
            word: attributes.get("rule").and_then(|text| parse_word(text)).unwrap_or(Word::Deny),
            names: Condition::read(attributes.get("name"), words),
            commands: Condition::read(attributes.get("commands"), words),
            parameters: Condition::read(attributes.get("parameters"), |text| Regex::new(text).ok()),
            noderange: Condition::read(attributes.get("noderange"), |text| text.parse().ok()),
            here: match host {
                Condition::Is(hosts) => {
                    hosts.iter().any(|host| [machine, short, "localhost"].contains(&host.as_str()))
                }
                Condition::Any | Condition::Unreadable => true,
            },
            timed: !matches!(
                Condition::read(attributes.get("time"), |text| Some(text.to_owned())),
                Condition::Any
            ),
        }
    }

    /// Where it stands; priorities that are no numbers come last.
    pub(super) fn order(&self) -> f64 {
        self.priority.parse().unwrap_or(f64::INFINITY)
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self.word {
            Word::Allow => Verdict::Allowed(Some(self.priority.clone())),
            Word::Trusted => Verdict::Trusted(self.priority.clone()),
            Word::Deny => Verdict::Denied(Some(self.priority.clone())),
        }
    }

    pub(super) fn fits(&self, call: &Call<'_>, nodes: &dyn NodeSource) -> bool {
        let denies = self.word == Word::Deny;
        if !self.here || (self.timed && !denies) {
            return false;
        }
        let names = match &self.names {
            // A rule for everybody was written for the accounts that root let in. Tokens are allowed by name only.
            Condition::Any => denies || !call.token,
            names => holds(names, denies, |names| names.iter().any(|name| name == call.account)),
        };
        let commands = holds(&self.commands, denies, |commands| {
            commands.iter().any(|c| call.verbs.contains(&c.as_str()))
        });
        let parameters = holds(&self.parameters, denies, |regex| {
            // A pattern that gives up has not matched; for a rule that denies it has.
            regex.is_match(call.parameters).unwrap_or(denies)
        });
        names
            && commands
            && parameters
            && holds(&self.noderange, denies, |range| self.covers(range, call.about, nodes))
    }

    /// A rule that allows fits when all nodes are in its range, one that denies when any is.
    fn covers(&self, range: &Range, about: About<'_>, source: &dyn NodeSource) -> bool {
        let denies = self.word == Word::Deny;
        let Ok(selection) = range.evaluate_with_hidden(source) else { return denies };
        match about {
            About::Nothing => false,
            // Nobody knows the nodes of tomorrow.
            About::All => denies,
            About::Nodes([]) => !denies,
            About::Nodes(nodes) => {
                let within = |node: &String| selection.nodes.binary_search(node).is_ok();
                if denies { nodes.iter().any(within) } else { nodes.iter().all(within) }
            }
        }
    }
}

fn holds<T>(condition: &Condition<T>, unreadable: bool, is: impl Fn(&T) -> bool) -> bool {
    match condition {
        Condition::Any => true,
        Condition::Is(value) => is(value),
        Condition::Unreadable => unreadable,
    }
}

/// What is wrong with a value of an attribute of a rule that is to be written.
#[must_use]
pub fn check_rule_attribute(attr: &str, value: &str) -> Option<String> {
    match attr {
        "rule" if parse_word(value).is_none() => Some("allow, deny or trusted is expected".to_owned()),
        "parameters" => Regex::new(value).err().map(|error| format!("it is no regular expression: {error}")),
        "noderange" if value != "*" => value.parse::<Range>().err().map(|error| error.to_string()),
        "time" if value != "*" => Some("rules that hold at certain times only are not supported".to_owned()),
        _ => None,
    }
}
