//! Rules for paths that updates leave alone: the attribute `updateexcludes` of node, groups and osimage.

use sysclone_image::Excludes;
use sysclone_protocol::names::{ImageName, NodeName};
use sysclone_protocol::update::UpdateRule;

use crate::app::App;
use crate::db::{Attributes, DbError};
use crate::wire::ObjectType;

/// The attribute.
pub(crate) const ATTRIBUTE: &str = "updateexcludes";

/// The rules in an attribute's value: separated by commas; one that begins with `#` is a comment.
fn split(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|rule| !rule.is_empty() && !rule.starts_with('#'))
}

/// What is wrong with a value.
///
/// # Errors
/// A rule that cannot be read, in words.
pub(crate) fn check_rules(value: &str) -> Result<(), String> {
    Excludes::parse(split(value)).map(drop).map_err(|error| error.to_string())
}

/// The rules for a node, in the order in which they decide: its own, its groups' in their order, the image's.
pub(super) async fn rules(app: &App, node: &NodeName, image: &ImageName) -> Result<Vec<UpdateRule>, DbError> {
    let own = one(app, (ObjectType::Node, node.as_str())).await?;
    let groups = own.get("groups").map(String::as_str).unwrap_or_default();
    let groups: Vec<String> =
        groups.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let mut rules = Vec::new();
    add(&mut rules, ("node", node.as_str()), &own);
    let mut defined = app.db.objects(ObjectType::Group, Some(&groups)).await?;
    for group in groups {
        add(&mut rules, ("group", &group), &defined.remove(&group).unwrap_or_default());
    }
    let osimage = one(app, (ObjectType::Osimage, image.as_str())).await?;
    add(&mut rules, ("osimage", image.as_str()), &osimage);
    Ok(rules)
}

async fn one(app: &App, (kind, name): (ObjectType, &str)) -> Result<Attributes, DbError> {
    Ok(app.db.objects(kind, Some(&[name.to_owned()])).await?.remove(name).unwrap_or_default())
}

fn add(rules: &mut Vec<UpdateRule>, (kind, name): (&str, &str), attributes: &Attributes) {
    let value = attributes.get(ATTRIBUTE).map(String::as_str).unwrap_or_default();
    let rule = |rule: &str| UpdateRule { rule: rule.to_owned(), from: format!("{kind} {name}") };
    rules.extend(split(value).map(rule));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_separated_by_commas_and_may_have_comments() {
        let value = "/etc/motd, *.local,# why: a comment,,+ /etc/keep/";
        assert_eq!(split(value).collect::<Vec<_>>(), ["/etc/motd", "*.local", "+ /etc/keep/"]);
        assert_eq!(check_rules(value), Ok(()));
        assert!(check_rules("/a,[x").unwrap_err().contains("'['"));
    }
}
