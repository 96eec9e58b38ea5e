//! A home directory for ipmitool. It reads the 4.7 MB list of all makers' numbers (enterprise-numbers.txt) at every
//! start, which takes it 100 ms where the question itself takes 10; a list in its home directory is read instead, so
//! it gets one with a single line.

use std::io;
use std::path::{Path, PathBuf};

/// Where ipmitool 1.8.19 looks, below its home directory.
const LIST: &str = ".local/usr/share/misc/enterprise-numbers.txt";

/// One maker, in the list's form. An empty list would stop ipmitool.
const ONE_LINE: &str = "0\n  Reserved\n    Internet Assigned Numbers Authority\n      iana&iana.org\n";

/// Makes the directory, and answers where it is.
///
/// # Errors
/// It cannot be written.
pub(crate) fn make_home(state_dir: &Path) -> io::Result<PathBuf> {
    let home = state_dir.join("ipmitool");
    let list = home.join(LIST);
    std::fs::create_dir_all(list.parent().expect("the list is in a directory"))?;
    std::fs::write(&list, ONE_LINE)?;
    Ok(home)
}
