//! The fingerprint of a run: one digest over sorted record keys and record digests, of the records that numbers are made
//! of. What is kept for figures is left out: which slices are looked at moves no number.
//!
//! Keys hold everything that decides a record's bits, the weights among them; so for given checkpoints and
//! one numeric profile it is the same for one worker, for eight, and for eight of which three were killed.

use anofpdm_common::ids::Digest;

use super::Finished;

pub(super) fn fingerprint<'a>(stages: impl IntoIterator<Item = &'a Finished>) -> Digest {
    let mut records: Vec<(Digest, Digest)> =
        stages.into_iter().flat_map(Finished::counted).collect();
    records.sort_unstable();
    records.dedup();
    let mut hasher = blake3::Hasher::new();
    for (key, record) in records {
        hasher.update(key.as_bytes());
        hasher.update(record.as_bytes());
    }
    hasher.finalize().into()
}
