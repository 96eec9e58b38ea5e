//! Wire messages between the server and the agent: JSON over TLS, except packs (plain HTTP, encrypted frames).
//!
//! | call | role | body → answer |
//! |---|---|---|
//! | `POST /agent/v1/enroll` | install | [`EnrollRequest`] → [`Order`] |
//! | `POST /agent/v1/event` | all | [`AgentEvent`] → [`EventReply`] |
//! | `GET /agent/v1/manifest` | install | → signed manifest bytes of the ordered generation |
//! | `POST /agent/v1/report` | report | [`BootReport`] → [`EventReply`] |
//! | `GET /agent/v1/parent` | capture | → signed manifest bytes of the newest generation, or 404; 304 when its digest is `If-None-Match` |
//! | `GET /agent/v1/staged` | capture | → [`StagedPacks`]: whole packs that no manifest names yet |
//! | `PUT /agent/v1/packs/{hash}` | capture | pack bytes → 201, or 200 when already there |
//! | `POST /agent/v1/manifest` | capture | unsigned manifest bytes → [`CaptureReply`] |
//! | `POST /agent/v1/manifest/delta` | capture | its difference from the newest → [`CaptureReply`]; 412: send it whole |
//! | `GET {pack_source}/{hash}` | install, capture | → pack bytes, ranges honoured |
//!
//! Every call but `enroll` carries `Authorization: Bearer <token>`; errors answer [`ErrorReply`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inventory::Inventory;
use crate::layout::DiskRules;
use crate::names::{ImageRef, Mac, NodeName, Secret};
use crate::task::Tasks;

/// Sent once by an armed node; the ticket in it is burnt by the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// Node name from the kernel command line.
    pub node: NodeName,
    /// One-time ticket from the kernel command line.
    pub ticket: Secret,
    /// Interface the node was booted from.
    pub boot_mac: Option<Mac>,
    /// What the machine is.
    pub inventory: Inventory,
    /// Agent version.
    pub agent_version: String,
    /// Random text that the agent makes once per boot. When the answer was lost on the way, the same request with
    /// the same text is answered again; without it a second request is refused as one with a used ticket.
    #[serde(default)]
    pub attempt: Option<Secret>,
    /// Whether the agent understands [`InstallOrder::resume`].
    #[serde(default)]
    pub can_resume: bool,
    /// Whether the agent understands a [`TaskOrder`].
    #[serde(default)]
    pub can_do_tasks: bool,
    /// What is wrong with the initrd that the agent was started from. The server then writes it down and refuses; the
    /// ticket stays good for the machine's next boot.
    #[serde(default)]
    pub initrd_fault: Option<String>,
}

/// What an enrolled node must do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Order {
    /// Become a clone.
    Install(InstallOrder),
    /// Work from memory.
    Tasks(TaskOrder),
}

/// Work that leaves the image alone: commands, a shell, waiting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskOrder {
    /// What this order belongs to.
    pub job: String,
    /// Bearer token for the calls that follow.
    pub token: Secret,
    /// The node's own name.
    pub node: NodeName,
    /// The steps.
    pub tasks: Tasks,
    /// Whether a failure may leave a root shell on the console.
    #[serde(default)]
    pub allow_shell: bool,
    /// Server's clock, seconds since the epoch.
    pub now: i64,
}

/// How a node becomes a clone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstallOrder {
    /// The deployment this order belongs to.
    pub job: String,
    /// Bearer token for the calls that follow.
    pub token: Secret,
    /// Bearer token for the clone's one boot report, valid after the installation only.
    pub report_token: Secret,
    /// The node's own name.
    pub node: NodeName,
    /// Host name to give the clone (may be fully qualified).
    pub hostname: String,
    /// Image generation to install.
    pub image: ImageRef,
    /// Image key, 32 bytes as base64.
    pub image_key: Secret,
    /// Ed25519 public key that signed the manifest, base64. The agent compares it with the one in its initrd.
    pub manifest_key: String,
    /// Base URLs that serve packs, best first.
    pub pack_sources: Vec<String>,
    /// Rules per layout disk label that replace the image's own.
    #[serde(default)]
    pub disk_rules: std::collections::BTreeMap<String, DiskRules>,
    /// Whether a failure may leave a root shell on the console.
    #[serde(default)]
    pub allow_shell: bool,
    /// An agent of this deployment has begun to write already. What it left is gone on with when the disks say that
    /// it is this deployment's; disks are never cleared under this order.
    #[serde(default)]
    pub resume: bool,
    /// Server's clock, seconds since the epoch.
    pub now: i64,
}

/// Phases of an installation, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Kernel is up, drivers and network are being started.
    Start,
    /// Reading the machine's hardware.
    Probe,
    /// Fitting the layout onto the disks.
    Plan,
    /// Removing what was on the chosen disks.
    Clear,
    /// Writing partition tables.
    Partition,
    /// Creating arrays and volume groups.
    Assemble,
    /// Making filesystems.
    Format,
    /// Mounting them.
    Mount,
    /// Fetching, verifying and writing the image.
    Pull,
    /// Giving the clone its own identity.
    Identity,
    /// Making the disk bootable.
    Bootloader,
    /// Reading back what was written.
    Verify,
    /// Unmounting, flushing, restarting.
    Finish,
    /// Reading a golden client (capture role).
    Capture,
    /// The clone is running from its own disk (report role).
    Boot,
    /// Working from memory, as a [`TaskOrder`] says.
    Task,
    /// A phase this version does not know.
    #[serde(other)]
    Unknown,
}

