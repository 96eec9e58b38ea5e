//! Why a machine did not do what was asked.

use std::path::PathBuf;

/// Why a machine did not do what was asked. Every text says what to do next, and none holds a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PowerError {
    /// The node's definition does not say how to reach it.
    #[error("{0}")]
    Definition(String),
    /// Nobody answered, so nothing was done.
    #[error(
        "no answer from {place}: {said}; check the address, the cable and that the BMC's {service} is switched on"
    )]
    Unreachable {
        /// Address and port.
        place: String,
        /// What was tried, or what the operating system said.
        said: String,
        /// `IPMI over LAN`, `Redfish`.
        service: &'static str,
    },
    /// User name and password are not accepted.
    #[error("{place} refuses the login of user '{user}' ({said}); check bmcusername and bmcpassword")]
    Login {
        /// Address and port.
        place: String,
        /// User name.
        user: String,
        /// The BMC's words.
        said: String,
    },
    /// It answered that it does not do that.
    #[error("{place} refuses {what}: {said}")]
    Refused {
        /// Address and port.
        place: String,
        /// What it was asked for.
        what: String,
        /// Its words.
        said: String,
    },
    /// It said yes, and then answers otherwise.
    #[error("{place} did not take {wanted}: it answers {found}")]
    NotTaken {
        /// Address and port.
        place: String,
        /// What it was set to.
        wanted: String,
        /// What it says it has.
        found: String,
    },
    /// This kind of machine has no such thing.
    #[error("unsupported command {what} for {method}: {advice}")]
    Unsupported {
        /// `power nmi`.
        what: String,
        /// The method.
        method: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// It was asked, and may have done it.
    #[error(
        "{place} did not answer when asked for {what} ({said}); it may have done it, so look with rpower stat before \
         you ask again"
    )]
    Unsure {
        /// Address and port.
        place: String,
        /// What it was asked for.
        what: String,
        /// How the answer was lost.
        said: String,
    },
    /// The HMC was not reached, so nothing was done.
    #[error(
        "cannot reach the {place} by ssh: {said}; check hcp, and that remote commands are allowed on the HMC"
    )]
    Away {
        /// Which one.
        place: String,
        /// ssh's words.
        said: String,
    },
    /// Another machine answers there, or the HMC was installed anew; nothing was done.
    #[error(
        "the ssh host key of the {place} is not the one that is known: if it was installed anew, `ssh-keygen -R \
         '{entry}' -f {}` on this server and try again", known_hosts.display()
    )]
    HmcKey {
        /// Which one.
        place: String,
        /// Its name in the file.
        entry: String,
        /// Where the known one is.
        known_hosts: PathBuf,
    },
    /// The HMC or ssh to it refused.
    #[error("{what} failed on the {place}: {said}; {advice}")]
    Hmc {
        /// Which one.
        place: String,
        /// Its command.
        what: String,
        /// Its words.
        said: String,
        /// What to do.
        advice: &'static str,
    },
    /// A program that is needed is not there.
    #[error("{program} cannot be started: install the package {package} on this server")]
    Program {
        /// The program.
        program: &'static str,
        /// Where it comes from.
        package: &'static str,
    },
    /// It took too long.
    #[error("not done after {seconds} s; whether it was done is not known")]
    TimeLimit {
        /// The limit.
        seconds: u64,
    },
}

impl PowerError {
    /// Whether it is certain that nothing was done, so that asking again is harmless.
    pub(super) fn nothing_was_done(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Away { .. } => true,
            Self::Definition(_)
            | Self::Login { .. }
            | Self::Refused { .. }
            | Self::NotTaken { .. }
            | Self::Unsupported { .. }
            | Self::Unsure { .. }
            | Self::HmcKey { .. }
            | Self::Hmc { .. }
            | Self::Program { .. }
            | Self::TimeLimit { .. } => false,
        }
    }
}
