//! Commands and files on running nodes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// As many at a time as xCAT does, and the most that are.
const FANOUT: u16 = 64;
const MAX_FANOUT: u16 = 512;

pub(super) fn fanout(wanted: Option<u16>) -> usize {
    usize::from(wanted.unwrap_or(FANOUT).clamp(1, MAX_FANOUT))
}

/// `POST /api/v1/run`: runs a command on many nodes; answers lines of [`RunLine`]. Closing the answer ends what runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunRequest {
    /// Node names, already evaluated.
    pub nodes: Vec<String>,
    /// Text for the shell of the node; with `script` the arguments of the script.
    pub command: String,
    /// A script that is put on the node, run and removed.
    #[serde(default)]
    pub script: Option<String>,
    /// Account on the node; else the one in the configuration.
    #[serde(default)]
    pub user: Option<String>,
    /// Nodes at a time; else 64.
    #[serde(default)]
    pub fanout: Option<u16>,
    /// Time limit of each node in seconds; else none.
    #[serde(default)]
    pub seconds: Option<u32>,
}

impl RunRequest {
    pub(crate) fn fanout(&self) -> usize {
        fanout(self.fanout)
    }
}

/// One line of the answer to [`RunRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunLine {
    /// The node.
    pub node: String,
    /// What it said.
    #[serde(flatten)]
    pub said: Said,
}

/// What a node said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "said")]
pub enum Said {
    /// A line of output.
    Line {
        /// Which output.
        stream: Stream,
        /// The line; what is no UTF-8 is replaced.
        text: String,
    },
    /// The end, once for every node.
    Ended {
        /// Exit status, or why there is none.
        result: Result<i32, String>,
    },
}

/// An output of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// `POST /api/v1/copy`: copies files; answers lines of [`super::power::NodeAnswer`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CopyRequest {
    /// Node names, already evaluated.
    pub nodes: Vec<String>,
    /// What is copied.
    #[serde(flatten)]
    pub files: Files,
    /// Account on the node; else the one in the configuration.
    #[serde(default)]
    pub user: Option<String>,
    /// Nodes at a time; else 64.
    #[serde(default)]
    pub fanout: Option<u16>,
    /// Time limit of each node in seconds; else none.
    #[serde(default)]
    pub seconds: Option<u32>,
}

impl CopyRequest {
    pub(crate) fn fanout(&self) -> usize {
        fanout(self.fanout)
    }
}

/// What is copied where to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Files {
    /// Files; on the server, or on the node with `pull`.
    pub sources: Vec<PathBuf>,
    /// File or directory on the other side. With `pull` a directory of the server, in which each node gets its own.
    pub target: PathBuf,
    /// From the nodes to the server.
    #[serde(default)]
    pub pull: bool,
    /// With all below directories.
    #[serde(default)]
    pub recursive: bool,
    /// With times and modes.
    #[serde(default)]
    pub preserve: bool,
}

/// `POST /api/v1/agents`: puts the agent on running nodes; answers lines of [`super::power::NodeAnswer`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentsRequest {
    /// Node names, already evaluated.
    pub nodes: Vec<String>,
    /// Nodes at a time; else 64.
    #[serde(default)]
    pub fanout: Option<u16>,
}

impl AgentsRequest {
    pub(crate) fn fanout(&self) -> usize {
        fanout(self.fanout)
    }
}
