//! The values that go into a loader's configuration, checked once for all loaders: a value that one of them could not
//! carry faithfully is refused when it is made, so that rendering cannot fail and cannot be subverted.

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;

/// Linux keeps 2,048 bytes of command line on x86 and POWER (`COMMAND_LINE_SIZE`), the end mark included. Loaders put
/// `BOOT_IMAGE=`, `initrd=` and `BOOTIF=` beside ours, so some room is left to them.
const MAX_ARGS: usize = 1792;

/// Longer headlines are of no use to a reader.
const MAX_HEADLINE: usize = 200;

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a relative path of plain names.
    #[error("'{0}' is not a boot file path (names of letters, digits, '.', '-', '_', '+' separated by '/')")]
    Path(String),
    /// A kernel argument holds what a loader would read as its own language.
    #[error("the kernel argument '{word}' cannot be given to every boot loader: {reason}")]
    Argument {
        /// The word.
        word: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More than fits.
    #[error("the kernel arguments are {0} bytes long, at most {MAX_ARGS} fit")]
    TooLong(usize),
}

/// The address and port of the boot file server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpServer(pub SocketAddrV4);

impl HttpServer {
    /// The URL of a file in the boot name space. Port 80 is written too: loaders differ in their defaults for proxies.
    #[must_use]
    pub fn url(&self, path: &BootPath) -> String {
        format!("http://{}/boot/{path}", self.0)
    }
}

/// A path in the boot name space: relative, never upwards, of characters that need no quoting anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootPath(String);

impl FromStr for BootPath {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
        let name = |n: &str| !n.is_empty() && !n.starts_with('.') && n.bytes().all(plain);
        if text.len() <= 255 && text.split('/').all(name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::Path(text.to_owned()))
        }
    }
}

impl fmt::Display for BootPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The words of a kernel command line.
///
/// iPXE has no quoting at all and GRUB rewrites quotation marks, so words with quotes or backslashes, and words that
/// iPXE would read as a separator, a comment or a setting, are refused. `$`, `;`, `|` and the like within a word pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelArgs(Vec<String>);

impl FromStr for KernelArgs {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let words: Vec<String> = text.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect();
        if let Some((word, reason)) = words.iter().find_map(|w| Some((w, refusal(w)?))) {
            return Err(ValueError::Argument { word: word.escape_debug().to_string(), reason });
        }
        let length = words.iter().map(|w| w.len() + 1).sum();
        if length > MAX_ARGS { Err(ValueError::TooLong(length)) } else { Ok(Self(words)) }
    }
}

impl KernelArgs {
    /// The words, in order.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for KernelArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

fn refusal(word: &str) -> Option<&'static str> {
    if !word.bytes().all(|b| b.is_ascii_graphic()) {
        Some("only printable ASCII may be used")
    } else if word.contains(['"', '\'', '\\']) {
        Some("quotation marks and backslashes are not allowed")
    } else if word.contains("${") || word.starts_with('#') || matches!(word, "||" | "&&" | ";") {
        Some("iPXE would read it as its own language")
    } else if word.starts_with("initrd=") {
        Some("the boot loader adds it itself")
    } else {
        None
    }
}

/// One line for people. Anything that is not printable ASCII becomes `?`; never refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headline(String);

impl Headline {
    /// Makes `text` fit for a comment line in every loader's language.
    #[must_use]
    pub fn new(text: &str) -> Self {
        // A backslash at the end would make iPXE join the next line to the comment.
        let safe = |c: char| if (c.is_ascii_graphic() && c != '\\') || c == ' ' { c } else { '?' };
        Self(text.trim().chars().take(MAX_HEADLINE).map(safe).collect())
    }
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_paths_are_plain_and_never_lead_upwards() {
        assert_eq!("x86_64/initrd.img".parse::<BootPath>().unwrap().to_string(), "x86_64/initrd.img");
        for bad in
            ["", "/x", "x/", "a//b", "../x", "a/../b", "a b", "a\nb", "a;b", "a$b", "ä", &"x".repeat(256)]
        {
            assert!(bad.parse::<BootPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn urls_name_the_boot_name_space() {
        let server = HttpServer("10.77.0.1:8080".parse().unwrap());
        assert_eq!(server.url(&"x86_64/kernel".parse().unwrap()), "http://10.77.0.1:8080/boot/x86_64/kernel");
    }

    #[test]
    fn arguments_that_a_loader_would_misread_are_refused_by_name() {
        for bad in [
            "a\nb",
            "a\rb",
            "a\tb",
            "a\0b",
            "é",
            "x=\"a b\"",
            "x='a'",
            "x\\",
            "x=${filename}",
            "#x",
            "||",
            "&&",
            ";",
            "initrd=evil",
        ] {
            let error = format!("quiet {bad} console=tty0").parse::<KernelArgs>().unwrap_err();
            assert!(matches!(error, ValueError::Argument { .. }), "{bad:?}: {error}");
            assert!(!error.to_string().contains(['\n', '\r', '\0']), "{error:?}");
        }
        assert!(matches!("x".repeat(2000).parse::<KernelArgs>(), Err(ValueError::TooLong(2001))));
    }

    #[test]
    fn other_punctuation_passes() {
        let text =
            "console=ttyS0,115200 a=$b;c|d&e {f} <g> `h` 100% x=#1 sysclone.server=https://10.0.0.1:8443";
        assert_eq!(text.parse::<KernelArgs>().unwrap().to_string(), text);
    }

    #[test]
    fn headlines_are_one_printable_line() {
        assert_eq!(Headline::new("a\nboot\\\u{e9}").to_string(), "a?boot??");
        assert_eq!(Headline::new(&"x".repeat(999)).to_string().len(), MAX_HEADLINE);
    }
}
