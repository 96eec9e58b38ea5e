//! Typed lvm2 commands and their JSON reports, on `sysclone-exec`.
//!
//! The commands that change something are made for an initrd: without udev lvm2 must make its own device nodes, and a
//! devices file or a metadata backup of another system must not steer it. The reports only read and follow the
//! machine's own configuration.

use serde::Deserialize;
use sysclone_exec::{Command, ExecError, Runner, Tool};

/// The one program of lvm2; its commands are its first argument.
pub const LVM: Tool = Tool("lvm");

/// Configuration of every changing command.
const INITRD_CONFIG: &str = "activation{udev_sync=0 udev_rules=0} devices{use_devicesfile=0 obtain_device_list_from_udev=0} backup{backup=0 archive=0} global{use_lvmpolld=0 use_lvmlockd=0}";

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
    #[error("{line}: '{value}' is not a number of bytes")]
    Number {
        /// The command.
        line: String,
        /// What stood there.
        value: String,
    },
}

/// A physical volume as `pvs` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PvReport {
    /// Device node.
    pub device: String,
    /// LVM UUID.
    pub uuid: String,
    /// Volume group, empty when it is in none.
    pub group: String,
}

/// A volume group as `vgs` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VgReport {
    /// Name.
    pub name: String,
    /// LVM UUID.
    pub uuid: String,
    /// Extent size in bytes.
    pub extent_bytes: u64,
}

/// A logical volume as `lvs` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LvReport {
    /// Name.
    pub name: String,
    /// Volume group.
    pub group: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Segment type of its first segment (`linear`, `striped`, `thin`…).
    pub segment_type: String,
    /// Stripes of its first segment.
    pub stripes: u32,
    /// Tags.
    pub tags: Vec<String>,
}

#[derive(Deserialize)]
struct Report<Row> {
    report: Vec<Section<Row>>,
}

#[derive(Deserialize)]
struct Section<Row> {
    #[serde(alias = "pv", alias = "vg", alias = "lv", alias = "seg")]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct PvRow {
    pv_name: String,
    pv_uuid: String,
    vg_name: String,
}

#[derive(Deserialize)]
struct VgRow {
    vg_name: String,
    vg_uuid: String,
    vg_extent_size: String,
}

#[derive(Deserialize)]
struct LvRow {
    lv_name: String,
    vg_name: String,
    lv_size: String,
    segtype: String,
    stripes: String,
    lv_tags: String,
}

/// All physical volumes.
///
/// # Errors
/// `pvs` failed or printed something else.
pub fn pvs(runner: &dyn Runner) -> Result<Vec<PvReport>, LvmError> {
    let (_, rows) = report::<PvRow>(runner, "pvs", "pv_name,pv_uuid,vg_name")?;
    Ok(rows.into_iter().map(|r| PvReport { device: r.pv_name, uuid: r.pv_uuid, group: r.vg_name }).collect())
}

/// All volume groups.
///
/// # Errors
/// `vgs` failed or printed something else.
pub fn vgs(runner: &dyn Runner) -> Result<Vec<VgReport>, LvmError> {
    let (line, rows) = report::<VgRow>(runner, "vgs", "vg_name,vg_uuid,vg_extent_size")?;
    let vg = |r: VgRow| {
        Ok(VgReport { name: r.vg_name, uuid: r.vg_uuid, extent_bytes: number(&line, &r.vg_extent_size)? })
    };
    rows.into_iter().map(vg).collect()
}

/// All logical volumes that a user made, in the order of their metadata; one of several segments appears once, with
/// its first segment's type.
///
/// # Errors
/// `lvs` failed or printed something else.
pub fn lvs(runner: &dyn Runner) -> Result<Vec<LvReport>, LvmError> {
    let fields = "lv_name,vg_name,lv_size,segtype,stripes,lv_tags";
    let (line, rows) = report::<LvRow>(runner, "lvs", fields)?;
    let mut volumes: Vec<LvReport> = Vec::new();
    for r in rows {
        if volumes.iter().any(|v| v.name == r.lv_name && v.group == r.vg_name) {
            continue;
        }
        let stripes = u32::try_from(number(&line, &r.stripes)?).unwrap_or(u32::MAX);
        let tags = r.lv_tags.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect();
        let size_bytes = number(&line, &r.lv_size)?;
        volumes.push(LvReport {
            name: r.lv_name,
            group: r.vg_name,
            size_bytes,
            segment_type: r.segtype,
            stripes,
            tags,
        });
    }
    Ok(volumes)
}

