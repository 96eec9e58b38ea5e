//! Manifest to bytes and back. Reading trusts nothing: sizes are bounded before they are allocated, every index and
//! path is checked, and bytes that are not exactly what would be written again are refused.

use std::io::Read;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Chunk, FORMAT, Frame, Header, Manifest, Pack};
use crate::entry::Entry;

/// First bytes of an unsigned manifest.
const MAGIC: [u8; 8] = *b"SYSCMAN\n";
/// Magic, format and plain length.
const PREFIX_BYTES: usize = 8 + 2 + 8;

/// Longest plain manifest that is read: some ten million files. A compressed bomb ends here.
pub(super) const MAX_PLAIN_BYTES: u64 = 1 << 30;

/// How much is unpacked at first to find the header; most are far shorter.
const HEADER_PIECE_BYTES: u64 = 16 << 10;

/// Compression of manifests: mostly paths and hashes, where more effort than this gains next to nothing, and takes a
/// good part of a capture that finds nothing changed.
pub(super) const LEVEL: i32 = 3;

/// Why bytes were refused as a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Wrong magic, or cut off before the content begins.
    #[error("this is not a manifest")]
    NotManifest,
    /// Made by a version that writes another format.
    #[error("the manifest has format {found}, this version reads format {FORMAT}")]
    Format {
        /// What the manifest says.
        found: u16,
    },
    /// It says that it is larger than any manifest may be.
    #[error("the manifest is {bytes} bytes long when unpacked, more than the {MAX_PLAIN_BYTES} allowed")]
    TooLarge {
        /// What the manifest says.
        bytes: u64,
    },
    /// The compressed stream is damaged.
    #[error("unpacking the manifest")]
    Compression(#[source] std::io::Error),
    /// The stream does not hold as many bytes as it says.
    #[error("the manifest does not unpack to the length that it states")]
    Length,
    /// The plain bytes are not a manifest's.
    #[error("reading the manifest's fields")]
    Fields(#[source] postcard::Error),
    /// Layout or boot facts are not theirs.
    #[error("reading the manifest's {what}")]
    Facts {
        /// `layout` or `boot facts`.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A value that has more than one spelling is not in the one that is written.
    #[error("the manifest is not in canonical form")]
    NotCanonical,
    /// A table breaks a rule of the format.
    #[error("the manifest's {table} {index}: {rule}")]
    Rule {
        /// Which table (`entry`, `chunk`, `frame`, `pack`).
        table: &'static str,
        /// Index in it.
        index: usize,
        /// The rule that does not hold.
        rule: &'static str,
    },
}

#[derive(Serialize)]
struct Written<'a> {
    header: &'a Header,
    #[serde(with = "serde_bytes")]
    layout: &'a [u8],
    #[serde(with = "serde_bytes")]
    boot: &'a [u8],
    entries: &'a [Entry],
    chunks: &'a [Chunk],
    frames: &'a [Frame],
    packs: &'a [Pack],
}

#[derive(Deserialize)]
struct Stored {
    header: Header,
    #[serde(with = "serde_bytes")]
    layout: Vec<u8>,
    #[serde(with = "serde_bytes")]
    boot: Vec<u8>,
    entries: Vec<Entry>,
    chunks: Vec<Chunk>,
    frames: Vec<Frame>,
    packs: Vec<Pack>,
}

impl Manifest {
    /// The manifest's unsigned bytes; the same manifest gives the same bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let plain = self.plain();
        let packed = zstd::bulk::compress(&plain, LEVEL).expect("compressing into memory does not fail");
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + packed.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(plain.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&packed);
        bytes
    }

    /// Reads and checks unsigned bytes. Safe on bytes from anybody.
    ///
    /// # Errors
    /// The bytes are not a manifest of this format, or it breaks a rule of the format.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let plain = unpack(bytes)?;
        let (read, rest) = postcard::take_from_bytes::<Stored>(&plain).map_err(ManifestError::Fields)?;
        if !rest.is_empty() {
            return Err(ManifestError::Length);
        }
        let manifest = Self {
            layout: from_json(&read.layout, "layout")?,
            boot: from_json(&read.boot, "boot facts")?,
            header: read.header,
            entries: read.entries,
            chunks: read.chunks,
            frames: read.frames,
            packs: read.packs,
        };
        if manifest.plain() != plain {
            return Err(ManifestError::NotCanonical);
        }
        super::check::check(&manifest)?;
        Ok(manifest)
    }

    pub(crate) fn plain(&self) -> Vec<u8> {
        let (layout, boot) = (to_json(&self.layout), to_json(&self.boot));
        let written = Written {
            header: &self.header,
            layout: &layout,
            boot: &boot,
            entries: &self.entries,
            chunks: &self.chunks,
            frames: &self.frames,
            packs: &self.packs,
        };
        postcard::to_stdvec(&written).expect("all sequences have known lengths")
    }
}

pub(super) fn to_json(facts: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(facts).expect("structs of plain fields always become JSON")
}

pub(super) fn from_json<Facts: DeserializeOwned>(
    json: &[u8],
    what: &'static str,
) -> Result<Facts, ManifestError> {
    serde_json::from_slice(json).map_err(|source| ManifestError::Facts { what, source })
}

