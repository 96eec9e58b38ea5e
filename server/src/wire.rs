//! What the CLI and the daemon say to each other: HTTP with JSON bodies over the daemon's unix socket.
//!
//! The calls are the table in `api::admin`, which the router and the OpenAPI document are made from:
//! `curl --unix-socket /run/sysclone/api.sock http://localhost/api/v1/openapi.json`.
//!
//! Refusals answer a 4xx or 5xx status with [`sysclone_protocol::agent::ErrorReply`].

pub mod discover;
pub mod power;
pub mod probe;
pub mod remote;
pub mod update;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sysclone_protocol::agent::{CaptureReply, Phase};

/// Object types that definitions may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectType {
    /// A machine.
    Node,
    /// A named set of nodes.
    Group,
    /// An image and what it is.
    Osimage,
    /// A network that the server gives addresses on.
    Network,
    /// Site-wide settings; one object, `clustersite`.
    Site,
    /// A rule of who may do what.
    Policy,
    /// User names and passwords for one purpose.
    Passwd,
    /// A network route.
    Route,
    /// A rack.
    Rack,
    /// Nodes that share ssh keys.
    Zone,
    /// A program told of changes, in xCAT.
    Notification,
    /// A monitoring product, in xCAT.
    Monitoring,
    /// A firmware file, in xCAT.
    Firmware,
    /// A boot target, in xCAT.
    Boottarget,
    /// A distribution, in xCAT.
    Osdistro,
    /// An update of a distribution, in xCAT.
    Osdistroupdate,
    /// A kit, in xCAT.
    Kit,
    /// A kit's repository, in xCAT.
    Kitrepo,
    /// A kit's component, in xCAT.
    Kitcomponent,
}

impl ObjectType {
    /// All types, in the order in which they are listed.
    pub const ALL: [Self; 19] = [
        Self::Boottarget,
        Self::Firmware,
        Self::Group,
        Self::Kit,
        Self::Kitcomponent,
        Self::Kitrepo,
        Self::Monitoring,
        Self::Network,
        Self::Node,
        Self::Notification,
        Self::Osdistro,
        Self::Osdistroupdate,
        Self::Osimage,
        Self::Passwd,
        Self::Policy,
        Self::Rack,
        Self::Route,
        Self::Site,
        Self::Zone,
    ];

    /// The type's word, as `-t` takes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Group => "group",
            Self::Osimage => "osimage",
            Self::Network => "network",
            Self::Site => "site",
            Self::Policy => "policy",
            Self::Passwd => "passwd",
            Self::Route => "route",
            Self::Rack => "rack",
            Self::Zone => "zone",
            Self::Notification => "notification",
            Self::Monitoring => "monitoring",
            Self::Firmware => "firmware",
            Self::Boottarget => "boottarget",
            Self::Osdistro => "osdistro",
            Self::Osdistroupdate => "osdistroupdate",
            Self::Kit => "kit",
            Self::Kitrepo => "kitrepo",
            Self::Kitcomponent => "kitcomponent",
        }
    }

    /// The type of this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A noderange to be evaluated.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RangeRequest {
    /// The text as typed.
    pub range: String,
    /// Also nodes that the site's `excludenodes` hides: definitions of them can be changed.
    #[serde(default)]
    pub hidden: bool,
}

/// The nodes a noderange names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RangeReply {
    /// Known nodes, sorted, each once.
    pub nodes: Vec<String>,
    /// Names in the range that no node or group has.
    pub unknown: Vec<String>,
}

/// Definitions by name: attribute → value, unset attributes left out.
pub type Objects = BTreeMap<String, BTreeMap<String, String>>;

/// A change of definitions, done in one transaction per object.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChangeRequest {
    /// What to do.
    pub action: ChangeAction,
    /// Type of all objects named.
    #[serde(rename = "type")]
    pub kind: ObjectType,
    /// Object names.
    pub names: Vec<String>,
    /// Attribute changes, applied in order.
    pub attributes: Vec<AttributeChange>,
}

/// Gives an object another name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RenameRequest {
    /// Its type; not site and not group.
    #[serde(rename = "type")]
    pub kind: ObjectType,
    /// Its name.
    pub from: String,
    /// The name it gets.
    pub to: String,
}

