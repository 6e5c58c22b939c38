//! Journals. The first byte of the input says whether the rest stands behind a first line that fits, and whether it is the
//! bytes of the file or a list of payloads, a length byte before each, which get envelopes that fit.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use anofpdm_common::store::journal::Journal;
use anofpdm_common::wire::{Kind, enclose, encode};
use anofpdm_coordinator::ledger::Entry;
use libfuzzer_sys::fuzz_target;

const FIRST_LINE: &[u8] = b"anofpdm journal 3\n";

/// One file for each process, written again for each input.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("anofpdm-fuzz-journal-{}", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let mut file = Vec::new();
    if choice & 1 != 0 {
        file.extend_from_slice(FIRST_LINE);
    }
    if choice & 2 != 0 {
        let mut rest = rest;
        while let Some((length, more)) = rest.split_first() {
            let (payload, after) = more.split_at(more.len().min(usize::from(*length)));
            file.extend(enclose(Kind::Journal, payload));
            rest = after;
        }
    } else {
        file.extend_from_slice(rest);
    }
    std::fs::write(&*PATH, &file).expect("temporary file");

    let Some((first, torn)) = open() else {
        assert_eq!(std::fs::read(&*PATH).expect("temporary file"), file);
        return;
    };
    assert!(torn || first.len() <= file.len());
    assert_eq!(
        open(),
        Some((first, false)),
        "a journal that was opened once"
    );
});

/// The entries written anew, and whether a torn tail was cut off; none of a journal that is refused.
fn open() -> Option<(Vec<u8>, bool)> {
    let mut seen = Vec::new();
    let recovered = Journal::open(&PATH, |entry: Entry| {
        seen.extend(encode(&entry).expect("an entry that was read"));
    });
    recovered.ok().map(|journal| (seen, journal.torn.is_some()))
}
