//! A whole build, from packages or given trees to a published boot directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use sysclone_exec::{Command, Runner, Tool, missing_tools};
use tempfile::TempDir;

use crate::apt::{self, Apt, Package};
use crate::arch::Arch;
use crate::contents::{Contents, Group, Item, WHOLE};
use crate::cpio;
use crate::kernel::Kernel;
use crate::lists::{ModuleList, ToolList};
use crate::loaders;
use crate::modules::ModuleTree;
use crate::output::{ArchFacts, Stage};
use crate::report::Report;
use crate::tools::Collector;
use crate::tree::{Tree, read};

/// Measured on an archive of 84 MB: level 9 gives 22.4 MB in 2.7 s of processor time, 12 gives 22.3 MB in 6 s, 17 gives
/// 20.5 MB in 40 s, 19 gives 19.8 MB in 63 s. Levels above 19 also ask 128 MB of memory from the booting kernel.
const COMPRESSION: i32 = 12;

/// Where the agent is in the initrd.
const AGENT: &str = "usr/sbin/sysclone-agent";

/// Threads that compress.
const WORKERS: u32 = 4;

const ENV: Tool = Tool("env");

/// What to build from.
#[derive(Debug, Clone)]
pub struct Options {
    /// Architecture of the machines to boot.
    pub arch: Arch,
    /// The agent, a static program.
    pub agent: PathBuf,
    /// The directory to publish.
    pub out: PathBuf,
    /// Package files.
    pub cache: PathBuf,
    /// Kernel file and module directory, instead of Debian's.
    pub kernel: Option<(PathBuf, PathBuf)>,
    /// Root of a tree with the programs, instead of Debian's packages.
    pub tree: Option<PathBuf>,
    /// Directory of firmware files.
    pub firmware: Option<PathBuf>,
    /// Modules beside the listed ones.
    pub extra_modules: Vec<String>,
    /// Whether listed modules and programs may be missing.
    pub incomplete: bool,
    /// Whether to publish the network loaders too.
    pub loaders: bool,
}

/// Builds and publishes.
///
/// # Errors
/// Something is missing, unreadable or not publishable. The directory is then as it was.
pub fn run(options: &Options, runner: &dyn Runner) -> Result<Report> {
    let started = Instant::now();
    check(options)?;
    let agent = read(&options.agent)?;
    let tool_list = ToolList::built_in(options.arch)?;
    check_agent_tools(options, runner, &tool_list)?;
    let mut inputs = Inputs::gather(options, runner, &tool_list)?;
    let modules = ModuleTree::load(&inputs.kernel.modules)?;
    let module_list = match options.incomplete {
        true => ModuleList::what_is_there(&options.extra_modules)?,
        false => ModuleList::with_extra(&options.extra_modules)?,
    };
    let selection = modules.select(&module_list)?;
    let mut contents = Contents::base();
    contents.add_program(AGENT, Group::Agent, agent.clone());
    contents.add("init", Group::Agent, Item::Link(format!("/{AGENT}")));
    contents.add_file(WHOLE, Group::Base, "");
    let programs = Collector::new(&inputs.tools, &mut contents);
    let mut absent = match options.incomplete {
        true => programs.collect_what_is_there(&tool_list)?,
        false => programs.collect(&tool_list)?,
    };
    selection.add_to(&mut contents, &inputs.kernel.release)?;
    if let Some(firmware) = &options.firmware {
        absent.extend(add_firmware(&mut contents, firmware, selection.firmware())?);
    }
    absent.extend(selection.absent.iter().cloned());
    let loaders = match &inputs.loaders {
        Some(tree) => loaders::collect(runner, options.arch, tree)?,
        None => Vec::new(),
    };
    let archive = cpio::archive(&contents);
    let initrd = compress(&archive)?;

    let arch = options.arch;
    let mut stage = Stage::new(&options.out)?;
    put_kernel(&mut stage, (&arch.to_string(), arch), &read(&inputs.kernel.image)?)?;
    stage.put(&format!("{arch}/initrd.img"), &initrd, 0o644)?;
    stage.put(&format!("{arch}/sysclone-agent"), &agent, 0o755)?;
    for (name, data) in &loaders {
        stage.put(&format!("loaders/{name}"), data, 0o644)?;
    }
    inputs.packages.sort();
    let kernel_release = inputs.kernel.release.clone();
    let facts = ArchFacts { kernel_release: kernel_release.clone(), packages: inputs.packages };
    let index = stage.publish(&arch.to_string(), facts)?;
    Ok(Report {
        arch: arch.to_string(),
        kernel_release,
        modules: selection.count(),
        groups: contents.sizes(),
        archive_bytes: archive.len() as u64,
        absent,
        took: started.elapsed(),
        index,
    })
}

/// Kernel, programs and loaders, ready to be read. The directories of unpacked packages live as long as this does.
struct Inputs {
    kernel: Kernel,
    tools: Tree,
    loaders: Option<Tree>,
    packages: Vec<Package>,
    _unpacked: Vec<TempDir>,
}