/// One thing the agent tells the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentEvent {
    /// Phase it happened in.
    pub phase: Phase,
    /// What happened.
    #[serde(flatten)]
    pub kind: AgentEventKind,
}

/// Kinds of agent event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum AgentEventKind {
    /// A phase has begun.
    Started,
    /// A phase has ended well.
    Done {
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// How far the current phase is.
    Progress {
        /// Bytes (or items) done.
        done: u64,
        /// Bytes (or items) in all.
        total: u64,
    },
    /// The plan, as people read it, before the first write.
    Plan {
        /// Multi-line text.
        text: String,
    },
    /// Figures of a phase.
    Note {
        /// One line.
        text: String,
    },
    /// Something a person may want to know; the work goes on.
    Warning {
        /// One sentence.
        text: String,
    },
    /// The job is over, badly.
    Failed {
        /// What failed, outermost first, on one line.
        reason: String,
        /// Command and tail of its error output, when a program failed.
        #[serde(default)]
        detail: Option<String>,
        /// What the disks now hold (`untouched`, `partitioned, no data`, `incomplete`…).
        disk_state: String,
    },
    /// All written, read back and flushed; the machine restarts now.
    Installed {
        /// SSH host public keys of the clone, one authorized_keys line each.
        #[serde(default)]
        host_keys: Vec<String>,
    },
    /// All steps of a [`TaskOrder`] are done; the machine restarts or switches itself off now.
    Worked,
    /// A kind this version does not know.
    #[serde(other)]
    Unknown,
}

/// The server's answer to an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventReply {
    /// The job was withdrawn: stop before the next write.
    pub abort: bool,
    /// Answer to a boot report: the node's own token, with which the clone asks for updates by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_token: Option<Secret>,
}

/// Sent once by a clone that runs from its own disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootReport {
    /// The node's name as the clone knows it.
    pub node: NodeName,
    /// The deployment that made it.
    pub job: String,
    /// The installed generation, read from the clone's disk.
    pub image: ImageRef,
    /// Running kernel release.
    pub kernel: String,
    /// `/proc/sys/kernel/random/boot_id` of the running system.
    pub boot_id: String,
    /// Source device of `/`.
    pub root_device: String,
    /// Serial or WWN of the disk under `/`, when it has one.
    #[serde(default)]
    pub root_disk: Option<String>,
    /// Running host name.
    pub hostname: String,
}

/// Given to a capturing agent on its standard input as one JSON document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaptureOrder {
    /// `https://address:port` of the server.
    pub server: String,
    /// PEM of the CA that signs the server's certificate.
    pub ca_pem: String,
    /// Bearer token.
    pub token: Secret,
    /// Image to make the next generation of; `generation` is the number the new one will get.
    pub image: ImageRef,
    /// Image key, 32 bytes as base64.
    pub image_key: Secret,
    /// Ed25519 public key that signs manifests, base64; the generation before is reused only when it opens with it.
    pub manifest_key: String,
    /// Base URL that serves packs.
    pub pack_source: String,
    /// Exclude rules of this image beside the built-in ones, in order.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// A file that does not hold still makes the capture fail.
    #[serde(default)]
    pub strict: bool,
    /// No snapshots are made: every file system is read as it is.
    #[serde(default)]
    pub live: bool,
}

/// One line on a capturing agent's standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "capture")]
pub enum CaptureLine {
    /// A step for people (`reading disks`).
    Step {
        /// What is being done.
        text: String,
    },
    /// How far it is.
    Progress {
        /// Files seen.
        files: u64,
        /// Bytes read.
        bytes: u64,
        /// Bytes in all, estimated from used space.
        total: u64,
        /// Bytes sent to the server.
        sent: u64,
    },
    /// A file that could not be captured as it should.
    Inconsistent {
        /// Path, lossily as text.
        path: String,
        /// Why.
        reason: String,
    },
    /// The capture was accepted by the server.
    Finished(CaptureReply),
    /// The capture failed; nothing became visible.
    Failed {
        /// What failed, outermost first, on one line.
        reason: String,
    },
}

/// The server's answer to a new manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureReply {
    /// The generation that now exists.
    pub image: ImageRef,
    /// Entries in it.
    pub entries: u64,
    /// Plain bytes of all files in it.
    pub bytes: u64,
    /// Bytes of packs that were new.
    pub new_bytes: u64,
}

/// Packs that reached the server whole in a capture that did not finish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedPacks {
    /// Pack names (BLAKE3, lower-case hexadecimal).
    pub packs: Vec<String>,
    /// Packs of the newest generation that the store has lost: what is in them has to be sent again.
    #[serde(default)]
    pub lost: Vec<String>,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReply {
    /// One sentence: what is wrong and what to do.
    pub error: String,
}
