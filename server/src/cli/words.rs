//! The words after the options: object names and attribute assignments, in any order.

use super::console::Usage;
use crate::wire::{AttributeAction, AttributeChange, ObjectType};

/// Words, told apart.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Noderange or object names, as typed.
    pub(super) names: Option<String>,
    /// Assignments in order.
    pub(super) attributes: Vec<AttributeChange>,
}

/// Tells names and assignments apart. A plain `attr=value` means `action`.
///
/// # Errors
/// Names stand in two places, or an assignment has no attribute.
pub(super) fn split(words: &[String], action: AttributeAction) -> Result<Words, Usage> {
    let mut split = Words::default();
    for word in words {
        match assignment(word, action)? {
            Some(change) => split.attributes.push(change),
            None if split.names.is_some() => {
                return Err(Usage(format!("noderange can not contain spaces. '{word}' is a second one.")));
            }
            None => split.names = Some(word.clone()),
        }
    }
    Ok(split)
}

/// Names given by `-o` or as a word.
///
/// # Errors
/// They are given by both.
pub(super) fn one_of(option: Option<&String>, word: Option<String>) -> Result<Option<String>, Usage> {
    match (option, word) {
        (Some(_), Some(word)) => Err(Usage(format!("names are given by '-o', and again as '{word}'."))),
        (option, word) => Ok(option.cloned().or(word)),
    }
}

/// Reads `attr=value`, `attr+=value`, `attr-=value`. Comparisons (`==`, `=~`) belong to noderanges.
fn assignment(word: &str, action: AttributeAction) -> Result<Option<AttributeChange>, Usage> {
    let name_end = word.find(|c: char| !c.is_ascii_alphanumeric() && !"_.".contains(c)).unwrap_or(word.len());
    let (name, rest) = word.split_at(name_end);
    let (value, action) = if let Some(value) = rest.strip_prefix("+=") {
        (value, AttributeAction::Append)
    } else if let Some(value) = rest.strip_prefix("-=") {
        (value, AttributeAction::Subtract)
    } else if let Some(value) = rest.strip_prefix('=').filter(|value| !value.starts_with(['=', '~'])) {
        (value, action)
    } else {
        return Ok(None);
    };
    if name.is_empty() {
        return Err(Usage(format!("Incorrect 'attr=val' pair - {word}.")));
    }
    Ok(Some(AttributeChange { name: name.to_owned(), value: value.to_owned(), action }))
}

/// Reads the option `-t` of a verb that works on one type.
///
/// # Errors
/// It is not a type, or several.
pub(super) fn one_type(option: Option<&str>) -> Result<ObjectType, Usage> {
    match types(option)?[..] {
        [kind] => Ok(kind),
        _ => Err(Usage("several object types cannot be changed at once.".to_owned())),
    }
}

/// Reads the option `-t`: types separated by commas, `node` when it is not given.
///
/// # Errors
/// One of them is not a type.
pub(super) fn types(option: Option<&str>) -> Result<Vec<ObjectType>, Usage> {
    let read = |word: &str| {
        ObjectType::of_word(word).ok_or_else(|| {
            let known = ObjectType::ALL.map(ObjectType::word).join(", ");
            Usage(match word {
                "auditlog" => "Who did what is shown by `sysclone audit`.".to_owned(),
                "eventlog" => "What happened is shown by `sysclone events`.".to_owned(),
                _ => format!("Type '{word}' is not a valid xCAT object type. Valid types: {known}."),
            })
        })
    };
    option.unwrap_or("node").split(',').map(|word| read(word.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_names_or_assignments() {
        use AttributeAction::{Append, Set, Subtract};
        for (word, expected) in [
            ("ip=10.0.0.1", Some(("ip", "10.0.0.1", Set))),
            ("installdisk=", Some(("installdisk", "", Set))),
            ("installdisk=vda:wwn=0x5", Some(("installdisk", "vda:wwn=0x5", Set))),
            ("groups+=a,b", Some(("groups", "a,b", Append))),
            ("groups-=a", Some(("groups", "a", Subtract))),
            ("nicips.eth0=1", Some(("nicips.eth0", "1", Set))),
            ("n1", None),
            ("n1-n4", None),
            ("groups==compute", None),
            ("groups=~comp", None),
            ("groups!=comp", None),
            ("all@groups==x", None),
            ("n1,mgt==x", None),
        ] {
            let found = assignment(word, Set).unwrap();
            let found = found.as_ref().map(|c| (c.name.as_str(), c.value.as_str(), c.action));
            assert_eq!(found, expected, "{word}");
        }
    }

    #[test]
    fn a_plain_assignment_takes_the_verbs_action() {
        let words = split(&["n1".into(), "groups=a".into()], AttributeAction::Append).unwrap();
        assert_eq!(
            (words.names.as_deref(), words.attributes[0].action),
            (Some("n1"), AttributeAction::Append)
        );
    }

    #[test]
    fn wrong_words_are_named() {
        let split = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            split(&words, AttributeAction::Set).unwrap_err().0
        };
        assert_eq!(split(&["n1", "n2"]), "noderange can not contain spaces. 'n2' is a second one.");
        assert_eq!(split(&["=x"]), "Incorrect 'attr=val' pair - =x.");
        assert_eq!(
            types(Some("node,colour")).unwrap_err().0,
            "Type 'colour' is not a valid xCAT object type. Valid types: boottarget, firmware, group, kit, \
             kitcomponent, kitrepo, monitoring, network, node, notification, osdistro, osdistroupdate, osimage, \
             passwd, policy, rack, route, site, zone."
        );
    }
}
