//! Who still uses files that are replaced: programs that run have the old ones mapped.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use sysclone_protocol::update::ServiceHint;

/// Services and programs that have any of these files (absolute paths) mapped, each with one of them.
pub(super) fn users(files: &HashSet<String>) -> Vec<ServiceHint> {
    users_under(Path::new("/proc"), files)
}

fn users_under(proc: &Path, files: &HashSet<String>) -> Vec<ServiceHint> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let own = std::process::id().to_string();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_process = name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        if !is_process || name.to_string_lossy() == own {
            continue;
        }
        // A process that has ended uses nothing.
        let Ok(maps) = fs::read(entry.path().join("maps")) else { continue };
        let maps = String::from_utf8_lossy(&maps);
        if let Some(file) = mapped(&maps).find(|path| files.contains(*path)) {
            let service = service_of(&entry.path());
            found.entry(service).or_insert_with(|| file.to_owned());
        }
    }
    found.into_iter().map(|(service, file)| ServiceHint { service, file }).collect()
}

/// Paths in a list of mappings (`proc_pid_maps(5)`).
fn mapped(maps: &str) -> impl Iterator<Item = &str> {
    maps.lines().filter_map(|line| {
        let path = line.get(line.find('/')?..)?;
        Some(path.strip_suffix(" (deleted)").unwrap_or(path))
    })
}

/// The unit of a process by its control group, or its program's name.
fn service_of(process: &Path) -> String {
    let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let units = groups.lines().flat_map(|line| line.rsplit('/'));
    let mut units = units.filter(|name| name.ends_with(".service") && !name.starts_with("user@"));
    match units.next() {
        Some(unit) => unit.to_owned(),
        None => fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_their_groups_and_others_by_name() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: &str, group: &str, maps: &str| {
            let folder = proc.path().join(pid);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("maps"), maps).unwrap();
            fs::write(folder.join("cgroup"), group).unwrap();
            fs::write(folder.join("comm"), "bash\n").unwrap();
        };
        let line = "7f00-7f01 r-xp 00000000 fe:01 99   /usr/lib/libx.so.1";
        process("10", "0::/system.slice/cron.service\n", line);
        process("11", "0::/user.slice/user-0.slice/session-1.scope\n", &format!("{line} (deleted)\n"));
        process("12", "0::/system.slice/sshd.service\n", "7f00-7f01 r-xp 0 fe:01 99 /usr/lib/other.so\n");
        let files = HashSet::from(["/usr/lib/libx.so.1".to_owned()]);
        let services: Vec<String> =
            users_under(proc.path(), &files).into_iter().map(|hint| hint.service).collect();
        assert_eq!(services, ["bash", "cron.service"]);
    }
}
