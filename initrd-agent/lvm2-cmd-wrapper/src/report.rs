//! What `pvs`, `vgs` and `lvs` report.

use serde::Deserialize;

use crate::LvmError;

/// A physical volume as `pvs` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PvReport {
    /// Device node.
    pub device: String,
    /// UUID.
    pub uuid: String,
    /// Volume group, empty when it is in none.
    pub group: String,
    /// UUID of the volume group, empty when it is in none.
    pub group_uuid: String,
    /// Bytes in its extents; all of the device when it is in no group.
    pub size_bytes: u64,
    /// Where its first extent lies, in bytes.
    pub start_bytes: u64,
}

/// A volume group as `vgs` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VgReport {
    /// Name.
    pub name: String,
    /// UUID.
    pub uuid: String,
    /// Extent size in bytes.
    pub extent_bytes: u64,
    /// Extents in no volume.
    pub free_extents: u64,
}

/// A logical volume as `lvs` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LvReport {
    /// Name.
    pub name: String,
    /// UUID.
    pub uuid: String,
    /// Volume group.
    pub group: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Segment type (`linear`, `striped`, `raid1`, `thin`…). A volume of linear and striped segments counts as linear,
    /// for that holds the same.
    pub segment_type: String,
    /// Stripes, 1 for linear; legs of a mirror.
    pub stripes: u32,
    /// Size of a stripe in bytes, 0 for linear.
    pub stripe_bytes: u64,
    /// Tags.
    pub tags: Vec<String>,
}

/// A snapshot as `lvs` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Name.
    pub name: String,
    /// Volume group.
    pub group: String,
    /// Whether it had no room for another change: it holds nothing of worth any more.
    pub is_full: bool,
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
    vg_uuid: String,
    pv_size: String,
    pe_start: String,
}

#[derive(Deserialize)]
struct VgRow {
    vg_name: String,
    vg_uuid: String,
    vg_extent_size: String,
    vg_free_count: String,
}

#[derive(Deserialize)]
struct SegmentRow {
    lv_name: String,
    lv_uuid: String,
    vg_name: String,
    lv_size: String,
    segtype: String,
    stripes: String,
    stripe_size: String,
    lv_tags: String,
}

#[derive(Deserialize)]
struct SnapshotRow {
    lv_name: String,
    vg_name: String,
    lv_attr: String,
    data_percent: String,
}

pub(crate) const SNAPSHOT_FIELDS: &str = "vg_name,lv_name,lv_attr,data_percent";
pub(crate) const PV_FIELDS: &str = "pv_name,pv_uuid,vg_name,vg_uuid,pv_size,pe_start";
pub(crate) const VG_FIELDS: &str = "vg_name,vg_uuid,vg_extent_size,vg_free_count";
pub(crate) const LV_FIELDS: &str =
    "lv_name,lv_uuid,vg_name,lv_size,seg_start,segtype,stripes,stripesize,lv_tags";

/// The report of the command `line`.
pub(crate) fn parse_pvs(line: &str, json: &[u8]) -> Result<Vec<PvReport>, LvmError> {
    let pv = |r: PvRow| {
        Ok(PvReport {
            size_bytes: number(line, &r.pv_size)?,
            start_bytes: number(line, &r.pe_start)?,
            device: r.pv_name,
            uuid: r.pv_uuid,
            group: r.vg_name,
            group_uuid: r.vg_uuid,
        })
    };
    rows(line, json)?.into_iter().map(pv).collect()
}

/// The report of the command `line`.
pub(crate) fn parse_vgs(line: &str, json: &[u8]) -> Result<Vec<VgReport>, LvmError> {
    let vg = |r: VgRow| {
        Ok(VgReport {
            extent_bytes: number(line, &r.vg_extent_size)?,
            free_extents: number(line, &r.vg_free_count)?,
            name: r.vg_name,
            uuid: r.vg_uuid,
        })
    };
    rows(line, json)?.into_iter().map(vg).collect()
}

/// The report of the command `line`, in which every segment has a row.
pub(crate) fn parse_lvs(line: &str, json: &[u8]) -> Result<Vec<LvReport>, LvmError> {
    let mut volumes: Vec<LvReport> = Vec::new();
    for row in rows::<SegmentRow>(line, json)? {
        let segment = volume(line, row)?;
        match volumes.iter_mut().find(|v| v.group == segment.group && v.name == segment.name) {
            Some(volume) => add_segment(volume, segment),
            None => volumes.push(segment),
        }
    }
    Ok(volumes)
}

/// The report of the command `line`.
pub(crate) fn parse_snapshots(line: &str, json: &[u8]) -> Result<Vec<SnapshotReport>, LvmError> {
    let snapshot = |row: SnapshotRow| {
        // The fifth letter is the state: `I` is an invalid snapshot, `S` one that is suspended too.
        let invalid = matches!(row.lv_attr.as_bytes().get(4), Some(b'I' | b'S'));
        let is_full = invalid || row.data_percent.starts_with("100");
        SnapshotReport { name: row.lv_name, group: row.vg_name, is_full }
    };
    Ok(rows(line, json)?.into_iter().map(snapshot).collect())
}

