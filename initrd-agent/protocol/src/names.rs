//! Checked names and identifiers. A value of one of these types is known to be well formed.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a name from outside was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is not a host label or dotted name (RFC 1123: letters, digits, `-`, `.`, 1 to 253 bytes).
    #[error("'{0}' is not a valid node name (letters, digits, '-', '.', not starting with '-' or '.')")]
    Node(String),
    /// The text is not an image name.
    #[error(
        "'{0}' is not a valid image name (letters, digits, '-', '_', '.', not starting with '.', 1 to 128 bytes)"
    )]
    Image(String),
    /// The text is not a 48-bit MAC address.
    #[error("'{0}' is not a MAC address (six hexadecimal bytes)")]
    Mac(String),
    /// The text is not `name@generation`.
    #[error("'{0}' is not an image reference (name@generation)")]
    ImageRef(String),
    /// The text is not a tag.
    #[error(
        "'{0}' is not a valid tag (letters, digits, '-', '_', '.', not starting with '.', not a number, 1 to 64 bytes)"
    )]
    Tag(String),
}

/// The name of a node: an RFC 1123 host name, lower or upper case as the administrator wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// The name of an osimage; safe as one path component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// A name that an administrator gives to one generation of an image (`stable`); never a number, and safe as one path
/// component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagName(String);

/// Whether a text can be one path component everywhere.
fn is_safe(text: &str) -> bool {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(safe)
}

impl FromStr for NodeName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Node(text.to_owned()))
        }
    }
}

impl FromStr for ImageName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() <= 128 && is_safe(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Image(text.to_owned()))
        }
    }
}

impl FromStr for TagName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let number = text.bytes().all(|b| b.is_ascii_digit());
        if text.len() <= 64 && is_safe(text) && !number {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Tag(text.to_owned()))
        }
    }
}

/// Implements the conversions every checked text type needs.
macro_rules! checked_text {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
checked_text!(NodeName);
checked_text!(ImageName);
checked_text!(TagName);

/// One generation of one osimage, written `name@7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ImageRef {
    /// The osimage.
    pub name: ImageName,
    /// The capture of it, counted from 1.
    pub generation: u32,
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.generation)
    }
}

impl FromStr for ImageRef {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, generation) = text.split_once('@').ok_or_else(|| NameError::ImageRef(text.to_owned()))?;
        let generation = generation.parse().map_err(|_| NameError::ImageRef(text.to_owned()))?;
        Ok(Self { name: name.parse()?, generation })
    }
}

/// What a person writes to mean one generation: `name` (the newest), `name@7`, `name@stable`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageSelector {
    /// The osimage.
    pub name: ImageName,
    /// Which capture of it.
    pub pick: Pick,
}

/// Which generation of an image is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pick {
    /// The newest there is.
    Newest,
    /// The one with this number.
    Generation(u32),
    /// The one that has this tag.
    Tag(TagName),
}

impl fmt::Display for ImageSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.pick {
            Pick::Newest => f.pad(name.as_str()),
            Pick::Generation(generation) => write!(f, "{name}@{generation}"),
            Pick::Tag(tag) => write!(f, "{name}@{tag}"),
        }
    }
}

impl FromStr for ImageSelector {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some((name, pick)) = text.split_once('@') else {
            return Ok(Self { name: text.parse()?, pick: Pick::Newest });
        };
        let pick = match pick.parse() {
            Ok(generation) => Pick::Generation(generation),
            Err(_) => Pick::Tag(pick.parse()?),
        };
        Ok(Self { name: name.parse()?, pick })
    }
}

impl TryFrom<String> for ImageSelector {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ImageSelector> for String {
    fn from(selector: ImageSelector) -> String {
        selector.to_string()
    }
}

impl From<ImageRef> for ImageSelector {
    fn from(image: ImageRef) -> Self {
        Self { name: image.name, pick: Pick::Generation(image.generation) }
    }
}

/// A 48-bit IEEE MAC address. Shown as `52:54:00:77:00:01`; `:`, `-` and `.`-free forms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Lower-case hexadecimal with dashes, as loaders put it into file names (`52-54-00-77-00-01`).
    #[must_use]
    pub fn dashed(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl FromStr for Mac {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b':' | b'-')).collect();
        if digits.len() != 12 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(NameError::Mac(text.to_owned()));
        }
        let mut mac = [0; 6];
        for (byte, pair) in mac.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).expect("ASCII digits were checked above");
            *byte = u8::from_str_radix(pair, 16).expect("hexadecimal digits were checked above");
        }
        Ok(Self(mac))
    }
}

impl TryFrom<String> for Mac {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A secret that never shows itself in debug output or logs. Its text form is for the wire only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
    /// The secret itself; call it only where it goes onto an encrypted wire or into a mode-0600 file.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_host_names() {
        for good in ["n1", "cn-01.rack2.example", "NODE7", "a_b"] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "a/b", "a b", "a;reboot", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn image_names_are_one_safe_path_component() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "a@1"] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
        assert_eq!("demo@7".parse::<ImageRef>().unwrap().to_string(), "demo@7");
        assert!("demo".parse::<ImageRef>().is_err());
    }

    #[test]
    fn a_generation_is_meant_by_number_by_tag_or_as_the_newest() {
        let pick = |text: &str| text.parse::<ImageSelector>().map(|selector| selector.pick);
        assert_eq!(pick("demo"), Ok(Pick::Newest));
        assert_eq!(pick("demo@7"), Ok(Pick::Generation(7)));
        assert_eq!(pick("demo@stable"), Ok(Pick::Tag(TagName("stable".into()))));
        assert_eq!(pick("demo@v1.2"), Ok(Pick::Tag(TagName("v1.2".into()))));
        for bad in ["", "@7", "demo@", "demo@99999999999", "demo@.x", "demo@a/b", "demo@a@b", "de mo@7"] {
            assert!(bad.parse::<ImageSelector>().is_err(), "{bad}");
        }
        for text in ["demo", "demo@7", "demo@stable"] {
            assert_eq!(text.parse::<ImageSelector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn macs_are_read_in_every_common_form_and_shown_in_one() {
        for text in ["52:54:00:AB:cd:01", "52-54-00-ab-cd-01", "525400abcd01"] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "52:54:00:ab:cd:01");
        }
        for bad in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:0g", "52:54:00:ab:cd:01:02"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
    }
}
