//! Facts that stand in names: types of host keys, kernels, swap files.

/// The types of SSH host key among the file names of `/etc/ssh`, sorted.
pub(super) fn host_key_types<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let kind = |name: &'a str| name.strip_prefix("ssh_host_")?.strip_suffix("_key");
    let mut types: Vec<String> = names.into_iter().filter_map(kind).map(str::to_owned).collect();
    types.sort();
    types
}

/// The kernels among the file names of `/boot`, newest first, rescue kernels last.
pub(super) fn kernels<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let is_kernel =
        |name: &&str| ["vmlinuz-", "vmlinux-", "kernel-"].iter().any(|prefix| name.starts_with(prefix));
    let mut kernels: Vec<&str> = names.into_iter().filter(is_kernel).collect();
    kernels.sort_by_cached_key(|name| (name.contains("rescue"), std::cmp::Reverse(version_key(name))));
    kernels.into_iter().map(str::to_owned).collect()
}

/// Pieces of a name that sort as versions do: text as text, numbers as numbers.
fn version_key(name: &str) -> Vec<(&str, u64)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let (digits, after) =
            after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len()));
        key.push((word, digits.parse().unwrap_or(0)));
        rest = after;
    }
    key
}

/// Paths of swap files in `/proc/swaps`, as exclude patterns.
pub(super) fn swap_files(swaps: &str) -> Vec<String> {
    let file = |line: &str| {
        let mut words = line.split_whitespace();
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "file").then(|| escape(&path.replace("\\040", " ")))
    };
    swaps.lines().skip(1).filter_map(file).collect()
}

/// A path as a pattern that matches nothing else. A backslash is plain unless there is a wildcard in the pattern.
pub(super) fn escape(path: &str) -> String {
    let wild = path.contains(['*', '?', '[']);
    let special = |c: char| wild && matches!(c, '*' | '?' | '[' | '\\');
    path.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keys_are_counted_by_their_private_halves() {
        let names =
            ["ssh_host_rsa_key", "ssh_host_rsa_key.pub", "ssh_host_ed25519_key", "sshd_config", "moduli"];
        assert_eq!(host_key_types(names), ["ed25519", "rsa"]);
    }

    #[test]
    fn the_newest_kernel_is_first_and_rescue_last() {
        let names = [
            "vmlinuz-0-rescue-abc",
            "vmlinuz-4.18.0-80.el8.x86_64",
            "vmlinuz-4.18.0-305.el8.x86_64",
            "initrd.img-6.1",
            "vmlinuz-4.9.0-1",
        ];
        assert_eq!(
            kernels(names),
            [
                "vmlinuz-4.18.0-305.el8.x86_64",
                "vmlinuz-4.18.0-80.el8.x86_64",
                "vmlinuz-4.9.0-1",
                "vmlinuz-0-rescue-abc"
            ]
        );
    }

    #[test]
    fn swap_files_are_left_out_and_swap_partitions_are_no_files() {
        let swaps = "Filename\tType\tSize\tUsed\tPriority\n\
            /dev/dm-1 partition 100 0 -2\n\
            /swap\\040file file 100 0 -3\n\
            /var/swap[1] file 100 0 -4\n";
        assert_eq!(swap_files(swaps), ["/swap file", "/var/swap\\[1]"]);
    }
}