fn volume(line: &str, row: SegmentRow) -> Result<LvReport, LvmError> {
    let stripes = number(line, &row.stripes)?;
    Ok(LvReport {
        size_bytes: number(line, &row.lv_size)?,
        stripes: u32::try_from(stripes)
            .map_err(|_| LvmError::Number { line: line.to_owned(), value: row.stripes.clone() })?,
        stripe_bytes: number(line, &row.stripe_size)?,
        tags: row.lv_tags.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect(),
        name: row.lv_name,
        uuid: row.lv_uuid,
        group: row.vg_name,
        segment_type: row.segtype,
    })
}

fn add_segment(volume: &mut LvReport, segment: LvReport) {
    let simple = |kind: &str| matches!(kind, "linear" | "striped");
    if !simple(&segment.segment_type) {
        volume.segment_type = segment.segment_type;
    } else if simple(&volume.segment_type) && volume.stripes != segment.stripes {
        volume.segment_type = "linear".to_owned();
        (volume.stripes, volume.stripe_bytes) = (1, 0);
    }
}

fn rows<Row: for<'d> Deserialize<'d>>(line: &str, json: &[u8]) -> Result<Vec<Row>, LvmError> {
    let report: Report<Row> =
        serde_json::from_slice(json).map_err(|source| LvmError::Report { line: line.to_owned(), source })?;
    Ok(report.report.into_iter().flat_map(|section| section.rows).collect())
}

fn number(line: &str, value: &str) -> Result<u64, LvmError> {
    value.trim().parse().map_err(|_| LvmError::Number { line: line.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports of the real lvm2, made by `fixtures/make.sh`.
    const PVS: &[u8] = include_bytes!("../fixtures/pvs.json");
    const VGS: &[u8] = include_bytes!("../fixtures/vgs.json");
    const LVS: &[u8] = include_bytes!("../fixtures/lvs.json");

    #[test]
    fn physical_volumes_are_read() {
        let pvs = parse_pvs("", PVS).unwrap();
        let shown: Vec<_> = pvs.iter().map(|p| (p.device.as_str(), p.group.as_str(), p.size_bytes)).collect();
        assert_eq!(
            shown,
            [
                ("/dev/vda3", "vg0", 127 << 22),
                ("/dev/vdb", "vg0", 127 << 22),
                ("/dev/vdc1", "data-vg", 63 << 23)
            ]
        );
        assert!(pvs.iter().all(|p| crate::metadata::is_uuid(&p.uuid) && p.start_bytes == 1 << 20));
    }

    #[test]
    fn volume_groups_are_read() {
        let vgs = parse_vgs("", VGS).unwrap();
        let shown: Vec<_> = vgs.iter().map(|v| (v.name.as_str(), v.extent_bytes, v.free_extents)).collect();
        assert_eq!(shown, [("data-vg", 8 << 20, 59), ("vg0", 4 << 20, 174)]);
    }

    #[test]
    fn a_volume_of_several_segments_is_one_volume() {
        let lvs = parse_lvs("", LVS).unwrap();
        let shown: Vec<_> = lvs
            .iter()
            .map(|v| {
                (v.name.as_str(), v.size_bytes >> 22, v.segment_type.as_str(), v.stripes, v.stripe_bytes)
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("swap_1", 8, "linear", 1, 0),
                ("fast", 20, "striped", 2, 65536),
                ("root", 30, "linear", 1, 0),
                ("var", 30, "linear", 1, 0),
            ]
        );
        assert_eq!(lvs[3].tags, ["backup", "daily"]);
    }

    #[test]
    fn linear_and_striped_segments_together_are_linear() {
        let rows: Vec<String> = [("linear", 1), ("striped", 2)]
            .map(|(kind, stripes)| {
                format!(
                    r#"{{"lv_name":"a","lv_uuid":"u","vg_name":"v","lv_size":"8","segtype":"{kind}",
                       "stripes":"{stripes}","stripe_size":"4","lv_tags":""}}"#
                )
            })
            .into();
        let json = format!(r#"{{"report":[{{"seg":[{}]}}]}}"#, rows.join(","));
        let lvs = parse_lvs("", json.as_bytes()).unwrap();
        assert_eq!((lvs.len(), lvs[0].segment_type.as_str(), lvs[0].stripes), (1, "linear", 1));
    }

    #[test]
    fn empty_reports_are_empty() {
        let pvs = parse_pvs("", include_bytes!("../fixtures/pvs-no-group.json")).unwrap();
        assert_eq!((pvs.len(), pvs[0].group.as_str()), (1, ""));
        assert_eq!(parse_lvs("", include_bytes!("../fixtures/lvs-none.json")).unwrap(), []);
    }

    #[test]
    fn a_report_that_is_no_report_is_an_error_that_names_the_command() {
        let error = parse_vgs("lvm vgs -o x", b"  WARNING: ...").unwrap_err().to_string();
        assert_eq!(error, "lvm vgs -o x: its report cannot be read");
        let text = br#"{"report":[{"vg":[
            {"vg_name":"a","vg_uuid":"u","vg_extent_size":"4m","vg_free_count":"0"}]}]}"#;
        assert_eq!(parse_vgs("lvm vgs", text).unwrap_err().to_string(), "lvm vgs: '4m' is not a number");
    }
}
