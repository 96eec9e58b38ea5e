//! What can be typed: verbs, options, and help with examples. Verbs and options keep xCAT's spelling.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::client::DEFAULT_SOCKET;
use super::{
    audit, complete, image, manual, power, probe, remote, rinstall, rnetboot, tables, token, update,
};

/// What `-v` prints after the verb, with xCAT's word for it.
const VERSION: &str = concat!("Version ", env!("CARGO_PKG_VERSION"));

/// The program by any of its names: `sysclone <verb>`, or a verb that is a link to it.
#[derive(Debug, Parser)]
#[command(multicall = true, version = VERSION)]
pub(super) enum Program {
    /// Clones running machines onto others over the network
    #[command(version = VERSION, disable_version_flag = true, arg_required_else_help = true)]
    Sysclone(Sysclone),
    #[command(flatten)]
    Applet(Verb),
}

/// `sysclone <verb>`.
#[derive(Debug, Args)]
pub(super) struct Sysclone {
    #[command(subcommand)]
    pub(super) verb: Verb,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: (),
}

/// Everything that can be asked for.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make object definitions
    #[command(version = VERSION, disable_version_flag = true, after_help = MKDEF_EXAMPLES)]
    Mkdef(Mkdef),
    /// Change object definitions, or make them
    #[command(version = VERSION, disable_version_flag = true, after_help = CHDEF_EXAMPLES)]
    Chdef(Chdef),
    /// List object definitions
    #[command(version = VERSION, disable_version_flag = true, after_help = LSDEF_EXAMPLES)]
    Lsdef(Lsdef),
    /// Remove object definitions
    #[command(version = VERSION, disable_version_flag = true, after_help = RMDEF_EXAMPLES)]
    Rmdef(Rmdef),
    /// List nodes, or what they have
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::NODELS_EXAMPLES)]
    Nodels(tables::Nodels),
    /// Define nodes
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::NODEADD_EXAMPLES)]
    Nodeadd(tables::Nodeadd),
    /// Change nodes
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::NODECH_EXAMPLES)]
    Nodech(tables::Nodech),
    /// Remove nodes
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::NODERM_EXAMPLES)]
    Noderm(tables::Noderm),
    /// Change what groups give to their nodes
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::NODEGRPCH_EXAMPLES)]
    Nodegrpch(tables::Nodegrpch),
    /// Show one of xCAT's tables
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::TABDUMP_EXAMPLES)]
    Tabdump(tables::Tabdump),
    /// Show columns of a row
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::GETTAB_EXAMPLES)]
    Gettab(tables::Gettab),
    /// Change a row
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::CHTAB_EXAMPLES)]
    Chtab(tables::Chtab),
    /// Show the rows of a node in all tables
    #[command(version = VERSION, disable_version_flag = true, after_help = tables::TABGREP_EXAMPLES)]
    Tabgrep(tables::Tabgrep),
    /// Set what nodes do at their next network boot
    #[command(version = VERSION, disable_version_flag = true, after_help = NODESET_EXAMPLES)]
    Nodeset(Nodeset),
    /// Capture a running node as the next generation of an image
    #[command(version = VERSION, disable_version_flag = true, after_help = IMGCAPTURE_EXAMPLES)]
    Imgcapture(Imgcapture),
    /// Show where nodes stand
    #[command(version = VERSION, disable_version_flag = true, after_help = NODESTAT_EXAMPLES)]
    Nodestat(Nodestat),
    /// Switch nodes on and off
    #[command(version = VERSION, disable_version_flag = true, after_help = power::RPOWER_EXAMPLES)]
    Rpower(power::Rpower),
    /// Set what nodes boot from
    #[command(version = VERSION, disable_version_flag = true, after_help = power::RSETBOOT_EXAMPLES)]
    Rsetboot(power::Rsetboot),
    /// Install nodes: nodeset, boot from the network, restart
    #[command(version = VERSION, disable_version_flag = true, after_help = rinstall::EXAMPLES)]
    Rinstall(rinstall::Rinstall),
    /// Boot nodes from the network now
    #[command(version = VERSION, disable_version_flag = true, after_help = rnetboot::EXAMPLES)]
    Rnetboot(rnetboot::Rnetboot),
    /// Run a command on nodes, by ssh
    #[command(version = VERSION, disable_version_flag = true, after_help = remote::XDSH_EXAMPLES)]
    Xdsh(remote::Xdsh),
    /// Copy files to nodes or from them, by ssh
    #[command(version = VERSION, disable_version_flag = true, after_help = remote::XDCP_EXAMPLES)]
    Xdcp(remote::Xdcp),
    /// Bring running machines up to date
    #[command(version = VERSION, disable_version_flag = true, after_help = update::UPDATENODE_EXAMPLES)]
    Updatenode(update::Updatenode),
    /// List what on clones is not as in their image
    #[command(version = VERSION, disable_version_flag = true, after_help = update::VERIFY_EXAMPLES)]
    Verify(update::Verify),
    /// Check the server's side before a deployment, and say what to do
    #[command(version = VERSION, disable_version_flag = true, after_help = probe::EXAMPLES)]
    Probe(probe::Probe),
    /// Show what happened
    #[command(version = VERSION, disable_version_flag = true, after_help = EVENTS_EXAMPLES)]
    Events(Events),
    /// Show who did what, and what policy denied
    #[command(version = VERSION, disable_version_flag = true, after_help = audit::EXAMPLES)]
    Audit(audit::Audit),
    /// Make, list and revoke keys for programs that administrate over the network
    #[command(version = VERSION, disable_version_flag = true, arg_required_else_help = true)]
    Token(token::Token),
    /// Follow nodes until all are booted or failed
    #[command(version = VERSION, disable_version_flag = true, after_help = WATCH_EXAMPLES)]
    Watch(Watch),
    /// Look at captured images, tag them, go back to them, remove and check them
    #[command(version = VERSION, disable_version_flag = true, arg_required_else_help = true)]
    Image(image::Image),
    /// Make links to this program, so that the verbs can be typed by their own names
    #[command(after_help = LINKS_EXAMPLES)]
    InstallLinks(InstallLinks),
    /// Print what lets a shell complete verbs, options, nodes and images
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(complete::Completions),
    /// Write manual pages
    #[command(after_help = MAN_PAGES_EXAMPLES)]
    ManPages(manual::Manual),
}