fn report<Row: for<'d> Deserialize<'d>>(
    runner: &dyn Runner,
    what: &str,
    fields: &str,
) -> Result<(String, Vec<Row>), LvmError> {
    let command =
        Command::new(LVM).args([what, "--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields]);
    let line = command.line();
    let output = runner.run(&command.env("LVM_SUPPRESS_FD_WARNINGS", "1"))?;
    let report: Report<Row> = serde_json::from_slice(&output.stdout)
        .map_err(|source| LvmError::Report { line: line.clone(), source })?;
    Ok((line, report.report.into_iter().flat_map(|s| s.rows).collect()))
}

fn number(line: &str, value: &str) -> Result<u64, LvmError> {
    value.trim().parse().map_err(|_| LvmError::Number { line: line.to_owned(), value: value.to_owned() })
}

/// Makes a physical volume with this LVM UUID.
///
/// # Errors
/// `pvcreate` failed.
pub fn pvcreate(runner: &dyn Runner, device: &str, uuid: &str) -> Result<(), LvmError> {
    run(runner, &["pvcreate", "-q", "-ff", "-y", "--uuid", uuid, "--norestorefile", device])
}

/// Makes a volume group of these devices. Its UUID is a new one: lvm2 sets that only from a metadata file, and
/// nothing that boots a system refers to it.
///
/// # Errors
/// `vgcreate` failed.
pub fn vgcreate(
    runner: &dyn Runner,
    name: &str,
    extent_bytes: u64,
    devices: &[&str],
) -> Result<(), LvmError> {
    let extent = format!("{extent_bytes}b");
    let mut args = vec!["vgcreate", "-q", "-y", "--physicalextentsize", &extent, name];
    args.extend(devices);
    run(runner, &args)
}

/// Makes a linear logical volume of so many extents, active, without asking about old signatures.
///
/// # Errors
/// `lvcreate` failed.
pub fn lvcreate(
    runner: &dyn Runner,
    group: &str,
    (name, extents): (&str, u64),
    tags: &[String],
) -> Result<(), LvmError> {
    let extents = extents.to_string();
    let mut args = vec!["lvcreate", "-q", "-y", "-Wy", "-Zy", "-l", &extents, "-n", name];
    args.extend(tags.iter().flat_map(|tag| ["--addtag", tag]));
    args.push(group);
    run(runner, &args)
}

/// Activates a volume group and makes its device nodes.
///
/// # Errors
/// `vgchange` failed.
pub fn activate(runner: &dyn Runner, group: &str) -> Result<(), LvmError> {
    run(runner, &["vgchange", "-q", "-ay", group])?;
    run(runner, &["vgmknodes", "-q", group])
}

/// Deactivates a volume group.
///
/// # Errors
/// `vgchange` failed, for one because something still uses a volume.
pub fn deactivate(runner: &dyn Runner, group: &str) -> Result<(), LvmError> {
    run(runner, &["vgchange", "-q", "-an", group])
}

/// Removes a volume group with all its volumes.
///
/// # Errors
/// `vgremove` failed.
pub fn vgremove(runner: &dyn Runner, group: &str) -> Result<(), LvmError> {
    run(runner, &["vgremove", "-q", "-ff", "-y", group])
}

fn run(runner: &dyn Runner, args: &[&str]) -> Result<(), LvmError> {
    let (verb, rest) = args.split_first().expect("every caller gives a verb");
    let command = Command::new(LVM)
        .args([verb, "--config", INITRD_CONFIG])
        .args(rest)
        .env("LVM_SUPPRESS_FD_WARNINGS", "1");
    runner.run(&command)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sysclone_exec::Script;

    use super::*;

    // Printed by: lvm lvs --driverloaded n --reportformat json --units b --nosuffix -o lv_name,vg_name,lv_size,segtype,stripes,lv_tags
    const LVS: &str = r#"{"report":[{"lv":[
        {"lv_name":"root","vg_name":"vg0","lv_size":"1572864000","segtype":"linear","stripes":"1","lv_tags":""},
        {"lv_name":"var","vg_name":"vg0","lv_size":"536870912","segtype":"linear","stripes":"1","lv_tags":"a,b"}]}]}"#;

    #[test]
    fn reports_are_read() {
        let volumes = lvs(&Script::new().on("lvm lvs", LVS)).unwrap();
        assert_eq!(volumes.len(), 2);
        assert_eq!((volumes[0].size_bytes, volumes[0].segment_type.as_str()), (1_572_864_000, "linear"));
        assert_eq!(volumes[1].tags, ["a", "b"]);
    }

    #[test]
    fn a_report_that_is_no_report_is_an_error_that_names_the_command() {
        let error = vgs(&Script::new().on("lvm vgs", "  WARNING: …")).unwrap_err().to_string();
        assert!(error.starts_with("lvm vgs --reportformat json"), "{error}");
        let text = r#"{"report":[{"vg":[{"vg_name":"a","vg_uuid":"u","vg_extent_size":"4m"}]}]}"#;
        assert!(vgs(&Script::new().on("lvm vgs", text)).unwrap_err().to_string().contains("'4m'"));
    }

    #[test]
    fn changing_commands_carry_the_initrd_configuration() {
        let script = Script::lenient();
        lvcreate(&script, "vg0", ("root", 375), &["t".into()]).unwrap();
        let line = script.lines().remove(0);
        assert!(line.starts_with("lvm lvcreate --config \"activation{udev_sync=0"), "{line}");
        assert!(line.ends_with("-q -y -Wy -Zy -l 375 -n root --addtag t vg0"), "{line}");
    }
}
