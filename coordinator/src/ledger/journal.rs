//! The journal of a run, open for writing or just read.

use anofpdm_common::store::journal::{Journal, JournalError};

use super::{Applied, Entry, Ledger};
use crate::run_folder::RunFolder;

/// A journal and the state its entries add up to: the two never differ.
#[derive(Debug)]
pub struct RunJournal {
    journal: Journal<Entry>,
    ledger: Ledger,
}

impl RunJournal {
    /// Opens (or creates) the journal and adds its entries up. A torn last frame is cut.
    pub fn open(folder: &RunFolder) -> Result<Self, JournalError> {
        let mut ledger = Ledger::default();
        let recovered = Journal::open(&folder.journal(), |entry: Entry| {
            ledger.apply(&entry);
        })?;
        if let Some(torn) = &recovered.torn {
            tracing::warn!(
                offset = torn.offset,
                bytes = torn.bytes,
                "cut an unfinished entry off the journal"
            );
        }
        Ok(Self {
            journal: recovered.journal,
            ledger,
        })
    }

    /// Writes an entry (synced) and then counts it.
    pub fn append(&mut self, entry: &Entry) -> Result<Applied, JournalError> {
        self.journal.append(entry)?;
        Ok(self.ledger.apply(entry))
    }

    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

/// The state of a run whose journal is not to be touched.
pub fn read_ledger(folder: &RunFolder) -> Result<Ledger, JournalError> {
    let mut ledger = Ledger::default();
    Journal::<Entry>::read(&folder.journal(), |entry| {
        ledger.apply(&entry);
    })?;
    Ok(ledger)
}
