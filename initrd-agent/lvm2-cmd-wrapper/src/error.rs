//! What can go wrong.

use std::path::PathBuf;

use sysclone_exec::ExecError;

/// Why an lvm2 command or report could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    /// The command failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// Its report is not the JSON that lvm2 2.02.158 and newer print.
    #[error("{line}: its report cannot be read")]
    Report {
        /// The command.
        line: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A number in the report is none.
    #[error("{line}: '{value}' is not a number")]
    Number {
        /// The command.
        line: String,
        /// What stood there.
        value: String,
    },
    /// The file that hands metadata to lvm2 cannot be written.
    #[error("{}: cannot be written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A name, tag or UUID that lvm2 would not take.
    #[error("'{text}' is no {what} for lvm2")]
    Word {
        /// What it should have been.
        what: &'static str,
        /// What it is.
        text: String,
    },
}
