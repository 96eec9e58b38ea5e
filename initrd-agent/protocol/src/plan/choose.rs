//! Chooses a disk of the machine for each disk of the layout.

use crate::inventory::{DiskFacts, Inventory};
use crate::layout::{Disk, DiskRules, Layout};

use super::PlanError;
use super::minimum::Need;
use super::numbers::{is_disk_size, is_sector_size};
use super::table::needed;
use super::text::{Size, describe};

/// Buses that lead out of the machine: what is there may belong to others.
const OUTSIDE: &[&str] = &["usb", "fc", "iscsi", "fcoe", "srp", "nvme-fabrics", "firewire"];

/// What was found out about one layout disk.
struct Judged<'a> {
    disk: &'a Disk,
    need: Need,
    /// Every disk of the machine with why it may not be used, or none when it may.
    verdicts: Vec<(&'a DiskFacts, Option<String>)>,
}

impl<'a> Judged<'a> {
    fn fits(&self) -> Vec<&'a DiskFacts> {
        self.verdicts.iter().filter(|(_, why)| why.is_none()).map(|(facts, _)| *facts).collect()
    }

    fn no_disk(&self) -> PlanError {
        let line = |(facts, why): &(&DiskFacts, Option<String>)| {
            let why = why.as_deref().unwrap_or("it fits, but another disk of the image needs it too");
            format!("  {}: {why}", describe(facts))
        };
        let candidates = if self.verdicts.is_empty() {
            "  this machine has no disks".to_owned()
        } else {
            self.verdicts.iter().map(line).collect::<Vec<_>>().join("\n")
        };
        let mut need = self.need.lines(2);
        need.extend(shown(&self.disk.rules).map(|rules| format!("  rules: {rules}")));
        PlanError::NoDisk { label: self.disk.name.clone(), need: need.join("\n"), candidates }
    }

    fn ambiguous(&self) -> PlanError {
        let fits = self.fits();
        let lines: Vec<String> = fits.iter().map(|facts| format!("  {}", describe(facts))).collect();
        let hint = fits.first().map_or_else(String::new, |facts| match (&facts.serial, &facts.wwn) {
            (Some(serial), _) => format!("serial={serial}"),
            (None, Some(wwn)) => format!("wwn={wwn}"),
            (None, None) => format!("name={}", facts.name),
        });
        PlanError::Ambiguous { label: self.disk.name.clone(), candidates: lines.join("\n"), hint }
    }
}

/// The disks of the machine that take the layout's disks, in the layout's order.
///
/// # Errors
/// Not exactly one assignment fits.
pub(super) fn choose<'a>(
    layout: &'a Layout,
    inventory: &'a Inventory,
) -> Result<Vec<&'a DiskFacts>, PlanError> {
    let judge = |disk: &'a Disk| {
        let verdict = |facts: &'a DiskFacts| {
            let need = needed(layout, disk, facts.sector_bytes).bytes;
            (facts, objection(&disk.rules, facts, need))
        };
        let verdicts = inventory.disks.iter().map(verdict).collect();
        Judged { disk, need: needed(layout, disk, disk.sector_bytes), verdicts }
    };
    let judged: Vec<Judged<'_>> = layout.disks.iter().map(judge).collect();
    if let Some(hopeless) = judged.iter().find(|j| j.fits().is_empty()) {
        return Err(hopeless.no_disk());
    }
    let fitting: Vec<Vec<&DiskFacts>> = judged.iter().map(Judged::fits).collect();
    let mut found = Vec::new();
    assign(&fitting, &mut Vec::new(), &mut found);
    let open = judged.iter().find(|j| j.fits().len() > 1).or(judged.first());
    match (found.len(), open) {
        (0, Some(open)) => Err(open.no_disk()),
        (2.., Some(open)) => Err(open.ambiguous()),
        _ => Ok(found.pop().unwrap_or_default()),
    }
}

/// All ways to give each layout disk one of its fitting disks; stops at two, for more than one is an error anyway.
fn assign<'a>(
    fitting: &[Vec<&'a DiskFacts>],
    taken: &mut Vec<&'a DiskFacts>,
    found: &mut Vec<Vec<&'a DiskFacts>>,
) {
    let Some(fits) = fitting.get(taken.len()) else {
        found.push(taken.clone());
        return;
    };
    for facts in fits {
        if found.len() < 2 && !taken.iter().any(|t| t.name == facts.name) {
            taken.push(facts);
            assign(fitting, taken, found);
            taken.pop();
        }
    }
}

