//! Power and boot order.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::power::Task;

/// `POST /api/v1/power`: does one thing on many nodes, and answers lines of [`NodeAnswer`] as they come.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PowerRequest {
    /// Node names, already evaluated.
    pub nodes: Vec<String>,
    /// What to do.
    pub task: Task,
    /// How many at a time, for how long.
    #[serde(default)]
    pub limits: Limits,
}

/// `POST /api/v1/rinstall`: nodeset, boot order and power of many nodes; answers lines of [`NodeAnswer`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InstallRequest {
    /// Node names, already evaluated.
    pub nodes: Vec<String>,
    /// State word, as nodeset takes it.
    pub state: String,
    /// Whether the nodes boot as UEFI does.
    #[serde(default)]
    pub uefi: bool,
    /// How many at a time, for how long.
    #[serde(default)]
    pub limits: Limits,
}

/// `POST /api/v1/rnetboot`: boots nodes from the network now; answers lines of [`NodeAnswer`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NetbootRequest {
    /// Node names, already evaluated.
    pub nodes: Vec<String>,
    /// Also nodes for which nothing is set, which go on to their own disk.
    #[serde(default)]
    pub force: bool,
    /// How many at a time, for how long.
    #[serde(default)]
    pub limits: Limits,
}

/// Whether a state of nodeset is one that a restart belongs to. The others only ask, or keep a node from the network.
#[must_use]
pub fn installs(state: &str) -> bool {
    !matches!(state, "stat" | "offline" | "standby" | "shutdown")
}

/// Bounds of a request for many nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Nodes at a time.
    pub fanout: u16,
    /// Time limit of each node, in seconds.
    pub seconds: u32,
    /// How often a BMC that does not answer is asked again.
    pub retries: u16,
}

/// More at a time than this only makes the server's own network card busier.
const MAX_FANOUT: u16 = 512;

impl Default for Limits {
    /// 64 at a time, as xCAT does. Slow BMCs need half a minute for a session, and a silent one is asked twice.
    fn default() -> Self {
        Self { fanout: 64, seconds: 90, retries: 1 }
    }
}

impl Limits {
    /// Nodes at a time, at least one.
    #[must_use]
    pub fn fanout(&self) -> usize {
        usize::from(self.fanout.clamp(1, MAX_FANOUT))
    }

    /// Time limit of each node.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.max(1).into())
    }
}

/// How one node fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeAnswer {
    /// Node name.
    pub name: String,
    /// The step, when the request has several: `nodeset`, `rsetboot`, `rpower`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Text to show after `name: `, or the error.
    pub result: Result<String, String>,
}

impl NodeAnswer {
    /// Whether no other answer comes for this node: the only step, the last one, or one that failed.
    #[must_use]
    pub fn ends_its_node(&self) -> bool {
        self.result.is_err() || self.step.as_deref().is_none_or(|step| matches!(step, "rpower" | "rnetboot"))
    }
}
