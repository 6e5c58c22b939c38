//! Before anything is planned on a store: all of it against its manifest, on all cores, with a word on how far that is.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anofpdm_common::store::slices::{SliceStore, StoreError};

use crate::run::signals::Interrupted;

/// Pause between two words: a store that takes less says nothing.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// Asked now and then; an error says why to stop.
pub type GoOn<'a> = dyn Fn() -> Result<(), Interrupted> + Sync + 'a;

/// Verifies every subject of `store`; stops once `go_on` says so.
pub fn verify(store: &SliceStore, go_on: &GoOn<'_>) -> Result<(), StoreError> {
    let subjects: Vec<&str> = store
        .manifest()
        .subjects
        .iter()
        .map(|subject| subject.id.as_str())
        .collect();
    let total = store.bytes_of(&subjects);
    let read = AtomicU64::new(0);
    let said = Mutex::new(Instant::now());
    store.verify(&subjects, &|bytes| {
        let read = read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Whoever finds it taken leaves the word to the other.
        if let Ok(mut said) = said.try_lock()
            && said.elapsed() >= SAY_EVERY
        {
            *said = Instant::now();
            // Of a store in an object store only what is here already has a known length.
            let of = match total >= read {
                true => format!(" of {}", indicatif::DecimalBytes(total)),
                false => String::new(),
            };
            tracing::info!(
                "{}: {}{of} compared with the manifest",
                store.location(),
                indicatif::DecimalBytes(read)
            );
        }
        if go_on().is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
}
