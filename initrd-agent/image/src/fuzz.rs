//! What fuzzing calls: each function gives bytes from anybody to one parser and holds it to its promises. In no
//! build but those of tests and `cargo fuzz`.

use std::io;
use std::ops::Range;

use crate::apply::check_plan;
use crate::crypt::{ImageKey, Part};
use crate::exclude::Excludes;
use crate::id::PackId;
use crate::manifest::{MAX_FRAME_BYTES, Manifest, apply_delta_fields, wrap};
use crate::pack::{FrameOpener, PackSource, encode_with_index, read_index};
use crate::sign::{SigningKey, open};

struct OnePack<'a>(&'a [u8]);

impl PackSource for OnePack<'_> {
    fn read(&self, _: &PackId, range: Range<u64>) -> io::Result<Vec<u8>> {
        let at = |n: u64| usize::try_from(n).map_err(io::Error::other);
        let bytes = self.0.get(at(range.start)?..at(range.end)?);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn size(&self, _: &PackId) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

fn key() -> ImageKey {
    // 32 zero bytes.
    ImageKey::from_base64("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("32 bytes in base64")
}

/// A manifest as it is sent, with and without a signature.
pub fn manifest(bytes: &[u8]) {
    hold(Manifest::decode(bytes).ok());
    let signing = SigningKey::from_base64(key().to_base64().reveal()).expect("any 32 bytes are a seed");
    assert!(open(bytes, &signing.verifying_key()).is_err(), "a signature was guessed");
}

/// The plain bytes of a manifest.
pub fn manifest_fields(bytes: &[u8]) {
    hold(Manifest::decode(&wrap(bytes)).ok());
}

/// The plain bytes of a difference from a manifest; the length of that manifest comes first, then the manifest.
pub fn manifest_delta(bytes: &[u8]) {
    let Some((len, rest)) = bytes.split_first_chunk() else { return };
    let Some((base, fields)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len))) else { return };
    let Ok(base) = Manifest::decode(&wrap(base)) else { return };
    let made = apply_delta_fields(&base, fields);
    if let Some(made) = &made {
        let again = Manifest::from_delta(&base, &made.delta(&base)).expect("what is written is read");
        assert!(again == *made);
    }
    hold(made);
}

/// An accepted manifest reads back the same, and a deployment of it can be planned.
fn hold(manifest: Option<Manifest>) {
    let Some(manifest) = manifest else { return };
    let again = Manifest::decode(&manifest.encode()).expect("what was accepted is accepted again");
    assert!(again == manifest);
    check_plan(&manifest);
}

/// A pack.
pub fn pack(bytes: &[u8]) {
    let Ok(index) = read_index(&OnePack(bytes), &PackId::of(bytes), &key()) else { return };
    for frame in &index.frames {
        assert!((1..=MAX_FRAME_BYTES).contains(&frame.plain_len()));
        assert!(frame.offset + u64::from(frame.stored_len) <= bytes.len() as u64);
    }
}

/// The plain index of a pack; the length of its frames comes first.
pub fn pack_index(bytes: &[u8]) {
    let Some((len, index)) = bytes.split_first_chunk() else { return };
    pack(&encode_with_index(&key(), usize::from(u16::from_le_bytes(*len)), index));
}

/// The content of a frame before it is sealed; the length it should unpack to comes first.
pub fn frame(bytes: &[u8]) {
    let Some((len, plain)) = bytes.split_first_chunk() else { return };
    let len = u32::from_le_bytes(*len) % (MAX_FRAME_BYTES + 1);
    let pack_key = key().pack_key(&[0; 32]);
    let mut sealed = plain.to_vec();
    pack_key.seal(Part::Frame(1), &mut sealed);
    let mut opener = FrameOpener::new().expect("there is memory");
    if let Ok(opened) = opener.open(&pack_key, 1, (&mut sealed.clone(), len)) {
        assert_eq!(opened.len(), len as usize);
    }
    assert!(opener.open(&pack_key, 0, (&mut sealed, len)).is_err(), "a frame opened as another");
    assert!(opener.open(&pack_key, 1, (&mut plain.to_vec(), len)).is_err(), "a tag was guessed");
}

/// A path, a zero byte, then patterns, one on a line.
pub fn excludes(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (path, patterns) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let patterns = String::from_utf8_lossy(patterns);
    let lines: Vec<&str> = patterns.lines().collect();
    let Ok(all) = Excludes::parse(&lines) else {
        assert!(lines.iter().any(|line| Excludes::parse([line]).is_err()), "refused together only");
        return;
    };
    assert_eq!(all.texts(), lines);
    let keeps = lines.iter().any(|line| line.starts_with("+ "));
    for is_directory in [false, true] {
        let one = |line: &&str| Excludes::parse([line]).is_ok_and(|one| one.matches(path, is_directory));
        let any = lines.iter().any(one);
        assert!(if keeps {
            any || !all.matches(path, is_directory)
        } else {
            any == all.matches(path, is_directory)
        });
    }
    if keeps {
        return;
    }
    // What is not matched as a directory is not matched as a file.
    assert!(all.matches(path, true) || !all.matches(path, false));
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChunkHash;
    use crate::manifest::tests::small;
    use crate::pack::{IndexedChunk, IndexedFrame};

    /// Writes the first inputs of this crate's targets: `cargo test -p sysclone-image first_inputs -- --ignored`.
    #[test]
    #[ignore = "writes into fuzz/corpus"]
    fn first_inputs() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let keep = |target: &str, bytes: &[u8]| {
            std::fs::create_dir_all(corpus.join(target)).unwrap();
            std::fs::write(corpus.join(target).join("first"), bytes).unwrap();
        };
        keep("manifest", &small().encode());
        keep("manifest_fields", &small().plain());
        let plain = small().plain();
        let len = u16::try_from(plain.len()).unwrap().to_le_bytes();
        keep("manifest_delta", &[&len[..], &plain, &small().delta_fields(&small())].concat());
        let chunk = |text: &[u8]| IndexedChunk { hash: ChunkHash::of(text), len: 5 };
        let frame = |offset, texts: &[&[u8]]| IndexedFrame {
            offset,
            stored_len: 100,
            chunks: texts.iter().map(|text| chunk(text)).collect(),
        };
        let index = [frame(48, &[b"hello", b"world"]), frame(148, &[b"other"])];
        let index = postcard::to_stdvec(&index[..]).unwrap();
        keep("pack_index", &[&200_u16.to_le_bytes()[..], &index].concat());
        keep("pack", &encode_with_index(&key(), 200, &index));
        let packed = zstd::bulk::compress(&[7; 300], 1).unwrap();
        keep("frame", &[&300_u32.to_le_bytes()[..], &[1], &packed].concat());
        keep("excludes", b"a/b/x.log\0*.log\n/a/**/x\n[!a-f]?\nb/***\n\\*");
    }

    #[test]
    fn inputs_that_are_kept_hold() {
        replay::replay("manifest", manifest);
        replay::replay("manifest_fields", manifest_fields);
        replay::replay("manifest_delta", manifest_delta);
        replay::replay("pack", pack);
        replay::replay("pack_index", pack_index);
        replay::replay("frame", frame);
        replay::replay("excludes", excludes);
    }
}
