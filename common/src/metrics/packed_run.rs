//! Score runs as records hold them: differences of the sorted keys, in under half the bytes of the keys.

use serde::{Deserialize, Serialize};

use super::histogram_ap::Resolution;
use super::varint;
use crate::wire::{Kind, bytes};

/// Longest list of packed numbers: what the limit of an envelope leaves room for.
pub(super) const MAX_BYTES: usize = Kind::Record.limit();

/// How much of its scores a run keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunDetail {
    /// All bits.
    #[default]
    Exact,
    /// The bins of [`Resolution::Fine`]: a score is the lowest of its bin, and what is counted of it has bounds.
    Histogram,
}

impl RunDetail {
    /// True for [`Self::Exact`].
    pub fn is_exact(&self) -> bool {
        *self == Self::Exact
    }

    /// Bits of a key, above its label, that are not kept.
    const fn dropped(self) -> u32 {
        match self {
            Self::Exact => 0,
            Self::Histogram => Resolution::Fine.dropped_bits() - 1,
        }
    }

    /// What is kept of the score of `key`.
    const fn order(self, key: u32) -> u32 {
        (key >> 1) >> self.dropped()
    }

    /// The key that stands for all those of which this much of the score, and the label, are `kept`; `None` where it is
    /// none.
    fn key(self, kept: u64) -> Option<u32> {
        let order = (kept >> 1) << self.dropped();
        let key = u32::try_from(order << 1 | kept & 1).ok()?;
        (key >> 1 < f32::INFINITY.to_bits()).then_some(key)
    }
}

/// The sorted keys of one slice's foreground pixels, score and label (see [`mod@crate::metrics::score_run`]), packed.
///
/// For each distinct key, ascending: twice its difference to the one before (the first: to 0), plus 1 where it comes
/// more than once, and in that case how many times beyond two. All are numbers of seven bits a byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedRun {
    detail: RunDetail,
    keys: u32,
    #[serde(deserialize_with = "bytes::<_, MAX_BYTES>")]
    bytes: Vec<u8>,
}

impl PackedRun {
    /// Packs a run, which is sorted.
    pub fn new(run: &[u32], detail: RunDetail) -> Self {
        let mut bytes = Vec::with_capacity(2 * run.len());
        let mut before = 0;
        for tie in run.chunk_by(|a, b| detail.order(*a) == detail.order(*b)) {
            // Scores of one bin come in any order of their labels.
            let labelled = tie.iter().filter(|key| *key & 1 == 1).count();
            for (label, times) in [(0, tie.len() - labelled), (1, labelled)] {
                if times == 0 {
                    continue;
                }
                let kept = detail.order(tie[0]) << 1 | label;
                let repeated = times > 1;
                let difference = u64::from(kept.saturating_sub(before));
                varint::write(difference << 1 | u64::from(repeated), &mut bytes);
                if repeated {
                    varint::write(times as u64 - 2, &mut bytes);
                }
                before = kept;
            }
        }
        bytes.shrink_to_fit();
        Self {
            detail,
            keys: u32::try_from(run.len()).unwrap_or(u32::MAX),
            bytes,
        }
    }

    /// What [`Self::bytes`] of another place held: not looked at before [`Self::check`] has.
    pub const fn of_bytes(detail: RunDetail, keys: u32, bytes: Vec<u8>) -> Self {
        Self {
            detail,
            keys,
            bytes,
        }
    }

