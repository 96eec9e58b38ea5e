//! Where content is cut, and what counts as zeros.

use std::ops::Range;

use fastcdc::v2020::FastCDC;

/// Average chunk: a table entry is 44 bytes, so tables stay below a thousandth of the content, and a changed byte in a
/// large file costs a few times this.
const AVERAGE_BYTES: u32 = 128 << 10;
/// No cut before this, or small chunks would make the table large.
const MIN_BYTES: u32 = AVERAGE_BYTES / 4;
/// A cut here at the latest; a frame holds two of these.
pub(crate) const MAX_BYTES: u32 = AVERAGE_BYTES * 4;

/// Shortest run of zeros that is kept as zeros: the block size of nearly every file system.
const MIN_ZEROS: usize = 4096;

/// Cuts content by its bytes, so that an insertion moves the cuts with the content.
pub(crate) fn cut(content: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    // Most files are smaller than one chunk; they are not looked at for cuts.
    let small = content.len() <= AVERAGE_BYTES as usize;
    let whole = (small && !content.is_empty()).then_some(0..content.len());
    let cuts = (!small).then(|| FastCDC::new(content, MIN_BYTES, AVERAGE_BYTES, MAX_BYTES));
    whole.into_iter().chain(cuts.into_iter().flatten().map(|chunk| chunk.offset..chunk.offset + chunk.length))
}

/// Whether a chunk needs no bytes, only room.
pub(crate) fn is_zeros(chunk: &[u8]) -> bool {
    chunk.len() >= MIN_ZEROS && chunk[0] == 0 && chunk.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn chunks_cover_the_content_and_keep_their_sizes() {
        for len in [0, 1, 131_072, 131_073, 5_000_000] {
            let content = noise(len);
            let chunks: Vec<_> = cut(&content).collect();
            let mut at = 0;
            for chunk in &chunks {
                assert_eq!(chunk.start, at);
                assert!(chunk.len() <= MAX_BYTES as usize && !chunk.is_empty());
                at = chunk.end;
            }
            assert_eq!(at, len);
        }
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let content = noise(8 << 20);
        let before: std::collections::HashSet<&[u8]> = cut(&content).map(|c| &content[c]).collect();
        let longer = [b"inserted", &content[..]].concat();
        let new = cut(&longer).filter(|c| !before.contains(&longer[c.clone()])).count();
        assert!(new <= 3, "{new} of {} chunks are new", before.len());
    }

    #[test]
    fn zeros_are_whole_chunks_of_at_least_a_block() {
        assert!(is_zeros(&[0; 4096]));
        assert!(!is_zeros(&[0; 4095]));
        let mut almost = vec![0; 8192];
        almost[8191] = 1;
        assert!(!is_zeros(&almost));
    }
}
