//! The `installdisk` attribute: which disk of a node is which disk of the image.
//!
//! `[label:]key=value[,key=value…][;[label:]…]`, for example `transport=nvme,min=200G` or `vda:serial=S1;vdb:serial=S2`.
//! A rule without a label is for an image with one disk.

use sysclone_protocol::layout::DiskRules;

/// One rule as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRule {
    /// The image's disk, when said.
    pub label: Option<String>,
    /// What the node's disk must be.
    pub rules: DiskRules,
}

/// Why an `installdisk` value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Something that is not `key=value`.
    #[error("'{0}' is not a disk rule; write [label:]key=value,key=value;…")]
    Form(String),
    /// A key that no disk has.
    #[error(
        "'{0}' is not a disk property; known are serial, wwn, path, name, transport, rotational, min, max"
    )]
    Key(String),
    /// A value that its key cannot have.
    #[error("'{value}' is not a value of {key}; expected is {expected}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The same disk twice.
    #[error("there are two rules for the disk '{0}'")]
    Twice(String),
}

/// Reads an `installdisk` value.
///
/// # Errors
/// It is malformed; the message names the part.
pub fn parse_disk_rules(text: &str) -> Result<Vec<DiskRule>, RuleError> {
    let mut found: Vec<DiskRule> = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let rule = parse_rule(part)?;
        if found.iter().any(|other| other.label == rule.label) {
            return Err(RuleError::Twice(rule.label.unwrap_or_default()));
        }
        found.push(rule);
    }
    Ok(found)
}

fn parse_rule(text: &str) -> Result<DiskRule, RuleError> {
    // A colon in a value (a bus path) comes after the first equals sign.
    let label =
        text.split_once('=').and_then(|(head, _)| head.split_once(':')).map(|(label, _)| label.trim());
    if label.is_some_and(str::is_empty) {
        return Err(RuleError::Form(text.to_owned()));
    }
    let pairs = label.map_or(text, |_| text.split_once(':').map_or(text, |(_, pairs)| pairs));
    let mut rules = DiskRules::default();
    for pair in pairs.split(',') {
        let (key, value) = pair.split_once('=').ok_or_else(|| RuleError::Form(pair.to_owned()))?;
        set(&mut rules, key.trim(), value.trim())?;
    }
    Ok(DiskRule { label: label.map(str::to_owned), rules })
}

fn set(rules: &mut DiskRules, key: &str, value: &str) -> Result<(), RuleError> {
    let wrong = |expected| RuleError::Value { key: key.to_owned(), value: value.to_owned(), expected };
    if value.is_empty() {
        return Err(wrong("a text"));
    }
    let text = Some(value.to_owned());
    match key {
        "serial" => rules.serial = text,
        "wwn" => rules.wwn = text,
        "path" => rules.path = text,
        "name" => rules.name = Some(value.strip_prefix("/dev/").unwrap_or(value).to_owned()),
        "transport" => rules.transport = text,
        "rotational" => match value {
            "yes" | "true" | "1" => rules.rotational = Some(true),
            "no" | "false" | "0" => rules.rotational = Some(false),
            _ => return Err(wrong("yes or no")),
        },
        "min" => rules.min_bytes = Some(parse_size(value).ok_or_else(|| wrong("a size such as 100G"))?),
        "max" => rules.max_bytes = Some(parse_size(value).ok_or_else(|| wrong("a size such as 100G"))?),
        _ => return Err(RuleError::Key(key.to_owned())),
    }
    Ok(())
}

/// Bytes of `500`, `10M`, `100G`, `2T` (powers of 1024).
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'T']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_with_and_without_labels_are_read() {
        let rules = parse_disk_rules("transport=nvme,min=200G").unwrap();
        assert_eq!(rules[0].label, None);
        assert_eq!(rules[0].rules.transport.as_deref(), Some("nvme"));
        assert_eq!(rules[0].rules.min_bytes, Some(200 << 30));
        let rules = parse_disk_rules("vda:path=pci-0000:00:1f.2-ata-1; vdb:serial=S2,rotational=no").unwrap();
        assert_eq!(rules[0].label.as_deref(), Some("vda"));
        assert_eq!(rules[0].rules.path.as_deref(), Some("pci-0000:00:1f.2-ata-1"));
        assert_eq!((rules[1].rules.serial.as_deref(), rules[1].rules.rotational), (Some("S2"), Some(false)));
        assert_eq!(parse_disk_rules("path=pci-0000:00").unwrap()[0].label, None);
        assert_eq!(parse_disk_rules("name=/dev/sda").unwrap()[0].rules.name.as_deref(), Some("sda"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, expected) in [
            ("sda", "'sda' is not a disk rule"),
            ("vda:", "'vda:' is not a disk rule"),
            (":serial=1", "is not a disk rule"),
            ("colour=red", "'colour' is not a disk property"),
            ("min=lots", "'lots' is not a value of min"),
            ("min=99999999999T", "is not a value of min"),
            ("rotational=maybe", "'maybe' is not a value of rotational"),
            ("serial=", "'' is not a value of serial"),
            ("vda:name=sda;vda:name=sdb", "two rules for the disk 'vda'"),
        ] {
            let error = parse_disk_rules(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
