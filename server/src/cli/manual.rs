//! Manual pages, made of the same texts as `--help`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};

use super::args::APPLETS;
use super::complete::command;
use super::console::{Console, Exit};

/// Section of the manual for an administrator's commands (man-pages(7)).
const SECTION: &str = "8";

#[derive(Debug, Args)]
pub(super) struct Manual {
    /// Directory for the pages, such as /usr/local/share/man/man8
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Writes a page for every name of the program, and one for each verb below `sysclone`.
pub(super) fn write(args: &Manual, console: &mut Console) -> anyhow::Result<Exit> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    let mut written = 0;
    for verb in APPLETS {
        written += page(&command(verb), verb, directory)?;
    }
    let sysclone = command("sysclone");
    for verb in sysclone.get_subcommands().filter(|verb| !APPLETS.contains(&verb.get_name())) {
        let name = format!("sysclone-{}", verb.get_name());
        for below in verb.get_subcommands() {
            written += page(below, &format!("{name}-{}", below.get_name()), directory)?;
        }
        written += page(verb, &name, directory)?;
    }
    written += page(&sysclone, "sysclone", directory)?;
    console.line(&format!("{written} pages in {}", directory.display()))?;
    Ok(Exit::Done)
}

fn page(command: &Command, name: &str, directory: &Path) -> anyhow::Result<usize> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // The page's own subcommands have pages of other names than clap would give them.
    let words = name.replace('-', " ");
    let words = if APPLETS.contains(&name) { name.to_owned() } else { words };
    let bare = command.clone().after_help("").display_name(name.to_owned()).bin_name(words);
    let mut text = Vec::new();
    let manual = clap_mangen::Man::new(bare).title(name.to_uppercase()).section(SECTION).date("");
    manual.source(format!("sysclone {}", env!("CARGO_PKG_VERSION"))).manual("sysclone").render(&mut text)?;
    if !examples.is_empty() {
        writeln!(text, ".SH EXAMPLES\n.nf")?;
        for line in examples.lines().filter(|line| *line != "Examples:") {
            // A dot or quote at the beginning would be a request to roff.
            writeln!(text, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
        }
        writeln!(text, ".fi")?;
    }
    let path = directory.join(format!("{name}.{SECTION}"));
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(1)
}
