//! Partition tables as sfdisk is told to write them.

use sysclone_exec::Command;
use sysclone_protocol::layout::{PartitionTable, TableKind};

use super::SFDISK;

/// The command that writes `table` onto the disk at `node`. The kernel is told by [`super::nodes::reread_table`]
/// afterwards: sfdisk's own way gives up when something looks at the new devices for a moment.
pub(super) fn command(node: &str, table: &PartitionTable, sector_bytes: u32) -> Command {
    Command::new(SFDISK)
        .args([
            "--quiet",
            "--wipe",
            "always",
            "--wipe-partitions",
            "always",
            "--no-reread",
            "--no-tell-kernel",
            node,
        ])
        .stdin(script(table, sector_bytes))
}

/// The input of sfdisk for a table. Sizes are in sectors, so nothing is rounded on the way.
fn script(table: &PartitionTable, sector_bytes: u32) -> String {
    let sector = u64::from(sector_bytes);
    let kind = match table.kind {
        TableKind::Gpt => "gpt",
        TableKind::Mbr => "dos",
    };
    let mut script = format!("label: {kind}\n");
    if let Some(id) = &table.id {
        script += &format!("label-id: {id}\n");
    }
    script += &format!("unit: sectors\nsector-size: {sector}\n");
    for p in &table.partitions {
        script += &format!(
            "{}: start={}, size={}, type={}",
            p.number,
            p.start_bytes / sector,
            p.size_bytes / sector,
            p.type_id
        );
        if let Some(uuid) = &p.uuid {
            script += &format!(", uuid={uuid}");
        }
        if let Some(name) = &p.name {
            script += &format!(", name=\"{}\"", escaped(name));
        }
        if let Some(attributes) = &p.attributes {
            script += &format!(", attrs=\"{attributes}\"");
        }
        if p.bootable {
            script += ", bootable";
        }
        script.push('\n');
    }
    script
}

/// sfdisk reads `\xNN` in quoted values; a name may hold quotes and newlines.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_. ".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("\\x{b:02x}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use sysclone_protocol::layout::{Grow, Partition};

    use super::*;

    #[test]
    fn the_sfdisk_script_keeps_every_fact_and_escapes_names() {
        let partition = Partition {
            number: 2,
            start_bytes: 2 << 20,
            size_bytes: 256 << 20,
            type_id: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".into(),
            uuid: Some("AAAA".into()),
            name: Some("b\"\nsize=1".into()),
            attributes: Some("LegacyBIOSBootable".into()),
            bootable: false,
            grow: Grow::Fixed,
        };
        let table =
            PartitionTable { kind: TableKind::Gpt, id: Some("BBBB".into()), partitions: vec![partition] };
        assert_eq!(
            script(&table, 512),
            "label: gpt\nlabel-id: BBBB\nunit: sectors\nsector-size: 512\n2: start=4096, size=524288, \
             type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=AAAA, name=\"b\\x22\\x0asize\\x3d1\", \
             attrs=\"LegacyBIOSBootable\"\n"
        );
    }
}
