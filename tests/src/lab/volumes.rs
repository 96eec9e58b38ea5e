//! Partitions and logical volumes of a disk image, reached on a host that has no device-mapper: LVM only reads and
//! writes its metadata, and each volume is a loop device at the place that the metadata names.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sysclone_exec::{Command, Runner, System, Tool};

const LVM: Tool = Tool("lvm");
const SFDISK: Tool = Tool("sfdisk");

/// A run of bytes in a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Number of bytes.
    pub size: u64,
}

/// Reads the partition table of the image `disk`; the first partition comes first.
///
/// # Errors
/// There is no readable table.
pub fn partitions(disk: &Path) -> Result<Vec<Extent>> {
    let output = System.run(&Command::new(SFDISK).arg("--json").arg(disk)).context("reading partitions")?;
    parse_partitions(&output.text())
}

fn parse_partitions(json: &str) -> Result<Vec<Extent>> {
    #[derive(Deserialize)]
    struct Report {
        partitiontable: Table,
    }
    #[derive(Deserialize)]
    struct Table {
        sectorsize: u64,
        partitions: Vec<Sectors>,
    }
    #[derive(Deserialize)]
    struct Sectors {
        start: u64,
        size: u64,
    }
    let table = serde_json::from_str::<Report>(json).context("reading sfdisk's report")?.partitiontable;
    let bytes = |p: &Sectors| Extent { start: p.start * table.sectorsize, size: p.size * table.sectorsize };
    Ok(table.partitions.iter().map(bytes).collect())
}

/// An lvm command that sees only the physical volume `pv`, and neither device-mapper nor udev.
#[must_use]
pub fn lvm(verb: &str, pv: &Path) -> Command {
    let config = format!(
        "devices {{ dir=\"/dev\" scan=[\"/dev\"] filter=[\"a|^{}$|\",\"r|.*|\"] use_devicesfile=0 }} \
         activation {{ udev_sync=0 udev_rules=0 }} backup {{ backup=0 archive=0 }}",
        pv.display()
    );
    Command::new(LVM)
        .args([verb, "--driverloaded", "n", "--config"])
        .arg(config)
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
}

/// Where each logical volume lies inside the physical volume `pv`.
///
/// # Errors
/// LVM cannot read it, or a volume has more than one piece.
pub fn logical_volumes(pv: &Path) -> Result<Vec<(String, Extent)>> {
    let report = |verb: &str, fields: &str| {
        let args = ["--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields];
        System.run(&lvm(verb, pv).args(args)).context("reading logical volumes").map(|output| output.text())
    };
    let fields = "lv_name,seg_size,vg_extent_size,seg_pe_ranges";
    parse_volumes(&report("pvs", "pe_start")?, &report("lvs", fields)?)
}

fn parse_volumes(pvs: &str, lvs: &str) -> Result<Vec<(String, Extent)>> {
    #[derive(Deserialize)]
    struct Report<T> {
        report: Vec<T>,
    }
    #[derive(Deserialize)]
    struct Pvs {
        pv: Vec<Pv>,
    }
    #[derive(Deserialize)]
    struct Pv {
        pe_start: String,
    }
    #[derive(Deserialize)]
    struct Lvs {
        lv: Vec<Lv>,
    }
    #[derive(Deserialize)]
    struct Lv {
        lv_name: String,
        seg_size: String,
        vg_extent_size: String,
        seg_pe_ranges: String,
    }
    let pvs: Report<Pvs> = serde_json::from_str(pvs).context("reading the report of pvs")?;
    let lvs: Report<Lvs> = serde_json::from_str(lvs).context("reading the report of lvs")?;
    let [Pvs { pv }] = pvs.report.as_slice() else { bail!("pvs made no report") };
    let [Pv { pe_start }] = pv.as_slice() else { bail!("not exactly one physical volume") };
    let data_start: u64 = pe_start.parse().context("start of the extents")?;
    let mut volumes: Vec<(String, Extent)> = Vec::new();
    for lv in lvs.report.iter().flat_map(|report| &report.lv) {
        ensure!(volumes.iter().all(|(name, _)| *name != lv.lv_name), "{} has several pieces", lv.lv_name);
        // `/dev/loop0:0-374`: the device and its first and last extent.
        let first = lv.seg_pe_ranges.rsplit(':').next().and_then(|range| range.split('-').next());
        let first: u64 = first.unwrap_or_default().parse().context("first extent")?;
        let extent: u64 = lv.vg_extent_size.parse().context("extent size")?;
        let size = lv.seg_size.parse().context("segment size")?;
        volumes.push((lv.lv_name.clone(), Extent { start: data_start + first * extent, size }));
    }
    Ok(volumes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PVS: &str = r#"{"report":[{"pv":[{"pe_start":"1048576"}]}]}"#;

    fn lvs(pieces: &[(&str, &str)]) -> String {
        let lv = |(name, range): &(&str, &str)| {
            serde_json::json!({"lv_name": name, "seg_size": "8388608", "vg_extent_size": "4194304",
                               "seg_pe_ranges": range})
        };
        let lv: Vec<_> = pieces.iter().map(lv).collect();
        serde_json::json!({ "report": [{ "lv": lv }] }).to_string()
    }

    #[test]
    fn a_volume_lies_behind_the_metadata_by_whole_extents() {
        let found =
            parse_volumes(PVS, &lvs(&[("root", "/dev/loop0:0-1"), ("var", "/dev/loop0:2-3")])).unwrap();
        assert_eq!(found[0], ("root".to_owned(), Extent { start: 1_048_576, size: 8_388_608 }));
        assert_eq!(found[1], ("var".to_owned(), Extent { start: 9_437_184, size: 8_388_608 }));
    }

    #[test]
    fn a_volume_in_pieces_is_refused() {
        let error = parse_volumes(PVS, &lvs(&[("root", "/dev/loop0:0-1"), ("root", "/dev/loop0:8-9")]));
        assert!(error.unwrap_err().to_string().contains("several pieces"));
    }

    #[test]
    fn partitions_are_counted_in_bytes() {
        let json = r#"{"partitiontable":{"sectorsize":512,"partitions":[{"start":2048,"size":2048}]}}"#;
        assert_eq!(parse_partitions(json).unwrap(), [Extent { start: 1 << 20, size: 1 << 20 }]);
    }
}
