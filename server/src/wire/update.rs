//! Updates of running clones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sysclone_protocol::update::{SyncReport, UpdateAction, UpdatePlan};

/// `POST /api/v1/update`: brings running clones up to date, or shows what that would change; answers lines of
/// [`UpdateAnswer`]. Closing the answer ends what runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UpdateNodesRequest {
    /// Node names, already evaluated.
    pub nodes: Vec<String>,
    /// `name`, `name@generation` or `name@tag`; else the newest generation of each node's own image.
    #[serde(default)]
    pub image: Option<String>,
    /// What is done.
    pub action: UpdateAction,
    /// Files that were changed on the node stay as they are.
    #[serde(default)]
    pub keep_local: bool,
    /// Files that no generation ever brought are removed, too.
    #[serde(default)]
    pub delete_local: bool,
    /// Plans show how text files differ. For root only, because an image holds `/etc/shadow`.
    #[serde(default)]
    pub diff: bool,
    /// Nodes at a time; else 64.
    #[serde(default)]
    pub fanout: Option<u16>,
    /// No further node is begun when more than so many have failed; else all are.
    #[serde(default)]
    pub max_failures: Option<u32>,
}

impl UpdateNodesRequest {
    pub(crate) fn fanout(&self) -> usize {
        super::remote::fanout(self.fanout)
    }
}

/// One line of the answer to [`UpdateNodesRequest`]. Each node that was begun ends with one of `finished`, `explained`,
/// `agent`, `failed` and `unreachable`; the last line is `ended`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "update")]
pub enum UpdateAnswer {
    /// A step, in the words shown to people.
    Step {
        /// The node.
        node: String,
        /// What is being done.
        text: String,
    },
    /// How far fetching and writing is.
    Progress {
        /// The node.
        node: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// What is done, or would be.
    Plan {
        /// The node.
        node: String,
        /// The node whose plan, sent before, has the same changes; they are left out here then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        like: Option<String>,
        /// The plan.
        plan: Box<UpdatePlan>,
    },
    /// Something that should be looked at; the update went on.
    Warning {
        /// The node.
        node: String,
        /// One sentence.
        text: String,
    },
    /// Which rule decides about a path.
    Explained {
        /// The node.
        node: String,
        /// One sentence.
        text: String,
    },
    /// It is done.
    Finished {
        /// The node.
        node: String,
        /// What the node is like now.
        report: SyncReport,
    },
    /// The node is no clone, or the golden client of its image: the agent is there, nothing else was done.
    Agent {
        /// The node.
        node: String,
        /// How the agent comes to be there.
        text: String,
    },
    /// It is not done.
    Failed {
        /// The node.
        node: String,
        /// One line, outermost first.
        reason: String,
        /// What the node is like now, when its agent said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<String>,
    },
    /// The node cannot be reached.
    Unreachable {
        /// The node.
        node: String,
        /// What ssh said.
        reason: String,
    },
    /// The end.
    Ended(UpdateSummary),
}

/// What became of all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateSummary {
    /// How many are done.
    pub done: u64,
    /// Which failed.
    pub failed: Vec<String>,
    /// Which cannot be reached.
    pub unreachable: Vec<String>,
    /// Which were not begun because too many had failed.
    pub not_tried: Vec<String>,
}

/// What a clone is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeSync {
    /// The node.
    pub node: String,
    /// `name@generation` that it has; none when it is no clone.
    pub image: Option<String>,
    /// The newest generation of that image, when it is another.
    pub newest: Option<String>,
    /// When it came to be so, RFC 3339 UTC; none when it has not said since it was installed.
    pub synced_at: Option<String>,
    /// Paths that are not as in that generation, when they were counted.
    pub drift: Option<u64>,
    /// When that was, RFC 3339 UTC.
    pub drift_at: Option<String>,
    /// Why it should restart.
    pub reboot: Vec<String>,
}