    /// The packed keys.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub const fn detail(&self) -> RunDetail {
        self.detail
    }

    /// How many keys: foreground pixels of the slice.
    pub const fn len(&self) -> usize {
        self.keys as usize
    }

    pub const fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// The keys in ascending order; where it is no run that [`Self::check`] lets pass, as far as it is one.
    pub fn unpack(&self) -> Vec<u32> {
        let mut run = Vec::new();
        self.unpack_into(&mut run);
        run
    }

    /// Appends the keys to `run`.
    pub fn unpack_into(&self, run: &mut Vec<u32>) {
        let wanted = run.len() + self.len();
        // No announced length makes room for more than the bytes can say or a slice can have.
        run.reserve(self.len().min(64 * self.bytes.len()));
        self.for_each_key(|key, times| {
            let times = times.min((wanted - run.len()) as u64);
            run.extend(std::iter::repeat_n(key, times as usize));
        });
    }

    /// Hands over each distinct key and how many times it comes.
    fn for_each_key(&self, mut visit: impl FnMut(u32, u64)) -> Option<()> {
        let mut rest = self.bytes.as_slice();
        let mut kept = 0_u64;
        while !rest.is_empty() {
            let word = varint::read(&mut rest)?;
            kept = kept.checked_add(word >> 1)?;
            let times = match word & 1 {
                0 => 1,
                _ => varint::read(&mut rest)?.checked_add(2)?,
            };
            visit(self.detail.key(kept)?, times);
        }
        Some(())
    }

    /// How many keys have a label, if this is a run of at most `pixels` keys that was packed as `detail`.
    pub fn check(&self, detail: RunDetail, pixels: usize) -> Result<u64, String> {
        let broken = || format!("a score run of {} keys that is none", self.keys);
        if self.detail != detail || self.len() > pixels {
            return Err(broken());
        }
        let (mut keys, mut labelled) = (0_u64, 0_u64);
        let mut before = None;
        let mut ascending = true;
        let read = self.for_each_key(|key, times| {
            ascending &= before.replace(key).is_none_or(|before| before < key);
            keys = keys.saturating_add(times);
            labelled = labelled.saturating_add(times * u64::from(key & 1));
        });
        if read.is_none() || !ascending || keys != u64::from(self.keys) {
            return Err(broken());
        }
        Ok(labelled)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::histogram_ap::ScoreHistogram;
    use super::super::score_run::{is_score_run, score_run};
    use super::*;

    fn broken(bytes: &[u8], keys: u32) -> bool {
        let run = PackedRun {
            detail: RunDetail::Exact,
            keys,
            bytes: bytes.to_vec(),
        };
        // Whatever it is, reading it ends.
        assert!(run.unpack().len() <= keys as usize);
        run.check(RunDetail::Exact, 100).is_err()
    }

    #[test]
    fn what_is_no_run_is_refused() {
        assert!(!broken(&[], 0));
        assert!(!broken(&[2, 4], 2));
        assert!(broken(&[2, 4], 1), "more keys than announced");
        assert!(broken(&[2, 4], 3), "fewer");
        assert!(broken(&[2, 0], 2), "one key twice, not said so");
        assert!(broken(&[3], 2), "cut off");
        assert!(broken(&[0x80], 1));
        assert!(broken(&[3, 99], 101), "more than pixels");
        assert!(broken(
            &[3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            2
        ));
        assert!(broken(&[0xff; 40], 2));
        // A key of the score infinity.
        let infinity = PackedRun::new(&[f32::INFINITY.to_bits() << 1], RunDetail::Exact);
        assert!(broken(&infinity.bytes, 1));
    }

    #[test]
    fn equal_scores_take_two_bytes() {
        let run = score_run(&[0.5; 4_000], &[0; 4_000], None).unwrap();
        let packed = PackedRun::new(&run, RunDetail::Exact);
        assert!(packed.bytes.len() <= 7, "{}", packed.bytes.len());
        assert_eq!(packed.unpack(), run);
    }

    proptest! {
        #[test]
        fn a_run_comes_back_and_a_histogram_keeps_its_bins(
            pixels in prop::collection::vec((0.0_f32..2.0, 0_u8..2), 0..300),
            coarse in any::<bool>(),
        ) {
            // Some values more than once.
            let round = |score: f32| if coarse { (score * 8.0).round() / 8.0 } else { score };
            let (scores, labels): (Vec<f32>, Vec<u8>) =
                pixels.iter().map(|(score, label)| (round(*score), *label)).unzip();
            let run = score_run(&scores, &labels, None).unwrap();
            let labelled: u64 = labels.iter().map(|label| u64::from(*label)).sum();

            let exact = PackedRun::new(&run, RunDetail::Exact);
            prop_assert_eq!(exact.unpack(), run.clone());
            prop_assert_eq!(exact.check(RunDetail::Exact, 300), Ok(labelled));
            prop_assert!(exact.check(RunDetail::Histogram, 300).is_err());

            let rounded = PackedRun::new(&run, RunDetail::Histogram);
            prop_assert_eq!(rounded.check(RunDetail::Histogram, 300), Ok(labelled));
            let keys = rounded.unpack();
            prop_assert!(is_score_run(&keys));
            let bins = |run: &[u32]| ScoreHistogram::from_run(run, Resolution::Fine);
            prop_assert_eq!(bins(&keys), bins(&run));
            prop_assert!(rounded.bytes.len() <= exact.bytes.len() + 1);
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200), keys in any::<u32>()) {
            let run = PackedRun { detail: RunDetail::Histogram, keys: keys % 1_000, bytes };
            let unpacked = run.unpack();
            prop_assert!(unpacked.len() <= run.len());
            if run.check(RunDetail::Histogram, 1_000).is_ok() {
                prop_assert!(is_score_run(&unpacked) && unpacked.len() == run.len());
            }
        }
    }
}
