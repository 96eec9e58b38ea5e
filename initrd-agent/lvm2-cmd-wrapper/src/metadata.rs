//! Volume group metadata in lvm2's text format (`vgcfgrestore(8)`), made from a plan.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;

use crate::LvmError;

/// The unit of sizes in the metadata.
const SECTOR_BYTES: u64 = 512;

/// Bytes of an LVM UUID that carry its value; shown as 6-4-4-4-4-4-6.
const UUID_LENGTH: usize = 32;

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// UUID.
    pub uuid: String,
    /// Extent size in bytes.
    pub extent_bytes: u64,
    /// Physical volumes.
    pub physical_volumes: Vec<PhysicalVolume>,
    /// Logical volumes.
    pub volumes: Vec<Volume>,
    /// When it was made, seconds since the epoch.
    pub created: u64,
}

/// A physical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// Device node.
    pub device: String,
    /// UUID.
    pub uuid: String,
    /// Size of the device in bytes.
    pub size_bytes: u64,
    /// Where its first extent lies, in bytes.
    pub start_bytes: u64,
    /// Extents on it.
    pub extents: u64,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name.
    pub name: String,
    /// UUID.
    pub uuid: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Its extents in logical order.
    pub segments: Vec<Segment>,
}

/// A run of extents of a logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Extents over all stripes.
    pub extents: u64,
    /// Size of a stripe in bytes; counts only when there are several.
    pub stripe_bytes: u64,
    /// Physical volume (index) and first extent on it, for each stripe.
    pub stripes: Vec<(usize, u64)>,
}

impl Group {
    /// The text that `vgcfgrestore` reads.
    ///
    /// # Errors
    /// A name, tag or UUID has characters that lvm2 does not allow.
    pub fn render(&self) -> Result<String, LvmError> {
        let mut text = String::from("contents = \"Text Format Volume Group\"\nversion = 1\n\n");
        let name = checked("volume group name", &self.name, is_name)?;
        let uuid = checked("UUID", &self.uuid, is_uuid)?;
        let extent = self.extent_bytes / SECTOR_BYTES;
        write(&mut text, format_args!("{name} {{\nid = \"{uuid}\"\nseqno = 1\nformat = \"lvm2\"\n"));
        write(&mut text, format_args!("status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\n"));
        write(
            &mut text,
            format_args!("extent_size = {extent}\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n"),
        );
        text.push_str("\nphysical_volumes {\n");
        for (index, pv) in self.physical_volumes.iter().enumerate() {
            pv.render(index, &mut text)?;
        }
        text.push_str("}\n");
        if !self.volumes.is_empty() {
            text.push_str("\nlogical_volumes {\n");
            for volume in &self.volumes {
                volume.render(self.created, &mut text)?;
            }
            text.push_str("}\n");
        }
        text.push_str("}\n");
        Ok(text)
    }
}

impl PhysicalVolume {
    fn render(&self, index: usize, text: &mut String) -> Result<(), LvmError> {
        let uuid = checked("UUID", &self.uuid, is_uuid)?;
        let (size, start) = (self.size_bytes / SECTOR_BYTES, self.start_bytes / SECTOR_BYTES);
        // The device is a hint only: lvm2 finds physical volumes by UUID.
        let device =
            checked("device", &self.device, |d| d.bytes().all(|b| b.is_ascii_graphic() && b != b'"'))?;
        write(text, format_args!("pv{index} {{\nid = \"{uuid}\"\ndevice = \"{device}\"\n"));
        write(text, format_args!("status = [\"ALLOCATABLE\"]\nflags = []\ndev_size = {size}\n"));
        write(text, format_args!("pe_start = {start}\npe_count = {}\n}}\n", self.extents));
        Ok(())
    }
}

impl Volume {
    fn render(&self, created: u64, text: &mut String) -> Result<(), LvmError> {
        let name = checked("logical volume name", &self.name, is_name)?;
        let uuid = checked("UUID", &self.uuid, is_uuid)?;
        write(
            text,
            format_args!("{name} {{\nid = \"{uuid}\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\n"),
        );
        text.push_str("flags = []\n");
        if !self.tags.is_empty() {
            let tags: Result<Vec<&str>, LvmError> =
                self.tags.iter().map(|t| checked("tag", t, is_tag)).collect();
            write(text, format_args!("tags = [\"{}\"]\n", tags?.join("\", \"")));
        }
        write(
            text,
            format_args!(
                "creation_time = {created}\ncreation_host = \"sysclone\"\nsegment_count = {}\n",
                self.segments.len()
            ),
        );
        let mut start = 0;
        for (number, segment) in (1..).zip(&self.segments) {
            write(text, format_args!("segment{number} {{\nstart_extent = {start}\n"));
            segment.render(text);
            start += segment.extents;
        }
        text.push_str("}\n");
        Ok(())
    }
}

impl Segment {
    fn render(&self, text: &mut String) {
        let count = self.stripes.len();
        write(text, format_args!("extent_count = {}\ntype = \"striped\"\n", self.extents));
        write(text, format_args!("stripe_count = {count}\n"));
        if count > 1 {
            write(text, format_args!("stripe_size = {}\n", self.stripe_bytes / SECTOR_BYTES));
        }
        let stripes: Vec<String> =
            self.stripes.iter().map(|(pv, first)| format!("\"pv{pv}\", {first}")).collect();
        write(text, format_args!("stripes = [{}]\n}}\n", stripes.join(", ")));
    }
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String does not fail");
}

fn checked<'a>(what: &'static str, text: &'a str, good: impl Fn(&str) -> bool) -> Result<&'a str, LvmError> {
    if good(text) { Ok(text) } else { Err(LvmError::Word { what, text: text.to_owned() }) }
}

/// `lvm(8)`, "Valid names".
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+_.-".contains(&b);
    !text.is_empty() && !text.starts_with('-') && !matches!(text, "." | "..") && text.bytes().all(plain)
}

/// `lvm(8)`, "Tags".
fn is_tag(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_+.-/=!:&#".contains(&b);
    (1..=1024).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain)
}

/// Whether a text is an LVM UUID as lvm2 shows it.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    let digits = text.bytes().filter(|b| *b != b'-').count();
    digits == UUID_LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A new LVM UUID.
///
/// # Errors
/// The kernel's random numbers cannot be read.
pub fn new_uuid() -> Result<String, LvmError> {
    // lvm2 draws from these letters and digits; two of them come twice, so that six bits choose one.
    const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01";
    let path = "/dev/urandom";
    let mut random = [0; UUID_LENGTH];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(|source| LvmError::File { path: path.into(), source })?;
    let mut uuid = String::new();
    for (at, byte) in random.iter().enumerate() {
        if matches!(at, 6 | 10 | 14 | 18 | 22 | 26) {
            uuid.push('-');
        }
        uuid.push(char::from(DIGITS[usize::from(byte % 64)]));
    }
    Ok(uuid)
}
