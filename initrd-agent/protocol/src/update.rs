//! Wire messages of an update: a running clone becomes like a newer generation of its image.
//!
//! The order comes on the agent's standard input as one JSON document (`updatenode -S`, by ssh), lines of
//! [`UpdateLine`] go to its standard output. A node that asks by itself gets the same order from the server:
//!
//! | call | bearer token | body → answer |
//! |---|---|---|
//! | `POST /agent/v1/update` | the node's own | [`UpdateRequest`] → [`UpdateOrder`] |
//! | `POST /agent/v1/synced` | the order's | [`SyncReport`] → [`crate::agent::EventReply`] |
//! | `GET /agent/v1/manifest` | the order's | → signed manifest of the ordered generation; 304 when its digest is `If-None-Match` |
//! | `GET /agent/v1/manifest/delta/{generation}` | the order's | → signature and difference from that generation; 404 when there is none |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{ImageRef, NodeName, Secret};

/// What an updating agent must do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateOrder {
    /// `https://address:port` of the server.
    pub server: String,
    /// PEM of the CA that signs the server's certificate.
    pub ca_pem: String,
    /// Bearer token, good while this update runs.
    pub token: Secret,
    /// The node's own name.
    pub node: NodeName,
    /// Generation that the node is to be like.
    pub image: ImageRef,
    /// Image key, 32 bytes as base64; none when nothing may be fetched (dry run, verification).
    #[serde(default)]
    pub image_key: Option<Secret>,
    /// Ed25519 public key that signs manifests, base64.
    pub manifest_key: String,
    /// Base URLs that serve packs, best first.
    pub pack_sources: Vec<String>,
    /// Rules for paths that are left alone, those that decide first at the beginning.
    #[serde(default)]
    pub rules: Vec<UpdateRule>,
    /// What to do.
    pub action: UpdateAction,
    /// Files that were changed on the node stay as they are.
    #[serde(default)]
    pub keep_local: bool,
    /// Files that no generation ever brought are removed, too.
    #[serde(default)]
    pub delete_local: bool,
    /// The plan shows how text files differ.
    #[serde(default)]
    pub diff: bool,
    /// A token with which the node may ask for itself from now on, when it has none yet.
    #[serde(default)]
    pub node_token: Option<Secret>,
    /// Server's clock, seconds since the epoch.
    pub now: i64,
}

/// One rule for paths that an update leaves alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateRule {
    /// rsync-like pattern (`/etc/motd`, `*.local`, `+ /etc/keep`).
    pub rule: String,
    /// Where it was written, for people (`osimage compute`, `group rack1`, `node n1`).
    pub from: String,
}

/// What an update is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum UpdateAction {
    /// Show what would be done.
    Plan,
    /// Do it.
    Apply,
    /// List what is not as in the generation that the node has, reading every file.
    Verify,
    /// Put back what the last update replaced.
    Rollback,
    /// Say which rule decides about a path.
    Explain {
        /// Absolute path.
        path: String,
    },
}

/// A node asks for an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateRequest {
    /// The node's name as it knows it.
    pub node: NodeName,
    /// What it wants to do.
    pub action: UpdateAction,
    /// Image generation that it has; none when it does not know.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// Whether it asks because it has just started.
    #[serde(default)]
    pub started: bool,
}

/// A line of an updating agent's standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "update")]
pub enum UpdateLine {
    /// A step for people.
    Step {
        /// What is being done.
        text: String,
    },
    /// What will be done, or would be; before anything is changed.
    Plan(UpdatePlan),
    /// How far fetching and writing is.
    Progress {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something a person may want to know; the work goes on.
    Warning {
        /// One sentence.
        text: String,
    },
    /// The answer to [`UpdateAction::Explain`].
    Explained {
        /// One sentence.
        text: String,
    },
    /// The end, a good one.
    Finished(SyncReport),
    /// The end, a bad one.
    Failed {
        /// What failed, outermost first, on one line.
        reason: String,
        /// What the node is like now: `unchanged`, or what finishes it.
        state: String,
    },
}

/// What an update does on one node. Nodes with equal digests have equal changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdatePlan {
    /// Generation that the node has (`compute@3`), when it knows.
    #[serde(default)]
    pub from: Option<String>,
    /// Generation that it gets.
    pub to: String,
    /// BLAKE3 over `changes` and `boot`, lower-case hexadecimal.
    pub digest: String,
    /// Changes in the order of their paths.
    pub changes: Vec<PlannedChange>,
    /// What differs from the image and stays.
    #[serde(default)]
    pub kept: Vec<KeptPath>,
    /// Bytes of packs that are fetched.
    pub fetch_bytes: u64,
    /// Plain bytes that are written.
    pub write_bytes: u64,
    /// What is done so that the machine starts with it.
    #[serde(default)]
    pub boot: Vec<String>,
    /// Why the machine has to restart for all of it to take effect; empty when it need not.
    #[serde(default)]
    pub reboot: Vec<String>,
    /// Services that go on with old files until they are restarted.
    #[serde(default)]
    pub restart: Vec<ServiceHint>,
}

/// One change of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedChange {
    /// Absolute path; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// What is done.
    pub change: ChangeKind,
    /// Why.
    pub why: Why,
    /// Size of the new file in bytes; 0 for what is no file.
    #[serde(default)]
    pub bytes: u64,
    /// Unified difference of a text file, when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What is done with a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ChangeKind {
    /// It comes into being.
    Create,
    /// It comes into being from a file that is here under another name; nothing is fetched.
    Rename {
        /// The other name.
        from: String,
    },
    /// Its bytes, its target or its device numbers change.
    Content,
    /// Owner, mode, time, attributes or flags change.
    Metadata,
    /// It becomes another type of file.
    Type,
    /// It goes away.
    Delete,
}

/// Why a path changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The golden client changed it.
    Golden,
    /// It was changed on the node, and the golden client did not.
    Node,
    /// Both changed it.
    Both,
    /// It is not known what the node had.
    Unknown,
}

/// A path that differs from the image and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptPath {
    /// Absolute path.
    pub path: String,
    /// The rule, or what else keeps it.
    pub reason: String,
}

/// A service that still has replaced files open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceHint {
    /// Unit (`cron.service`), or program name.
    pub service: String,
    /// One of the files.
    pub file: String,
}

/// What a node is like after an update, a verification or a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncReport {
    /// Generation that it has now (`compute@4`).
    pub image: String,
    /// Paths changed.
    pub changed: u64,
    /// Bytes of packs fetched.
    pub fetched_bytes: u64,
    /// Paths that are not as in that generation (changed on the node or kept by `keep_local`); none when not counted.
    #[serde(default)]
    pub drift: Option<u64>,
    /// Whether a restart is needed, and why.
    #[serde(default)]
    pub reboot: Vec<String>,
}