/// What a [`ChangeRequest`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeAction {
    /// Make a new object; an existing one is an error unless `force`d by [`ChangeAction::Replace`].
    Create,
    /// Make it anew, dropping what was there.
    Replace,
    /// Change an existing object; one that does not exist is made (as xCAT's chdef does).
    Change,
    /// Remove it.
    Remove,
}

/// One attribute to change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AttributeChange {
    /// Attribute name.
    pub name: String,
    /// New value, or list members to add or take away. Empty with [`AttributeAction::Set`] unsets it.
    pub value: String,
    /// How the value is used.
    pub action: AttributeAction,
}

/// How an [`AttributeChange`] uses its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttributeAction {
    /// Replaces.
    Set,
    /// Adds to a comma-separated list (chdef -p).
    Append,
    /// Adds to it at its beginning (nodech attr,=value).
    Prepend,
    /// Takes away from a comma-separated list (chdef -m).
    Subtract,
}

/// What became of one object or node in a request for many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Object or node name.
    pub name: String,
    /// Text to show after `name: ` on success (`sysclone debian12-x86_64`), or the error.
    pub result: Result<String, String>,
}

/// Sets what nodes do at their next network boot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NodesetRequest {
    /// Node names, already evaluated.
    pub nodes: Vec<String>,
    /// State word as typed: `boot`, `offline`, `stat`, `osimage`, `osimage=NAME`, `osimage=NAME@GENERATION`.
    pub state: String,
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// Node name.
    pub node: String,
    /// State word: `defined`, `armed`, `booting`, `installing`, `resuming`, `finishing`, `rebooting`, `booted`,
    /// `running`, `done`, `failed`.
    pub state: String,
    /// Phase while installing, and the phase it failed in.
    pub phase: Option<Phase>,
    /// Bytes done and bytes in all of the current phase.
    pub progress: Option<(u64, u64)>,
    /// `name@generation` being or last installed.
    pub image: Option<String>,
    /// What it does or did from memory instead: `shell`, `runcmd=lsblk,shutdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<String>,
    /// Why it failed, or what it waits for.
    pub reason: Option<String>,
    /// When it came into this state, RFC 3339 UTC.
    pub since: String,
}

/// Captures a golden client.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CaptureRequest {
    /// Golden client.
    pub node: String,
    /// Osimage to make the next generation of.
    pub osimage: String,
    /// A file that does not hold still makes the capture fail.
    #[serde(default)]
    pub strict: bool,
    /// No snapshots are made: every filesystem is read as it is.
    #[serde(default)]
    pub live: bool,
}

/// One line of a capture's answer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "capture")]
pub enum CaptureProgress {
    /// A step, in the words shown to people.
    Step {
        /// One sentence.
        text: String,
    },
    /// How far the reading is.
    Progress {
        /// Files seen.
        files: u64,
        /// Bytes read.
        bytes: u64,
        /// Bytes in all, estimated.
        total: u64,
        /// Bytes sent.
        sent: u64,
    },
    /// Something that should be looked at; the capture went on.
    Warning {
        /// One sentence.
        text: String,
    },
    /// The image exists.
    Finished(CaptureReply),
    /// It does not; nothing became visible.
    Failed {
        /// One line, outermost first.
        reason: String,
    },
}

/// One entry of the event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// Ever-growing number; resume a stream with `after=`.
    pub id: i64,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// Node concerned, if any.
    pub node: Option<String>,
    /// Who caused it: `admin:root`, `agent`, `dhcp`, `server`.
    pub actor: String,
    /// Kind word (`node-armed`, `node-state`, `agent-failed`, `dhcp-refused`, `capture-finished`…).
    pub kind: String,
    /// One sentence for people.
    pub text: String,
}

/// One call of an administrator that changes something, or was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// Ever-growing number.
    pub id: i64,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// Who: `admin:anna`.
    pub actor: String,
    /// The verb; of several that do the same, the first.
    pub command: String,
    /// Nodes, by name as long as they are few.
    pub targets: String,
    /// What else was said, without passwords.
    pub parameters: String,
    /// Whether it was made.
    pub allowed: bool,
    /// Priority of the policy rule that decided; none for root, and when no rule fits.
    pub rule: Option<String>,
    /// How many nodes or objects it was done for, when that is known at once.
    pub done: Option<i64>,
    /// How many it failed for.
    pub failed: Option<i64>,
}

