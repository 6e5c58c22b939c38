//! Mutated messages and journals: a hundred thousand here, as many as wanted with `make hostile`. One test, so that nothing
//! else takes memory meanwhile.

#![allow(clippy::unwrap_used)]

use anofpdm_hostile::{is_counting, journals, messages};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[test]
fn hostile_bytes_are_values_or_errors_within_their_memory() {
    assert!(is_counting());
    let tally = messages::storm(7, 100_000, |_| true);
    assert!(tally.wrong.is_empty(), "{:?}", tally.wrong);
    assert_eq!(tally.messages(), 100_000);
    // A storm that reaches nothing shows nothing: each kind is read to values, and stopped at each gate.
    assert_eq!(tally.kinds.len(), 8);
    for (kind, tally) in &tally.kinds {
        assert!(tally.outcomes.get("value") > Some(&0), "{kind}: {tally:?}");
        assert!(
            tally.outcomes.get("payload") > Some(&0),
            "{kind}: {tally:?}"
        );
    }
    for gate in [
        "truncated",
        "trailing bytes",
        "magic",
        "version",
        "kind",
        "too large",
        "checksum",
        "payload",
        "range",
    ] {
        assert!(tally.outcomes(gate) > 0, "{gate}");
    }

    let folder = tempfile::tempdir().unwrap();
    let tally = journals::storm(7, 1_000, folder.path(), |_| true);
    assert!(tally.wrong.is_empty(), "{:?}", tally.wrong);
    assert!(
        tally.whole > 100 && tally.cut > 100 && tally.refused > 100,
        "{tally:?}"
    );
}
