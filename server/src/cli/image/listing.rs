//! Generations as a table.

use crate::cli::console::{Console, Exit};
use crate::cli::meter::{bytes, grouped};
use crate::wire::ImageLine;

/// Prints generations; exit status 1 when one of them has a problem.
pub(super) fn print(lines: &[ImageLine], json: bool, console: &mut Console) -> anyhow::Result<Exit> {
    if json {
        console.json(&lines)?;
    } else {
        for line in table(lines) {
            console.line(&line)?;
        }
        for line in lines {
            if let Some(problem) = &line.problem {
                console.node_error(&line.image, problem)?;
            }
        }
    }
    Ok(Exit::failed_if(lines.iter().any(|line| line.problem.is_some())))
}

const HEADER: [&str; 7] = ["IMAGE", "CAPTURED", "FROM", "ENTRIES", "FILES", "STORED", "TAGS"];

fn table(lines: &[ImageLine]) -> Vec<String> {
    let rows: Vec<[String; 7]> =
        std::iter::once(HEADER.map(str::to_owned)).chain(lines.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(line: &ImageLine) -> [String; 7] {
    let tags = match line.newest {
        true => std::iter::once("(newest)")
            .chain(line.tags.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" "),
        false => line.tags.join(" "),
    };
    if line.captured_at.is_empty() {
        let unknown = || "?".to_owned();
        return [line.image.clone(), unknown(), unknown(), unknown(), unknown(), unknown(), tags];
    }
    [
        line.image.clone(),
        line.captured_at.clone(),
        line.source.clone(),
        grouped(line.entries),
        bytes(line.bytes),
        bytes(line.stored_bytes),
        tags,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_a_damaged_generation_stays_in_the_list() {
        let good = ImageLine {
            image: "demo@1".into(),
            newest: false,
            captured_at: "2026-01-02T03:04:05Z".into(),
            source: "golden".into(),
            os: "Debian".into(),
            arch: "x86_64".into(),
            entries: 11_809,
            bytes: 9_100_000_000,
            stored_bytes: 143_700_000,
            tags: vec!["stable".into()],
            problem: None,
        };
        let damaged = ImageLine {
            image: "demo@2".into(),
            newest: true,
            captured_at: String::new(),
            tags: vec![],
            ..good.clone()
        };
        assert_eq!(
            table(&[good, damaged]),
            [
                "IMAGE   CAPTURED              FROM    ENTRIES  FILES   STORED    TAGS",
                "demo@1  2026-01-02T03:04:05Z  golden  11,809   9.1 GB  143.7 MB  stable",
                "demo@2  ?                     ?       ?        ?       ?         (newest)",
            ]
        );
    }
}