/// Verbs that answer to their own names when linked to.
pub(super) const APPLETS: [&str; 23] = [
    "chdef",
    "chtab",
    "gettab",
    "imgcapture",
    "lsdef",
    "mkdef",
    "nodeadd",
    "nodech",
    "nodegrpch",
    "nodels",
    "noderm",
    "nodeset",
    "nodestat",
    "rinstall",
    "rmdef",
    "rnetboot",
    "rpower",
    "rsetboot",
    "tabdump",
    "tabgrep",
    "updatenode",
    "xdcp",
    "xdsh",
];

/// Options of every verb that talks to the daemon.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Socket of the daemon
    #[arg(long, env = "SYSCLONE_SOCKET", default_value = DEFAULT_SOCKET, value_name = "PATH")]
    pub(super) socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Say more
    #[arg(short = 'V', long)]
    pub(super) verbose: bool,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: (),
}

#[derive(Debug, Args)]
pub(super) struct Mkdef {
    #[command(flatten)]
    pub(super) define: Define,
    /// Replace definitions that exist
    #[arg(short, long)]
    pub(super) force: bool,
    /// Begin with the attributes of a template or of an object that exists; lsdef --template lists templates
    #[arg(long, value_name = "NAME", conflicts_with = "stanza")]
    pub(super) template: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Chdef {
    /// Give the one object named this name instead; not for types site and group
    #[arg(short = 'n', long, value_name = "NAME",
          conflicts_with_all = ["plus", "minus", "dynamic", "conditions", "stanza"])]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) define: Define,
}

