//! Templates for `mkdef --template`: what most definitions of a kind have, so that only what differs must be typed.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use super::args::Common;
use super::client::Client;
use super::console::{Console, Exit};
use super::objects::{self, Object};
use super::render::{Form, render};
use crate::wire::{AttributeAction, AttributeChange, ObjectType};

/// Stands for a value that must be given.
const REQUIRED: &str = "REQUIRED";

struct Template {
    kind: ObjectType,
    name: &'static str,
    /// `attr=value`, separated by spaces.
    attributes: &'static str,
}

const TEMPLATES: &[Template] = &[
    Template {
        kind: ObjectType::Network,
        name: "provisioning-template",
        attributes: "net=REQUIRED mask=REQUIRED dhcpmode=full",
    },
    Template {
        kind: ObjectType::Network,
        name: "proxy-template",
        attributes: "net=REQUIRED mask=REQUIRED dhcpmode=proxy",
    },
    Template {
        kind: ObjectType::Node,
        name: "x86_64-ipmi-template",
        attributes: "arch=x86_64 groups=all ip=REQUIRED mac=REQUIRED mgt=ipmi bmc=REQUIRED netboot=auto cons=ipmi",
    },
    Template {
        kind: ObjectType::Node,
        name: "x86_64-kvm-template",
        attributes: "arch=x86_64 groups=all ip=REQUIRED mac=REQUIRED mgt=kvm vmhost=REQUIRED netboot=auto",
    },
    Template {
        kind: ObjectType::Node,
        name: "x86_64-redfish-template",
        attributes: "arch=x86_64 groups=all ip=REQUIRED mac=REQUIRED mgt=redfish bmc=REQUIRED bmcfingerprint=REQUIRED \
                     netboot=auto",
    },
    Template {
        kind: ObjectType::Node,
        name: "x86_64-template",
        attributes: "arch=x86_64 groups=all ip=REQUIRED mac=REQUIRED netboot=auto",
    },
    Template {
        kind: ObjectType::Policy,
        name: "operator-template",
        attributes: "name=REQUIRED commands=lsdef,nodels,nodestat,events,watch,nodeset,rpower,rsetboot,rinstall \
                     noderange=REQUIRED rule=allow",
    },
];

impl Template {
    fn pairs(&self) -> BTreeMap<String, String> {
        let pair = |word: &str| word.split_once('=').map(|(attr, value)| (attr.to_owned(), value.to_owned()));
        self.attributes.split_whitespace().filter_map(pair).collect()
    }

    fn object(&self) -> Object {
        Object { name: self.name.to_owned(), kind: self.kind.word(), attributes: self.pairs() }
    }
}

/// The attributes of a template, or of an object of this type, without those that were `typed`.
///
/// # Errors
/// There is no such template and no such object, or something that it requires was not typed.
pub(super) async fn attributes(
    client: &Client,
    (kind, name): (ObjectType, &str),
    typed: &[AttributeChange],
) -> anyhow::Result<Vec<AttributeChange>> {
    let shipped = TEMPLATES.iter().find(|template| (template.kind, template.name) == (kind, name));
    let pairs = match shipped {
        Some(template) => template.pairs(),
        None => {
            let own = client.clone().with_own(true);
            let found = objects::named(&own, kind, &[name.to_owned()]).await?.pop();
            found.with_context(|| no_template(kind, name))?.attributes
        }
    };
    let missing = |(attr, value): (&String, &String)| {
        (value == REQUIRED && !typed.iter().any(|change| change.name == *attr)).then(|| attr.clone())
    };
    let missing: Vec<String> = pairs.iter().filter_map(missing).collect();
    if !missing.is_empty() {
        bail!("The attribute \"{}\" must be specified!", missing.join(","));
    }
    let views = ["status", "statustime", "currstate"];
    let kept = pairs.into_iter().filter(|(attr, value)| {
        value != REQUIRED
            && !views.contains(&attr.as_str())
            && !typed.iter().any(|change| change.name == *attr)
    });
    Ok(kept.map(|(name, value)| AttributeChange { name, value, action: AttributeAction::Set }).collect())
}

fn no_template(kind: ObjectType, name: &str) -> String {
    let word = kind.word();
    format!(
        "Could not find the template object named '{name}' of type '{word}'; lsdef --template lists templates"
    )
}

/// Lists templates, or shows one.
pub(super) fn show(name: &str, common: &Common, console: &mut Console) -> anyhow::Result<Exit> {
    let chosen: Vec<Object> = TEMPLATES
        .iter()
        .filter(|template| name.is_empty() || template.name == name)
        .map(Template::object)
        .collect();
    if common.json {
        return console.json(&chosen).map(|()| Exit::Done);
    }
    if chosen.is_empty() {
        console.error(&format!(
            "Could not find {name} in xCAT templates; lsdef --template lists those that there are"
        ))?;
        return Ok(Exit::Failed);
    }
    let form = if name.is_empty() { Form::Names { loose: true } } else { Form::Long { types: true } };
    console.data(&render(&chosen, &form, &[]))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_have_names_of_their_own_and_values() {
        for (index, template) in TEMPLATES.iter().enumerate() {
            assert!(!TEMPLATES[..index].iter().any(|other| other.name == template.name), "{}", template.name);
            assert_eq!(
                template.pairs().len(),
                template.attributes.split_whitespace().count(),
                "{}",
                template.name
            );
        }
    }
}
