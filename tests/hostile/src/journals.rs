//! A storm of mutated journals.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::store::journal::{Journal, JournalError};
use anofpdm_common::wire::{self, Kind, most_memory};
use anofpdm_coordinator::ledger::Entry;
use serde::Serialize;

use crate::measured;
use crate::mutation::{below, mutate, seal};
use crate::samples::entries;

/// First line of a journal; `docs/formats.md` has it.
const FIRST_LINE: &[u8] = b"anofpdm journal 4\n";

/// Most entries of a journal before it is mutated.
const MOST_ENTRIES: usize = 12;

/// Most memory that reading a journal may take, whatever its length: two entries at the limit, one of them read.
pub const MOST_MEMORY: usize = most_memory(Kind::Journal.limit()) + 4 * Kind::Journal.limit();

/// What came of a storm.
#[derive(Debug, Clone, Default, Serialize)]
pub struct JournalTally {
    /// Journals read to their end.
    pub whole: u64,
    /// Journals whose torn tail was cut off.
    pub cut: u64,
    /// Journals that are corrupt, of another version, or hold what cannot be read.
    pub refused: u64,
    pub entries: u64,
    /// Most memory that one took, bytes.
    pub most_memory: usize,
    /// What must not be, with the number of the journal.
    pub wrong: Vec<String>,
}

/// Reads `number` mutated journals, each written to the same file in `folder`.
pub fn storm(
    seed: u64,
    number: u64,
    folder: &Path,
    mut go_on: impl FnMut(u64) -> bool,
) -> JournalTally {
    let path = folder.join("journal");
    let envelopes: Vec<Vec<u8>> = entries()
        .iter()
        .map(|entry| wire::encode(entry).unwrap_or_else(|e| panic!("an entry of ours: {e}")))
        .collect();
    let mut tally = JournalTally::default();
    for journal in 0..number {
        if !go_on(journal) {
            break;
        }
        let bytes = mutant(
            &envelopes,
            &mut Stream::new(seed, Domain::Mutation, journal, 1),
        );
        std::fs::write(&path, &bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let read = catch_unwind(AssertUnwindSafe(|| measured(|| read(&path))));
        let wrong = match read {
            Err(_) => Some("a panic".to_owned()),
            Ok((outcome, memory)) => {
                tally.most_memory = tally.most_memory.max(memory);
                let wrong = (memory > MOST_MEMORY).then(|| format!("{memory} bytes of memory"));
                wrong.or_else(|| tally.add(outcome, &path, &bytes).err())
            }
        };
        if let Some(wrong) = wrong {
            tally.wrong.push(format!("journal {journal}: {wrong}"));
        }
    }
    tally
}

/// A journal to which something was done: to one entry, which may be sealed again, and perhaps to the whole file.
fn mutant(envelopes: &[Vec<u8>], stream: &mut Stream) -> Vec<u8> {
    let mut chosen: Vec<Vec<u8>> = (0..below(stream, MOST_ENTRIES))
        .map(|_| envelopes[below(stream, envelopes.len())].clone())
        .collect();
    let at = below(stream, chosen.len());
    let other = &envelopes[below(stream, envelopes.len())];
    if let Some(one) = chosen.get_mut(at)
        && below(stream, 4) != 0
    {
        mutate(one, other, stream);
        if below(stream, 2) == 0 {
            seal(one, Kind::Journal);
        }
    }
    let mut bytes = FIRST_LINE.to_vec();
    bytes.extend(chosen.concat());
    if below(stream, 3) == 0 {
        mutate(&mut bytes, other, stream);
    }
    bytes
}

/// The entries written anew, and whether a torn tail was cut off.
type Outcome = Result<(Vec<Vec<u8>>, bool), JournalError>;

/// Opens the journal as a coordinator does.
fn read(path: &Path) -> Outcome {
    let mut seen = Vec::new();
    let recovered = Journal::open(path, |entry: Entry| seen.extend(wire::encode(&entry)))?;
    Ok((seen, recovered.torn.is_some()))
}

impl JournalTally {
    fn add(&mut self, outcome: Outcome, path: &Path, bytes: &[u8]) -> Result<(), String> {
        let left = std::fs::read(path).map_err(|error| error.to_string())?;
        let (seen, torn) = match outcome {
            Ok(read) => read,
            Err(JournalError::Disk(error)) => return Err(error.to_string()),
            Err(_) => {
                self.refused += 1;
                return match left == bytes {
                    true => Ok(()),
                    false => Err("a journal that was refused is not as it was".to_owned()),
                };
            }
        };
        match torn {
            true => self.cut += 1,
            false => self.whole += 1,
        }
        self.entries += seen.len() as u64;
        match read(path) {
            Ok((again, false)) if seen == again => Ok(()),
            Ok(_) => Err("another journal when opened again".to_owned()),
            Err(error) => Err(format!("opened once, and then: {error}")),
        }
    }
}