/// Why a disk may not be used; none when it may.
fn objection(rules: &DiskRules, facts: &DiskFacts, need: u64) -> Option<String> {
    if let Some(why) = mismatch(rules, facts) {
        return Some(why);
    }
    if !is_sector_size(facts.sector_bytes) || !is_disk_size(facts.size_bytes) {
        let (bytes, sector) = (facts.size_bytes, facts.sector_bytes);
        return Some(format!("it says that it has {bytes} bytes in sectors of {sector}"));
    }
    if facts.read_only {
        return Some("it is read-only".into());
    }
    let named = rules.serial.is_some() || rules.wwn.is_some() || rules.path.is_some() || rules.name.is_some();
    if !named && let Some(why) = forbidden(facts) {
        return Some(format!("{why} and was not named (serial, wwn, path or name)"));
    }
    let least = need.max(rules.min_bytes.unwrap_or(0));
    (facts.size_bytes < least).then(|| {
        let short = Size(least - facts.size_bytes);
        format!("too small: {} needed, {} there, {short} short", Size(least), Size(facts.size_bytes))
    })
}

/// Why a disk is never taken by itself.
fn forbidden(facts: &DiskFacts) -> Option<String> {
    let outside = facts.transport.as_deref().filter(|t| OUTSIDE.contains(t));
    if let Some(holder) = &facts.held_by {
        Some(format!("it is in use ({holder})"))
    } else if let Some(bus) = outside {
        Some(format!("it is on {}", bus.to_uppercase()))
    } else {
        facts.removable.then(|| "it is removable".to_owned())
    }
}

/// What a rule is about, the rule, what the disk has, and how both are written for comparison.
type TextRule<'a> = (&'static str, &'a Option<String>, &'a Option<String>, fn(&str) -> String);

/// The first rule that a disk does not satisfy.
fn mismatch(rules: &DiskRules, facts: &DiskFacts) -> Option<String> {
    let name = Some(facts.name.clone());
    let texts: [TextRule<'_>; 5] = [
        ("serial number", &rules.serial, &facts.serial, |text| text.trim().to_owned()),
        ("WWN", &rules.wwn, &facts.wwn, plain_wwn),
        ("path", &rules.path, &facts.path, |text| {
            text.trim().trim_start_matches("/dev/disk/by-path/").to_owned()
        }),
        ("name", &rules.name, &name, |text| text.trim().trim_start_matches("/dev/").to_owned()),
        ("bus", &rules.transport, &facts.transport, |text| text.trim().to_ascii_lowercase()),
    ];
    for (what, rule, found, plain) in texts {
        let Some(rule) = rule else { continue };
        if found.as_deref().map(plain) != Some(plain(rule)) {
            return Some(format!("its {what} is {}, not {rule}", found.as_deref().unwrap_or("unknown")));
        }
    }
    if rules.rotational.is_some_and(|rotational| rotational != facts.rotational) {
        return Some(
            if facts.rotational { "it is a spinning disk" } else { "it is not a spinning disk" }.into(),
        );
    }
    let largest = rules.max_bytes.filter(|max| facts.size_bytes > *max)?;
    Some(format!("it has {}, more than {}", Size(facts.size_bytes), Size(largest)))
}

/// The digits of a world wide name without the prefix that sysfs, udev or people put before them.
fn plain_wwn(text: &str) -> String {
    let mut plain = text.trim().to_ascii_lowercase();
    for prefix in ["/dev/disk/by-id/", "wwn-", "nvme-", "naa.", "eui.", "uuid.", "0x"] {
        plain = plain.strip_prefix(prefix).map_or(plain.clone(), str::to_owned);
    }
    plain
}

/// Rules as the administrator writes them; none when there are none.
fn shown(rules: &DiskRules) -> Option<String> {
    let size = |bytes: Option<u64>| bytes.map(|b| b.to_string());
    let words = [
        ("serial", rules.serial.clone()),
        ("wwn", rules.wwn.clone()),
        ("path", rules.path.clone()),
        ("name", rules.name.clone()),
        ("transport", rules.transport.clone()),
        ("rotational", rules.rotational.map(|r| r.to_string())),
        ("min_bytes", size(rules.min_bytes)),
        ("max_bytes", size(rules.max_bytes)),
    ];
    let words: Vec<String> =
        words.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))).collect();
    (!words.is_empty()).then(|| words.join(","))
}
