//! `sysclone probe`: what was looked at, and what to do about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that a deployment needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, when something is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Good,
    /// Deployments can work, and somebody should look.
    Warning,
    /// Deployments will fail.
    Failed,
}

impl Check {
    pub(crate) fn good(subject: &str, found: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), verdict: Verdict::Good, found: found.into(), advice: None }
    }

    pub(crate) fn warning(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { subject: subject.to_owned(), verdict: Verdict::Warning, found: found.into(), advice }
    }

    pub(crate) fn failed(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::warning(subject, found, advice) }
    }
}