type Plain<'a> = std::io::Take<zstd::stream::Decoder<'static, &'a [u8]>>;

/// The plain bytes as a stream that ends one byte after the length that it states, and that length.
fn open_stream(bytes: &[u8]) -> Result<(Plain<'_>, u64), ManifestError> {
    let (prefix, packed) = bytes.split_at_checked(PREFIX_BYTES).ok_or(ManifestError::NotManifest)?;
    let numbers = prefix.strip_prefix(&MAGIC).ok_or(ManifestError::NotManifest)?;
    let (format, len) = numbers.split_at(2);
    let found = u16::from_le_bytes(format.try_into().expect("split at 2"));
    if found != FORMAT {
        return Err(ManifestError::Format { found });
    }
    let len = u64::from_le_bytes(len.try_into().expect("8 bytes remain of the prefix"));
    if len > MAX_PLAIN_BYTES {
        return Err(ManifestError::TooLarge { bytes: len });
    }
    let decoder = zstd::stream::Decoder::with_buffer(packed).map_err(ManifestError::Compression)?;
    Ok((decoder.single_frame().take(len + 1), len))
}

pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, ManifestError> {
    let (mut decoder, len) = open_stream(bytes)?;
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).map_err(ManifestError::Compression)?;
    let rest = decoder.into_inner().finish();
    if plain.len() as u64 != len || !rest.is_empty() {
        return Err(ManifestError::Length);
    }
    Ok(plain)
}

/// Reads the header alone, which comes first, without unpacking what follows. Only for bytes that are known to be
/// ours: the rest is not checked.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<Header, ManifestError> {
    let (mut decoder, _) = open_stream(bytes)?;
    let mut plain = Vec::new();
    let mut piece = HEADER_PIECE_BYTES;
    loop {
        let got = decoder.by_ref().take(piece).read_to_end(&mut plain).map_err(ManifestError::Compression)?;
        match postcard::take_from_bytes(&plain) {
            Ok((header, _)) => return Ok(header),
            Err(error) if got == 0 => return Err(ManifestError::Fields(error)),
            // It goes on after this piece.
            Err(_) => piece = piece.saturating_mul(4),
        }
    }
}

/// Plain bytes, whatever they are, in the form of a manifest that is sent.
#[cfg(any(test, fuzzing))]
pub(crate) fn wrap(plain: &[u8]) -> Vec<u8> {
    let packed = zstd::bulk::compress(plain, 1).expect("compressing into memory does not fail");
    [&MAGIC[..], &FORMAT.to_le_bytes(), &(plain.len() as u64).to_le_bytes(), &packed].concat()
}

#[cfg(test)]
mod tests {
    use super::super::tests::small;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_is_read_alone_however_long_it_is() {
        let mut manifest = small();
        for length in [0, 10_000, 100_000] {
            let notice =
                |n: usize| super::super::Notice { path: n.to_le_bytes().to_vec(), reason: "x".into() };
            manifest.header.skipped = (0..length).map(notice).collect();
            assert_eq!(decode_header(&manifest.encode()).unwrap(), manifest.header, "{length}");
        }
        assert!(matches!(decode_header(&wrap(b"nonsense")), Err(ManifestError::Fields(_))));
    }

    #[test]
    fn what_is_written_is_read_back_and_written_the_same() {
        let bytes = small().encode();
        let again = Manifest::decode(&bytes).unwrap();
        assert_eq!(again, small());
        assert_eq!(again.encode(), bytes);
    }

    #[test]
    fn another_format_is_named() {
        let mut bytes = small().encode();
        bytes[8] = 7;
        assert!(matches!(Manifest::decode(&bytes), Err(ManifestError::Format { found: 7 })));
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked_and_at_its_stated_length() {
        let zeros = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        let bomb = |len: u64| [&MAGIC[..], &FORMAT.to_le_bytes(), &len.to_le_bytes(), &zeros].concat();
        assert!(matches!(Manifest::decode(&bomb(u64::MAX)), Err(ManifestError::TooLarge { .. })));
        assert!(matches!(Manifest::decode(&bomb(100)), Err(ManifestError::Length)));
    }

    #[test]
    fn bytes_after_the_content_are_refused() {
        let mut bytes = small().encode();
        bytes.push(0);
        assert!(Manifest::decode(&bytes).is_err());
    }

    #[test]
    fn a_number_in_a_longer_spelling_is_refused() {
        let mut plain = small().plain();
        assert_eq!(plain[0], 4, "the length of the name comes first");
        plain.splice(0..1, [0x84, 0x00]);
        assert!(matches!(Manifest::decode(&wrap(&plain)), Err(ManifestError::NotCanonical)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(Manifest::decode(&bytes).is_err());
            prop_assert!(Manifest::decode(&wrap(&bytes)).is_err());
        }

        #[test]
        fn changed_plain_bytes_give_an_error_or_a_manifest_that_keeps_the_rules(
            edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4)
        ) {
            let mut plain = small().plain();
            for (at, value) in edits {
                let at = at.index(plain.len());
                plain[at] = value;
            }
            if let Ok(manifest) = Manifest::decode(&wrap(&plain)) {
                prop_assert_eq!(manifest.plain(), plain);
            }
        }
    }
}
