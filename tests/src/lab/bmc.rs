//! A BMC that speaks IPMI: OpenIPMI's `ipmi_sim`, which controls an emulated machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::network::Network;
use super::process::Process;
use super::wait;

const START_LIMIT: Duration = Duration::from_secs(30);

/// The program between the simulator and QEMU.
const MACHINE: &str = include_str!("bmc_machine.py");

/// A running BMC.
#[derive(Debug)]
pub struct Bmc {
    _process: Process,
}

impl Bmc {
    /// Port that it listens on, at the management node's address.
    pub const PORT: u16 = 9623;
    /// User name.
    pub const USER: &str = "admin";
    /// Password.
    pub const PASSWORD: &str = "gEheim-7$x";

    /// Starts the BMC of the machine `name`, which was made by [`super::Spec::behind_bmc`].
    ///
    /// # Errors
    /// The simulator does not come up.
    pub fn start(network: &Network, name: &str, logs: &Path) -> Result<Self> {
        let folder = network.scratch().join(format!("{name}-bmc"));
        if folder.exists() {
            fs::remove_dir_all(&folder).context("removing the files of an earlier BMC")?;
        }
        fs::create_dir_all(folder.join("state")).context("creating the BMC's folder")?;
        let socket = network.scratch().join(format!("{name}.bmc"));
        fs::write(folder.join("machine.py"), MACHINE).context("writing the BMC's program")?;
        let program = folder.join("machine");
        let script =
            format!("#!/bin/sh\nexec python3 {}.py {} \"$@\"\n", program.display(), socket.display());
        fs::write(&program, script).context("writing the BMC's program")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).context("making it a program")?;
        let (address, port, user, password) = (Network::SERVER, Self::PORT, Self::USER, Self::PASSWORD);
        let config = format!(
            "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\naddr {address} {port}\npriv_limit admin\n\
             allowed_auths_admin md5\nguid a123456789abcdefa123456789abcdef\nendlan\n\
             chassis_control \"{}\"\nuser 2 true \"{user}\" \"{password}\" admin 10 md5\n",
            program.display()
        );
        fs::write(folder.join("lan.conf"), config).context("writing the BMC's configuration")?;
        let commands = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                        mc_enable 0x20\n";
        fs::write(folder.join("commands"), commands).context("writing the BMC's commands")?;
        let mut command = network.background(Path::new("ipmi_sim"));
        command.args(["-n", "-c", "lan.conf", "-f", "commands", "-s", "state"]).current_dir(&folder);
        let process = Process::start("ipmi_sim", &mut command, &logs.join("ipmi_sim.log"))?;
        wait::until("the BMC's port", START_LIMIT, || {
            process.check_running()?;
            let taken = network.inside(|| std::net::UdpSocket::bind((address, port)).is_err())?;
            Ok(taken.then_some(()))
        })?;
        Ok(Self { _process: process })
    }
}
