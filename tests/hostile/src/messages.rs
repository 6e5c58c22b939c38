//! A storm of mutated messages.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anofpdm_common::plan::{Job, Manifest};
use anofpdm_common::queue::local::{Request, Response};
use anofpdm_common::queue::redis::{DeliveredClaim, Hello};
use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::record::Record;
use anofpdm_common::wire::{self, Kind, Message, WireError, most_memory};
use anofpdm_coordinator::ledger::Entry;
use serde::Serialize;

use crate::measured;
use crate::mutation::{below, mutate, seal};
use crate::samples::{Sample, large_samples, samples};

/// One in so many messages is made from a large one.
const LARGE_EVERY: usize = 4_096;

/// Reads a message of one kind.
type Reader = fn(&[u8]) -> Reading;

/// Every kind, and how it is read.
const READERS: [(Kind, Reader); 8] = [
    (Kind::Request, read::<Request>),
    (Kind::Response, read::<Response>),
    (Kind::Journal, read::<Entry>),
    (Kind::Record, read::<Record>),
    (Kind::Manifest, read::<Manifest>),
    (Kind::Job, read::<Job>),
    (Kind::Claim, read::<DeliveredClaim>),
    (Kind::Hello, read::<Hello>),
];

/// What came of reading one message.
struct Reading {
    outcome: &'static str,
    memory: usize,
    /// What must not be.
    wrong: Option<String>,
}

/// What came of all messages of one kind.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KindTally {
    pub messages: u64,
    /// How many ended how: `value`, or which error.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Most memory that one took, bytes.
    pub most_memory: usize,
    /// Most memory that one took, as a share of what its length allows.
    pub of_the_bound: f64,
}

/// What came of a storm.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MessageTally {
    pub kinds: BTreeMap<String, KindTally>,
    /// What must not be: panics, too much memory, values that cannot be written or differ when read again. With the
    /// number of the message, from which it can be made again.
    pub wrong: Vec<String>,
}

/// Reads `number` mutated messages, or fewer when `go_on` says so.
pub fn storm(seed: u64, number: u64, mut go_on: impl FnMut(u64) -> bool) -> MessageTally {
    let (corpus, large) = (samples(), large_samples());
    let mut tally = MessageTally::default();
    for message in 0..number {
        if !go_on(message) {
            break;
        }
        let mut stream = Stream::new(seed, Domain::Mutation, message, 0);
        let sample = match below(&mut stream, LARGE_EVERY) {
            0 => &large[below(&mut stream, large.len())],
            _ => &corpus[below(&mut stream, corpus.len())],
        };
        let other = &corpus[below(&mut stream, corpus.len())];
        let (reader, bytes) = mutant(sample, other, &mut stream);
        let (kind, read) = READERS[reader];
        let reading = catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        tally.add(message, kind, bytes.len(), reading.ok());
    }
    tally
}

/// A mutated message and who is to read it: mostly one who expects its kind.
fn mutant(sample: &Sample, other: &Sample, stream: &mut Stream) -> (usize, Vec<u8>) {
    let own = READERS.iter().position(|(kind, _)| *kind == sample.kind);
    let reader = match (below(stream, 8), own) {
        (1.., Some(own)) => own,
        _ => below(stream, READERS.len()),
    };
    let mut bytes = sample.bytes.clone();
    mutate(&mut bytes, &other.bytes, stream);
    // Without this nearly all would end at the checksum.
    if below(stream, 4) != 0 {
        seal(&mut bytes, READERS[reader].0);
    }
    (reader, bytes)
}

fn read<T: Message>(bytes: &[u8]) -> Reading {
    let (decoded, memory) = measured(|| wire::decode::<T>(bytes));
    let mut wrong = (memory > most_memory(bytes.len()))
        .then(|| format!("{memory} bytes of memory for {} bytes", bytes.len()));
    let outcome = match &decoded {
        Ok(value) => {
            wrong = wrong.or_else(|| comes_back(value).err());
            "value"
        }
        Err(error) => name(error),
    };
    Reading {
        outcome,
        memory,
        wrong,
    }
}

/// Checks that a value that was read can be written, and is the same when read again. Bytes are compared: NaN differs from
/// itself.
fn comes_back<T: Message>(value: &T) -> Result<(), String> {
    let written = wire::encode(value).map_err(|error| format!("cannot be written: {error}"))?;
    let again: T =
        wire::decode(&written).map_err(|error| format!("cannot be read again: {error}"))?;
    match wire::encode(&again) {
        Ok(bytes) if bytes == written => Ok(()),
        _ => Err("differs when read again".to_owned()),
    }
}

const fn name(error: &WireError) -> &'static str {
    match error {
        WireError::Truncated { .. } => "truncated",
        WireError::TrailingBytes { .. } => "trailing bytes",
        WireError::Magic(_) => "magic",
        WireError::Version { .. } => "version",
        WireError::Kind { .. } => "kind",
        WireError::TooLarge { .. } => "too large",
        WireError::Checksum(_) => "checksum",
        WireError::Payload { .. } => "payload",
        WireError::Range { .. } => "range",
        WireError::Unwritable { .. } => "unwritable",
    }
}

impl MessageTally {
    fn add(&mut self, message: u64, kind: Kind, bytes: usize, reading: Option<Reading>) {
        let reading = reading.unwrap_or_else(|| Reading {
            outcome: "panic",
            memory: 0,
            wrong: Some("a panic".to_owned()),
        });
        let tally = self.kinds.entry(kind.to_string()).or_default();
        tally.messages += 1;
        *tally.outcomes.entry(reading.outcome).or_default() += 1;
        tally.most_memory = tally.most_memory.max(reading.memory);
        #[allow(clippy::cast_precision_loss)]
        let share = reading.memory as f64 / most_memory(bytes) as f64;
        tally.of_the_bound = tally.of_the_bound.max(share);
        if let Some(wrong) = reading.wrong {
            self.wrong
                .push(format!("message {message}, a {kind}: {wrong}"));
        }
    }

    pub fn messages(&self) -> u64 {
        self.kinds.values().map(|tally| tally.messages).sum()
    }

    /// Messages of all kinds that ended so.
    pub fn outcomes(&self, outcome: &str) -> u64 {
        let kinds = self.kinds.values();
        kinds.filter_map(|tally| tally.outcomes.get(outcome)).sum()
    }
}
