//! Everything that is shipped: the server's programs, the static agents, and what machines boot.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sysclone_tests::site::Programs;

use crate::arch::Arch;
use crate::{power_big, setup, shell};

/// Options of the build.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Architectures of the machines to boot. For POWER, Debian packages are installed first (root).
    #[arg(long, value_enum, value_delimiter = ',', default_value = "x86_64")]
    pub arch: Vec<Arch>,
}

impl Options {
    /// What the lab's machines are.
    pub(crate) fn lab() -> Self {
        Self { arch: vec![Arch::X86_64] }
    }
}

/// Builds all and says where it is.
pub(crate) fn run(options: &Options) -> Result<Programs> {
    setup::power(&options.arch)?;
    let mut server = shell::cargo(&["build", "--release", "--locked"]);
    shell::run(server.args(["--package", "sysclone-server", "--package", "sysclone-image-builder"]))?;
    let programs = Programs { bin: shell::target_dir().join("release"), boot: shell::lab_dir().join("boot") };
    for &arch in &options.arch {
        let agent = agent(arch).with_context(|| format!("building the agent for {}", arch.name()))?;
        match arch {
            Arch::X86_64 | Arch::Ppc64le => image(&programs, arch, &agent, &[]),
            // Debian has neither a kernel nor programs for it: image-builder takes them as they are given.
            Arch::Ppc64 => {
                println!("agent for {}: {}", arch.name(), agent.display());
                Ok(())
            }
        }
        .context("building what machines boot")?;
    }
    Ok(programs)
}

fn agent(arch: Arch) -> Result<PathBuf> {
    let (mut cargo, folder) = arch.cargo(&["build", "--release", "--package", "sysclone-agent"])?;
    shell::run(&mut cargo)?;
    Ok(folder.join("release/sysclone-agent"))
}

/// A kernel of our making and busybox, for the machines of the lab: they work from memory.
pub(crate) fn big_endian(programs: &Programs) -> Result<()> {
    let made = power_big::provide()?;
    let agent = agent(Arch::Ppc64)?;
    let given = [("--kernel", &made.kernel), ("--modules", &made.modules), ("--tree", &made.tree)];
    let mut words: Vec<&OsStr> = vec!["--incomplete".as_ref()];
    for (option, path) in given {
        words.extend([OsStr::new(option), path.as_os_str()]);
    }
    image(programs, Arch::Ppc64, &agent, &words)
}

fn image(programs: &Programs, arch: Arch, agent: &Path, words: &[&OsStr]) -> Result<()> {
    std::fs::create_dir_all(shell::lab_dir()).context("creating the lab's folder")?;
    let mut builder = Command::new(programs.bin.join("sysclone-image-builder"));
    builder.args(["build", "--arch", arch.name(), "--agent"]).arg(agent).arg("--out").arg(&programs.boot);
    builder.args(words);
    shell::run(builder.arg("--cache").arg(cache_dir().join("boot-packages")))
}

/// What is slow to make and stays the same between runs.
pub(crate) fn cache_dir() -> PathBuf {
    std::env::var_os("SYSCLONE_LAB_CACHE")
        .map_or_else(|| shell::lab_dir().join("cache"), |dir| shell::root().join(dir))
}
