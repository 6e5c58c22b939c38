//! What the journal says of a run: the entries, and the state they add up to.
//!
//! *Finished means its frame is in the journal.* The first record delivered for a key counts, an equal one is a
//! duplicate, a different one is a conflict: neither counts until a third delivery agrees with one of
//! them (DESIGN 9).

pub mod journal;

use std::collections::{BTreeMap, HashMap};

use anofpdm_common::ids::Digest;
use anofpdm_common::wire::{Kind, Message};
use anofpdm_common::work::{NumericProfile, Stage};
use serde::{Deserialize, Serialize};

/// One frame of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// The run was created for this spec and these slices.
    Created {
        /// Digest of the normalised spec.
        spec: Digest,
        /// Digest of the slice store's content.
        data: Digest,
    },
    /// The numeric profile every worker of this run must have.
    Profile(NumericProfile),
    /// A network's weights are known.
    Weights {
        /// Name in the spec.
        network: String,
        /// The weights file in the artifact store.
        weights: Digest,
    },
    /// The work of a stage is known.
    Planned {
        /// Which stage.
        stage: Stage,
        /// The plan in the artifact store.
        plan: Digest,
        /// Records the stage is made of.
        records: u64,
    },
    /// A shard was delivered and its records verified.
    Delivered {
        /// Stage of the shard.
        stage: Stage,
        /// Record keys and record digests.
        records: Vec<(Digest, Digest)>,
        /// Evaluations of real slices; 0 for records taken from the cache.
        evaluations: u64,
        /// Evaluations spent on padding.
        padding: u64,
        /// Device time, milliseconds.
        device_millis: u64,
    },
    /// A coordinator stopped in good order after this long.
    Stopped {
        /// Time it was at work, milliseconds.
        wall_millis: u64,
    },
}

impl Message for Entry {
    const KIND: Kind = Kind::Journal;
}

/// What is known of one record key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    /// One digest counts.
    Counted(Digest),
    /// Deliveries disagree; none counts yet.
    Contested(Vec<Digest>),
}

/// Work done in one stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageCost {
    /// Evaluations of real slices.
    pub evaluations: u64,
    /// Evaluations spent on padding.
    pub padding: u64,
    /// Device time, milliseconds.
    pub device_millis: u64,
}

/// The state of a run: its entries, added up.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Spec and data the run belongs to.
    pub created: Option<(Digest, Digest)>,
    /// Pinned numeric profile.
    pub profile: Option<NumericProfile>,
    /// Weights by network name.
    pub weights: BTreeMap<String, Digest>,
    /// Plan and number of records by stage.
    pub planned: BTreeMap<Stage, (Digest, u64)>,
    /// Records that count, by stage.
    pub finished: BTreeMap<Stage, u64>,
    /// Cost by stage.
    pub cost: BTreeMap<Stage, StageCost>,
    /// Keys delivered again with equal bits.
    pub duplicates: Vec<Digest>,
    /// Keys delivered with different bits, once a delivery.
    pub conflicts: Vec<Digest>,
    /// Time coordinators were at work, milliseconds.
    pub wall_millis: u64,
    claims: HashMap<Digest, Claim>,
}

impl Ledger {
    /// Adds one entry.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Created { spec, data } => self.created = Some((*spec, *data)),
            Entry::Profile(profile) => self.profile = Some(profile.clone()),
            Entry::Weights { network, weights } => {
                self.weights.insert(network.clone(), *weights);
            }
            Entry::Planned {
                stage,
                plan,
                records,
            } => {
                self.planned.insert(*stage, (*plan, *records));
            }
            Entry::Delivered {
                stage,
                records,
                evaluations,
                padding,
                device_millis,
            } => {
                let cost = self.cost.entry(*stage).or_default();
                cost.evaluations += evaluations;
                cost.padding += padding;
                cost.device_millis += device_millis;
                for (key, record) in records {
                    let counted = self.record(*key).is_some();
                    self.claim(*key, *record);
                    let counts = self.record(*key).is_some();
                    let finished = self.finished.entry(*stage).or_default();
                    match (counted, counts) {
                        (false, true) => *finished += 1,
                        (true, false) => *finished = finished.saturating_sub(1),
                        _ => {}
                    }
                }
            }
            Entry::Stopped { wall_millis } => self.wall_millis += wall_millis,
        }
    }

    fn claim(&mut self, key: Digest, record: Digest) {
        let Some(claim) = self.claims.get_mut(&key) else {
            self.claims.insert(key, Claim::Counted(record));
            return;
        };
        match claim {
            Claim::Counted(counted) if *counted == record => self.duplicates.push(key),
            Claim::Counted(counted) => {
                *claim = Claim::Contested(vec![*counted, record]);
                self.conflicts.push(key);
            }
            Claim::Contested(seen) if seen.contains(&record) => *claim = Claim::Counted(record),
            Claim::Contested(seen) => {
                seen.push(record);
                self.conflicts.push(key);
            }
        }
    }

    /// The record that counts for `key`.
    pub fn record(&self, key: Digest) -> Option<Digest> {
        match self.claims.get(&key) {
            Some(Claim::Counted(record)) => Some(*record),
            _ => None,
        }
    }

    /// Every artifact a counted or contested key points at, for `gc`.
    pub fn referenced(&self) -> impl Iterator<Item = Digest> + '_ {
        self.claims.values().flat_map(|claim| match claim {
            Claim::Counted(record) => std::slice::from_ref(record).iter().copied(),
            Claim::Contested(seen) => seen.iter().copied(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(key: &[u8], record: &[u8]) -> Entry {
        Entry::Delivered {
            stage: Stage::Score,
            records: vec![(Digest::of(key), Digest::of(record))],
            evaluations: 2,
            padding: 1,
            device_millis: 3,
        }
    }

    #[test]
    fn first_counts_equal_is_a_duplicate_different_waits_for_a_third() {
        let mut ledger = Ledger::default();
        let key = Digest::of(b"key");
        ledger.apply(&delivered(b"key", b"a"));
        assert_eq!(ledger.record(key), Some(Digest::of(b"a")));
        ledger.apply(&delivered(b"key", b"a"));
        assert_eq!(ledger.duplicates, [key]);
        ledger.apply(&delivered(b"key", b"b"));
        assert_eq!(ledger.record(key), None, "neither counts");
        assert_eq!(ledger.conflicts, [key]);
        ledger.apply(&delivered(b"key", b"a"));
        assert_eq!(ledger.record(key), Some(Digest::of(b"a")));
        assert_eq!(ledger.cost[&Stage::Score].evaluations, 8);
    }
}
