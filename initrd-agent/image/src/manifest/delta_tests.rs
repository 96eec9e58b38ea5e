use proptest::prelude::*;

use super::super::tests::small;
use super::*;
use crate::entry::{Extent, FileData, Meta, Time};
use crate::id::{ChunkHash, PackId};
use crate::pack::HEADER_BYTES;

/// Magic, format, two digests, plain length.
const PREFIX_BYTES: usize = 8 + 2 + 32 + 32 + 8;

/// A manifest of so many files, each of one chunk, ten chunks in a frame, ten frames in a pack.
fn large(files: u32) -> Manifest {
    let mut manifest = small();
    let count = |n: u32| u8::try_from(n % 251).unwrap();
    manifest.packs = (0..files.div_ceil(100))
        .map(|n| Pack {
            id: PackId(*blake3::hash(&n.to_le_bytes()).as_bytes()),
            bytes: 100_000,
            salt: [count(n); 32],
        })
        .collect();
    manifest.frames = (0..files.div_ceil(10))
        .map(|n| Frame {
            pack: n / 10,
            number: n % 10,
            offset: HEADER_BYTES + u64::from(n % 10) * 100,
            stored_len: 100 - n % 7,
            plain_len: 1000,
        })
        .collect();
    manifest.chunks = (0..files)
        .map(|n| Chunk {
            hash: ChunkHash::of(&n.to_le_bytes()),
            len: 100,
            frame: n / 10,
            offset: n % 10 * 100,
        })
        .collect();
    manifest.entries.truncate(1);
    manifest.entries.extend((0..files).map(|n| Entry {
        path: format!("file{n:07}").into_bytes(),
        kind: EntryKind::File(FileData {
            size: 100,
            extents: vec![Extent { offset: 0, content: Content::Chunk(n) }],
            origin: crate::entry::Origin { inode: u64::from(n), changed: Time { seconds: 5, nanos: n } },
        }),
        meta: Meta { mode: 0o644, ..Meta::default() },
    }));
    manifest
}

/// The manifest without these files and what only they used, as a capture makes it.
fn without(mut manifest: Manifest, gone: impl Fn(&Entry) -> bool) -> Manifest {
    manifest.entries.retain(|entry| !gone(entry));
    let Manifest { chunks, frames, packs, .. } = manifest;
    let (chunks, frames, packs) = crate::tables::compact(&mut manifest.entries, (chunks, frames, packs));
    Manifest { chunks, frames, packs, ..manifest }
}

fn there_and_back(base: &Manifest, new: &Manifest) -> usize {
    let delta = new.delta(base);
    assert!(Manifest::from_delta(base, &delta).unwrap() == *new);
    delta.len()
}

#[test]
fn what_is_the_same_is_not_sent() {
    let base = large(5000);
    let whole = base.encode().len();
    assert!(there_and_back(&base, &base) < 700, "nothing changed");
    let gone = without(base.clone(), |entry| entry.path.ends_with(b"00"));
    assert!(there_and_back(&base, &gone) < 1500, "every hundredth file is gone, and all numbers moved");
    assert!(there_and_back(&gone, &base) < whole / 20, "every hundredth file is new");
    let mut touched = base.clone();
    for entry in touched.entries.iter_mut().step_by(100) {
        entry.meta.mtime.seconds = 7;
    }
    assert!(there_and_back(&base, &touched) < whole / 20, "every hundredth file has another time");
}

#[test]
fn links_and_strangers_are_carried() {
    let linked = |mut manifest: Manifest, first| {
        let kind = EntryKind::HardLink { first };
        manifest.entries.push(Entry { path: b"link".to_vec(), kind, meta: Meta::default() });
        manifest
    };
    let fewer = without(large(30), |entry| entry.path == b"file0000003");
    let all = [large(30), small(), linked(large(30), 30), linked(fewer.clone(), 29), linked(fewer, 5)];
    for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
        there_and_back(a, b);
    }
}

#[test]
fn records_may_change_places() {
    let base = large(200);
    let mut turned = base.clone();
    turned.entries[1..].reverse();
    there_and_back(&base, &turned);
}

#[test]
fn another_base_is_named() {
    let (base, new) = (large(3), large(4));
    let delta = new.delta(&base);
    assert!(matches!(Manifest::from_delta(&new, &delta), Err(DeltaError::OtherBase)));
    assert!(matches!(Manifest::from_delta(&base, &new.encode()), Err(DeltaError::NotDelta)));
}

#[test]
fn records_are_used_once() {
    let base = small();
    let mut written: Written = postcard::from_bytes(&base.delta_fields(&base)).unwrap();
    written.entries.push(Run::Same { from: 0, count: 1 });
    assert!(matches!(written.onto(&base), Err(DeltaError::Misfit)));
    let mut written: Written = postcard::from_bytes(&base.delta_fields(&base)).unwrap();
    written.chunks = vec![Run::Same { from: u32::MAX, count: u32::MAX }];
    assert!(matches!(written.onto(&base), Err(DeltaError::Misfit)));
}

#[test]
fn no_changed_bit_makes_another_manifest() {
    let (base, new) = (large(30), without(large(30), |entry| entry.path == b"file0000003"));
    let delta = new.delta(&base);
    for at in 0..delta.len() {
        let mut changed = delta.clone();
        changed[at] ^= 1 << (at % 8);
        // Compression has bits that mean nothing; the manifest is the same then.
        if let Ok(made) = Manifest::from_delta(&base, &changed) {
            assert!(at >= PREFIX_BYTES && made == new, "byte {at}");
        }
        assert!(Manifest::from_delta(&base, &delta[..at]).is_err(), "cut at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn changed_fields_never_panic(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4)
    ) {
        let base = large(12);
        let mut plain = without(base.clone(), |entry| entry.path == b"file0000003").delta_fields(&base);
        for (at, value) in edits {
            let at = at.index(plain.len());
            plain[at] = value;
        }
        if let Some(made) = apply_delta_fields(&base, &plain) {
            prop_assert!(Manifest::from_delta(&base, &made.delta(&base)).unwrap() == made);
        }
    }
}