/// What mkdef and chdef have in common.
#[derive(Debug, Args)]
pub(super) struct Define {
    #[command(flatten)]
    pub(super) names: Names,
    /// Add the values to lists
    #[arg(short, long, conflicts_with = "minus")]
    pub(super) plus: bool,
    /// Take the values away from lists
    #[arg(short, long)]
    pub(super) minus: bool,
    /// A group of all nodes for which the conditions of -w hold, at any time
    #[arg(short, long, requires = "conditions")]
    pub(super) dynamic: bool,
    /// What objects must have to be changed, and with -d nodes of a dynamic group: attr==value, attr!=value,
    /// attr=~regex, attr!~regex
    #[arg(short = 'w', value_name = "CONDITION", conflicts_with = "stanza")]
    pub(super) conditions: Vec<String>,
    /// Read definitions from standard input, as lsdef -z prints them
    #[arg(short = 'z', long, conflicts_with_all = ["plus", "minus", "objects", "words"])]
    pub(super) stanza: bool,
    /// Noderange or object names, then attributes: attr=value, attr+=value, attr-=value
    #[arg(value_name = "NAMES|ATTR=VALUE")]
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Names {
    /// Object type: node, group, osimage, network, site (node unless given)
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub(super) kind: Option<String>,
    /// Object names, separated by commas; a noderange for nodes
    #[arg(short = 'o', long = "object", value_name = "NAMES")]
    pub(super) objects: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Lsdef {
    #[command(flatten)]
    pub(super) names: Names,
    /// Objects of all types
    #[arg(short, long, conflicts_with_all = ["kind", "objects", "words"])]
    pub(super) all: bool,
    /// Only these attributes, separated by commas; unset ones too
    #[arg(short = 'i', value_name = "ATTRS")]
    pub(super) attributes: Option<String>,
    /// Whole definitions
    #[arg(short, long, conflicts_with = "short")]
    pub(super) long: bool,
    /// Names only
    #[arg(short, long, conflicts_with = "attributes")]
    pub(super) short: bool,
    /// One line for each attribute, with the object's name; needs -i
    #[arg(short, long, requires = "attributes", conflicts_with = "stanza")]
    pub(super) compress: bool,
    /// As a stanza file
    #[arg(short = 'z', long)]
    pub(super) stanza: bool,
    /// Show passwords, which is put on record
    #[arg(long)]
    pub(super) secrets: bool,
    /// Only objects for which this holds: attr==value, attr!=value, attr=~regex, attr!~regex
    #[arg(short = 'w', value_name = "CONDITION")]
    pub(super) conditions: Vec<String>,
    /// List the templates of mkdef, or show one
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "",
          conflicts_with_all = ["all", "kind", "objects", "words", "conditions"])]
    pub(super) template: Option<String>,
    /// Noderange or object names
    #[arg(value_name = "NAMES")]
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Rmdef {
    #[command(flatten)]
    pub(super) names: Names,
    /// Only objects for which this holds: attr==value, attr!=value, attr=~regex, attr!~regex
    #[arg(short = 'w', value_name = "CONDITION")]
    pub(super) conditions: Vec<String>,
    /// Noderange or object names
    #[arg(value_name = "NAMES")]
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Nodeset {
    /// Nodes
    pub(super) noderange: String,
    /// boot, offline, stat, osimage, osimage=NAME or osimage=NAME@GENERATION, shell, standby, shutdown, runcmd=COMMAND
    pub(super) state: String,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Imgcapture {
    /// The golden client
    pub(super) node: String,
    /// Kind of image; sysclone is the only one
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "sysclone")]
    pub(super) kind: String,
    /// Osimage to make, or to make the next generation of
    #[arg(short = 'o', long, value_name = "NAME")]
    pub(super) osimage: Option<String>,
    /// Fail when a file changes whenever it is read, instead of listing it
    #[arg(long)]
    pub(super) strict: bool,
    /// Make no snapshots: read every filesystem as it is
    #[arg(long)]
    pub(super) live: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Nodestat {
    /// Nodes
    pub(super) noderange: String,
    /// Which generation clones have, and how many paths were found to differ from it
    #[arg(long)]
    pub(super) drift: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Only events of these nodes
    pub(super) noderange: Option<String>,
    /// Only events after the one with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(super) after: i64,
    /// Go on printing new ones, until interrupted
    #[arg(short, long)]
    pub(super) follow: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Nodes
    pub(super) noderange: String,
    /// Give up after this time: 90, 90s, 30m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Args)]
pub(super) struct InstallLinks {
    /// Directory for the links
    #[arg(value_name = "DIRECTORY")]
    pub(super) directory: PathBuf,
    /// Replace what has these names there
    #[arg(short, long)]
    pub(super) force: bool,
}

/// Reads a whole number of seconds, minutes or hours.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a number followed by s, m or h".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a whole number, with s, m or h after it".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

const MKDEF_EXAMPLES: &str = "\
Examples:
  mkdef -t node -o n[1-4] groups=compute,all arch=x86_64 netboot=xnba
  mkdef n5 groups=all mac=52:54:00:00:00:05 ip=10.77.0.15
  mkdef -t network -o lab net=10.77.0.0 mask=255.255.255.0 gateway=10.77.0.1
  mkdef -t group -o compute ip='|\\D+(\\d+)|10.77.1.($1+0)|' bmc='/\\z/-bmc/'   (computed from the nodes' names)
  mkdef -t group -o ipmis -d -w mgt==ipmi -w arch==x86_64
  mkdef --template x86_64-ipmi-template n6 ip=10.77.0.16 mac=52:54:00:00:00:06 bmc=10.78.0.16
  mkdef --template n5 n7 ip=10.77.0.17 mac=52:54:00:00:00:07        as n5, but for these
  mkdef -z < everything.stanza           what lsdef -a -l -z printed, here or in xCAT";

const CHDEF_EXAMPLES: &str = "\
Examples:
  chdef n1 ip=10.77.0.11 mac=52:54:00:00:00:01
  chdef n1-n4 groups+=rack1 groups-=spare
  chdef -p -t osimage -o demo otherpkgdir=/srv/packages
  chdef -t site domain=cluster.example
  chdef n1 installdisk=                 (unsets it)";

const LSDEF_EXAMPLES: &str = "\
Examples:
  lsdef                                 names of all nodes
  lsdef n1                              everything about n1
  lsdef compute -i ip,mac -c            one line for each attribute
  lsdef -t osimage                      names of all osimages
  lsdef -t node -w netboot==pxe         nodes for which that holds
  lsdef -a -l -z                        everything, as a stanza file";

const RMDEF_EXAMPLES: &str = "\
Examples:
  rmdef n1-n4
  rmdef -t osimage -o demo";

const NODESET_EXAMPLES: &str = "\
Examples:
  nodeset rack[1-4] osimage=demo        the newest generation of demo, at the next network boot
  nodeset n1 osimage=demo@3             its third generation
  nodeset n1 boot                       no installation, boot from disk
  nodeset all stat                      what is set now
From memory, once, with the disks left alone (the next network boot goes to the disk again):
  nodeset n1 shell                      a root shell on the console; leave it to restart
  nodeset n1 standby                    wait; the next nodeset for the node restarts it into what that says
  nodeset n1 runcmd='lsblk -o NAME,SIZE,SERIAL'   run a command, restart; what it says is in `sysclone events n1`
  nodeset n1 runcmd='fw-update',shutdown          and switch the machine off instead";

const IMGCAPTURE_EXAMPLES: &str = "\
Examples:
  imgcapture golden -t sysclone -o demo
  imgcapture golden -t sysclone -o demo --json   (one JSON document per line)
  imgcapture golden -t sysclone -o demo --live --strict
Filesystems are read from LVM or btrfs snapshots where there is room for them, else as they are; which way, is said. What
changes while it is read is read again, then listed. Programs in /etc/sysclone/capture.d on the golden client are run with
'pre' before and with 'post' after (with snapshots: as soon as these are there), to make databases hold still. Rules of
the osimage's attribute excludes (as rsync --exclude takes them, separated by commas) are left out.";

const NODESTAT_EXAMPLES: &str = "\
Examples:
  nodestat all
  nodestat rack1 --json
  nodestat rack1 --drift                what the last updates and verifications found";

const EVENTS_EXAMPLES: &str = "\
Examples:
  sysclone events
  sysclone events rack1 --follow
  sysclone events --after 120 --json
As server-sent events, for programs:
  curl -N -H 'Accept: text/event-stream' --unix-socket /run/sysclone/api.sock http://localhost/api/v1/events
What else they can ask is in http://localhost/api/v1/openapi.json of that socket, counts for Prometheus in /metrics.";

const WATCH_EXAMPLES: &str = "\
Examples:
  sysclone watch rack[1-4]
  sysclone watch all --timeout 1h && echo all booted
Exit status: 0 all booted, 1 a node failed or the time is over, 2 wrong usage.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  sysclone completions bash > /etc/bash_completion.d/sysclone
  sysclone completions zsh > /usr/local/share/zsh/site-functions/_sysclone
  sysclone completions fish > /etc/fish/conf.d/sysclone.fish";

const MAN_PAGES_EXAMPLES: &str = "\
Examples:
  sysclone man-pages /usr/local/share/man/man8 && man nodeset";

const LINKS_EXAMPLES: &str = "\
Examples:
  sysclone install-links /usr/local/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_numbers_with_a_unit() {
        for (text, seconds) in [("90", Some(90)), ("90s", Some(90)), ("30m", Some(1800)), ("2h", Some(7200))]
        {
            assert_eq!(parse_duration(text).ok().map(|d| d.as_secs()), seconds, "{text}");
        }
        for text in ["", "s", "1d", "-1", "1.5h", "99999999999999999999", "9999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
