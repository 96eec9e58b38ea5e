//! From an error chain to what a person is told.

use sysclone_exec::ExecError;

use crate::session::Failure;

/// The reason on one line, and the failed program with its error output when there was one.
#[must_use]
pub fn describe(error: &anyhow::Error) -> Failure {
    let detail = error.chain().find_map(|cause| cause.downcast_ref::<ExecError>()).map(ToString::to_string);
    Failure { reason: one_line(&format!("{error:#}")), detail }
}

/// Line breaks and control characters become spaces.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_failed_program_is_told_with_its_output() {
        let failed = ExecError::Failed {
            line: "mke2fs /dev/sda2".into(),
            status: "exit status 1".into(),
            stderr: "no space".into(),
        };
        let error = Err::<(), _>(failed).context("making ext4 on /dev/sda2").unwrap_err();
        let failure = describe(&error);
        assert_eq!(failure.reason, "making ext4 on /dev/sda2: mke2fs /dev/sda2: exit status 1: no space");
        assert_eq!(failure.detail.as_deref(), Some("mke2fs /dev/sda2: exit status 1: no space"));
        let plain = describe(&anyhow::anyhow!("two\nlines"));
        assert_eq!(plain, Failure { reason: "two lines".into(), detail: None });
    }
}