/// Makes a token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreate {
    /// Letters, digits, `_`, `.` and `-`.
    pub name: String,
    /// How long it is good, in seconds; for ever when not given.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// A new token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    /// What is known of it.
    #[serde(flatten)]
    pub record: TokenRecord,
    /// The token; it is not kept and cannot be asked for again.
    #[schemars(with = "String")]
    pub token: sysclone_protocol::names::Secret,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRecord {
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339 UTC.
    pub created_at: String,
    /// Who made it.
    pub created_by: String,
    /// When it ends, RFC 3339 UTC.
    pub expires_at: Option<String>,
}

/// Makes a token worthless.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoke {
    /// Its name.
    pub name: String,
}

/// One generation of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageLine {
    /// `name@generation`.
    pub image: String,
    /// Whether the image's name alone means this one.
    pub newest: bool,
    /// When the capture began, RFC 3339 UTC, by the golden client's clock.
    pub captured_at: String,
    /// Host name of the golden client.
    pub source: String,
    /// Operating system, as it calls itself.
    pub os: String,
    /// Architecture.
    pub arch: String,
    /// Names in it.
    pub entries: u64,
    /// Sum of the sizes of its files, holes counted.
    pub bytes: u64,
    /// Bytes of the packs that it uses, others may use them too.
    pub stored_bytes: u64,
    /// Its tags.
    pub tags: Vec<String>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// A change to what points at generations.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum ImageChange {
    /// Puts a tag on a generation.
    Tag {
        /// `name`, `name@generation` or `name@tag`.
        image: String,
        /// The tag.
        tag: String,
    },
    /// Takes a tag off.
    Untag {
        /// The image's name.
        image: String,
        /// The tag.
        tag: String,
    },
    /// Makes the content of an older generation the newest again.
    Rollback {
        /// `name@generation` or `name@tag`.
        image: String,
    },
    /// Removes a generation, or with `all` every generation of an image.
    Remove {
        /// `name@generation`, `name@tag`, or the name with `all`.
        image: String,
        /// Every generation.
        all: bool,
    },
}

/// What was done, in one sentence.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ImageChanged {
    /// The sentence.
    pub text: String,
}

/// Everything that reads one generation: for root only, because an image holds `/etc/shadow`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ImageAccess {
    /// `name@generation`.
    pub image: String,
    /// The signed manifest, base64.
    pub manifest: String,
    /// Public key that it is signed with, base64.
    pub manifest_key: String,
    /// The image's key, base64.
    pub image_key: sysclone_protocol::names::Secret,
    /// Directory of the store on this machine.
    pub store: String,
    /// Directory of what machines boot.
    #[serde(default)]
    pub boot_dir: String,
}

/// Work on the store that takes a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "work")]
pub enum ImageWork {
    /// Reads all of one generation.
    Verify {
        /// `name`, `name@generation` or `name@tag`.
        image: String,
    },
    /// Reads everything.
    Fsck {
        /// Move bad packs to where nobody is served from.
        quarantine: bool,
        /// A store directory that good packs are taken from; bad ones are moved away then.
        repair_from: Option<String>,
    },
    /// Removes generations that the osimage's `keep` lets go, and frees what nothing names.
    Gc {
        /// Only say what would be done.
        dry_run: bool,
        /// Rewrite packs of which less than so many percent are used.
        #[serde(default)]
        repack: Option<u8>,
    },
    /// Writes generations into one file.
    Export {
        /// `name`, `name@generation` or `name@tag`; the name with `all`.
        image: String,
        /// Every generation.
        all: bool,
        /// The file, which must not be there; an absolute path on the server.
        file: PathBuf,
        /// Whether the image's key goes into it.
        with_key: bool,
    },
    /// Takes generations from an exported file.
    Import {
        /// The file, an absolute path on the server.
        file: PathBuf,
        /// Name that the image gets; else that which it had.
        name: Option<String>,
        /// Public key, base64, of the server that exported it, when that is another one.
        trust: Option<String>,
    },
}

/// One line of the answer to [`ImageWork`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "line")]
pub enum ImageWorkLine {
    /// How far it is.
    Progress {
        /// Bytes of packs done.
        bytes: u64,
        /// Bytes in all, when that is known.
        of: Option<u64>,
    },
    /// One finding.
    Finding {
        /// One sentence.
        text: String,
    },
    /// The end.
    Finished {
        /// One sentence.
        text: String,
        /// Whether all is well.
        good: bool,
    },
    /// It could not be done.
    Failed {
        /// One line, outermost first.
        reason: String,
    },
}
