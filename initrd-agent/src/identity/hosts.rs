//! The golden client's name in `/etc/hosts`.

use std::net::IpAddr;

/// Puts `new` where `hosts` gives a loopback address the name `golden`. Both names may be fully qualified. Lines with
/// other addresses say where machines are, and the golden client still is where it was. All other bytes stay.
#[must_use]
pub(super) fn rename(hosts: &[u8], golden: &str, new: &str) -> Vec<u8> {
    let mut renamed = Vec::with_capacity(hosts.len());
    for line in hosts.split_inclusive(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(text) if is_loopback(text) => renamed.extend(rename_line(text, golden, new).into_bytes()),
            Ok(_) | Err(_) => renamed.extend_from_slice(line),
        }
    }
    renamed
}

fn is_loopback(line: &str) -> bool {
    let address = line.split_whitespace().next().and_then(|word| word.parse::<IpAddr>().ok());
    address.is_some_and(|address| address.is_loopback())
}

fn rename_line(line: &str, golden: &str, new: &str) -> String {
    let (names, comment) = line.split_at(line.find('#').unwrap_or(line.len()));
    let mut result = String::with_capacity(line.len());
    for piece in names.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        result.push_str(&rename_word(word, golden, new));
        result.push_str(&piece[word.len()..]);
    }
    result + comment
}

fn rename_word(word: &str, golden: &str, new: &str) -> String {
    let (golden_short, new_short) = (short(golden), short(new));
    if word == golden_short {
        return new_short.to_owned();
    }
    match word.strip_prefix(golden_short).filter(|rest| rest.starts_with('.')) {
        None => word.to_owned(),
        Some(_) if new.contains('.') => new.to_owned(),
        Some(domain) => format!("{new_short}{domain}"),
    }
}

fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_on_loopback_lines_change() {
        let before = "127.0.0.1\tlocalhost\n\
            127.0.1.1\tgolden.lan golden golden-data mygolden  # golden was here\n\
            ::1 localhost golden\n\
            10.77.0.11 golden\n\
            # 127.0.1.1 golden\n\
            127.0.1.1 golden";
        let after = "127.0.0.1\tlocalhost\n\
            127.0.1.1\tn7.lan n7 golden-data mygolden  # golden was here\n\
            ::1 localhost n7\n\
            10.77.0.11 golden\n\
            # 127.0.1.1 golden\n\
            127.0.1.1 n7";
        assert_eq!(rename(before.as_bytes(), "golden", "n7"), after.as_bytes());
        assert_eq!(rename(before.as_bytes(), "golden.lan", "n7"), after.as_bytes());
    }

    #[test]
    fn a_qualified_new_name_brings_its_own_domain() {
        let after = rename(b"127.0.1.1 golden.lan golden\n", "golden", "n7.example.org");
        assert_eq!(after, b"127.0.1.1 n7.example.org n7\n");
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let hosts = b"127.0.1.1 golden \xff\n127.0.1.1 golden\n";
        assert_eq!(rename(hosts, "golden", "n7"), b"127.0.1.1 golden \xff\n127.0.1.1 n7\n");
    }
}
