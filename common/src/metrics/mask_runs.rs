//! Masks as records hold them: how many pixels of background and of mask take turns.

use serde::{Deserialize, Serialize};

use super::packed_run::MAX_BYTES;
use super::varint;
use crate::wire::bytes;

/// A mask of one slice, row by row: lengths of the runs of 0 and 1 in turn, the first of 0 (which may be empty), without
/// what follows the last 1. Numbers of seven bits a byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskRuns {
    #[serde(deserialize_with = "bytes::<_, MAX_BYTES>")]
    bytes: Vec<u8>,
}

impl MaskRuns {
    /// Of a mask that is not 0 where it is set.
    pub fn new(mask: &[u8]) -> Self {
        let mut bytes = Vec::new();
        let end = mask
            .iter()
            .rposition(|pixel| *pixel != 0)
            .map_or(0, |last| last + 1);
        let mut set = false;
        for run in mask[..end].chunk_by(|a, b| (*a != 0) == (*b != 0)) {
            if !set && run[0] != 0 {
                // The slice begins with the mask.
                varint::write(0, &mut bytes);
            }
            set = true;
            varint::write(run.len() as u64, &mut bytes);
        }
        bytes.shrink_to_fit();
        Self { bytes }
    }

    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The mask on `pixels` pixels, 0 and 1.
    ///
    /// # Errors
    /// When these runs are of a larger slice, or none.
    pub fn mask(&self, pixels: usize) -> Result<Vec<u8>, String> {
        let mut mask = vec![0; pixels];
        self.for_each_run(pixels, |run| mask[run].fill(1))?;
        Ok(mask)
    }

    /// How many pixels are set.
    ///
    /// # Errors
    /// When these runs do not belong to a slice of `pixels` pixels.
    pub fn count(&self, pixels: usize) -> Result<usize, String> {
        let mut set = 0;
        self.for_each_run(pixels, |run| set += run.len())?;
        Ok(set)
    }

    fn for_each_run(
        &self,
        pixels: usize,
        mut visit: impl FnMut(std::ops::Range<usize>),
    ) -> Result<(), String> {
        let broken = || format!("mask runs that are none of a slice of {pixels} pixels");
        let mut rest = self.bytes.as_slice();
        let mut next = || {
            let length = varint::read(&mut rest)?;
            Some((usize::try_from(length).ok()?, rest.is_empty()))
        };
        let (mut place, mut first) = (0_usize, true);
        if self.bytes.is_empty() {
            return Ok(());
        }
        loop {
            let (background, _) = next().ok_or_else(broken)?;
            let (length, last) = next().ok_or_else(broken)?;
            let start = place.checked_add(background).ok_or_else(broken)?;
            let end = start.checked_add(length).ok_or_else(broken)?;
            if end > pixels || length == 0 || (background == 0 && !first) {
                return Err(broken());
            }
            visit(start..end);
            (place, first) = (end, false);
            if last {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_take_turns() {
        let bytes = |mask: &[u8]| MaskRuns::new(mask).bytes;
        assert_eq!(bytes(&[0, 0, 0]), [0_u8; 0]);
        assert_eq!(bytes(&[0, 1, 1, 0]), [1, 2]);
        assert_eq!(bytes(&[1, 0, 0, 1]), [0, 1, 2, 1]);
    }

    #[test]
    fn what_is_no_mask_of_the_slice_is_refused() {
        let count = |bytes: &[u8]| {
            let runs = MaskRuns {
                bytes: bytes.to_vec(),
            };
            runs.count(10).is_ok()
        };
        assert!(count(&[]) && count(&[0, 10]) && count(&[1, 2, 3, 4]));
        assert!(!count(&[0, 11]), "longer than the slice");
        assert!(!count(&[3]), "background at the end");
        assert!(!count(&[3, 0]), "an empty run");
        assert!(!count(&[1, 2, 0, 3]), "two runs that are one");
        assert!(!count(&[1, 0x80]));
        assert!(!count(&[0xff; 30]));
    }

    proptest! {
        #[test]
        fn a_mask_comes_back(mask in prop::collection::vec(0_u8..2, 0..400)) {
            let runs = MaskRuns::new(&mask);
            prop_assert_eq!(runs.mask(mask.len()).unwrap(), mask.clone());
            let set = mask.iter().filter(|pixel| **pixel == 1).count();
            prop_assert_eq!(runs.count(mask.len()), Ok(set));
        }
    }
}