impl Inputs {
    fn gather(options: &Options, runner: &dyn Runner, list: &ToolList) -> Result<Self> {
        let (mut packages, mut unpacked) = (Vec::new(), Vec::new());
        let mut unpack = |apt: &Apt<'_>, names: &[String]| -> Result<PathBuf> {
            let dir = tempfile::Builder::new().prefix("sysclone-build-").tempdir_in(&options.cache);
            let dir = dir.with_context(|| format!("creating a directory in {}", options.cache.display()))?;
            packages.extend(apt.unpack(names, dir.path())?);
            let path = dir.path().to_owned();
            unpacked.push(dir);
            Ok(path)
        };
        // Debian has no packages for big-endian POWER but ports; what firmware starts is the same for both byte orders.
        let arch =
            if options.arch == Arch::Ppc64 && options.tree.is_some() { Arch::Ppc64le } else { options.arch };
        let apt = Apt::new(runner, &options.cache, arch)?;
        let kernel = match &options.kernel {
            Some((image, modules)) => Kernel::given(image, modules)?,
            None => Kernel::in_tree(&unpack(&apt, &[apt.newest_kernel()?])?)?,
        };
        let tools = match &options.tree {
            Some(tree) => Tree::new(tree),
            None => {
                let mut names = list.package_names();
                names.extend(apt.libraries_of(&names)?);
                Tree::new(unpack(&apt, &names)?)
            }
        };
        let loaders = match options.loaders {
            true => Some(Tree::new(unpack(&apt, &loaders::packages(options.arch))?)),
            false => None,
        };
        Ok(Self { kernel, tools, loaders, packages, _unpacked: unpacked })
    }
}

/// What can be known to be wrong before any work.
fn check(options: &Options) -> Result<()> {
    let mut needed = apt::TOOLS.to_vec();
    if options.loaders {
        needed.extend(loaders::TOOLS);
    }
    let missing: Vec<&str> = missing_tools(&needed).iter().map(|tool| tool.0).collect();
    if !missing.is_empty() {
        bail!("these programs are needed and not installed: {}", missing.join(", "));
    }
    if !options.agent.is_file() {
        bail!("there is no agent {}", options.agent.display());
    }
    Ok(())
}

/// The agent says which programs it starts; each must be on the list. An agent of another architecture cannot be
/// asked here, and names what it misses when it starts.
fn check_agent_tools(options: &Options, runner: &dyn Runner, list: &ToolList) -> Result<()> {
    if !options.arch.is_native() {
        return Ok(());
    }
    let ask =
        Command::new(ENV).arg(std::path::absolute(&options.agent).context("finding the agent")?).arg("tools");
    let text = runner.run(&ask).context("asking the agent for the programs it starts")?.text();
    let packages = list.packages.iter();
    let listed: BTreeSet<&str> =
        packages.flat_map(|p| p.tools.iter().chain(&p.applets)).map(String::as_str).collect();
    let unknown: Vec<&str> = text.split_whitespace().filter(|tool| !listed.contains(tool)).collect();
    if !unknown.is_empty() {
        bail!("the agent starts programs that the tool list does not have: {}", unknown.join(", "));
    }
    Ok(())
}

/// Adds the files that the modules ask for and `directory` has; returns the others.
pub(crate) fn add_firmware<'a>(
    contents: &mut Contents,
    directory: &Path,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>> {
    let (tree, mut absent) = (Tree::new(directory), Vec::new());
    for name in names {
        match tree.resolve(name) {
            Some(_) => contents.add_file(&format!("lib/firmware/{name}"), Group::Modules, tree.read(name)?),
            None => absent.push(name.to_owned()),
        }
    }
    Ok(absent)
}

/// Puts a kernel into a folder of the boot directory.
pub(crate) fn put_kernel(stage: &mut Stage, (folder, arch): (&str, Arch), kernel: &[u8]) -> Result<()> {
    stage.put(&format!("{folder}/kernel"), kernel, 0o644)?;
    match arch {
        Arch::X86_64 => Ok(()),
        Arch::Ppc64le | Arch::Ppc64 => stage.put(&format!("{folder}/kernel.gz"), &packed(kernel)?, 0o644),
    }
}

/// The kernel as GRUB unpacks it: Open Firmware fetches little in a second, and what POWER boots is not packed itself
/// (46 MB in 21 s under emulation, 10 MB in 9 s). The same bytes always: no name and no time are in it.
fn packed(kernel: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut writer, kernel).context("packing the kernel")?;
    writer.finish().context("packing the kernel")
}

/// One zstd frame with a checksum, which the kernel verifies, filled up to a multiple of four so that another archive
/// can be appended. With workers zstd cuts its input by level alone, so their number does not change a byte.
pub(crate) fn compress(archive: &[u8]) -> Result<Vec<u8>> {
    let starting = "starting the compressor";
    let mut compressor = zstd::bulk::Compressor::new(COMPRESSION).context(starting)?;
    compressor.include_checksum(true).context(starting)?;
    compressor.multithread(WORKERS).context(starting)?;
    let mut initrd = compressor.compress(archive).context("compressing the initrd")?;
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    Ok(initrd)
}
