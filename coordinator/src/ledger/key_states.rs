//! What is known of each record key: which record counts, who says so, and who was wrong.

use std::collections::HashMap;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::Stage;

/// A worker, by the order of its first delivery.
pub(super) type WorkerIndex = u32;

/// Stands for "at least two workers delivered these bits".
const SEVERAL: WorkerIndex = WorkerIndex::MAX;

#[derive(Debug, Clone)]
struct KnownKey {
    stage: Stage,
    state: KeyState,
}

#[derive(Debug, Clone)]
enum KeyState {
    /// One digest counts; the worker that delivered it, or [`SEVERAL`].
    Counted(Digest, WorkerIndex),
    /// None counts yet: deliveries disagree, or (an empty list) the only one is no longer trusted.
    Contested(Vec<(Digest, WorkerIndex)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The first of this key: it counts.
    First,
    /// Equal to the one that counts.
    Duplicate,
    /// Said already by the same worker of a contested key: nothing is decided.
    Repeated,
    /// Different from what was known: none counts.
    Conflict,
    /// Different from what two workers agree on: it does not count, and this worker is wrong.
    Outvoted,
    /// Agrees with another worker on a contested key: it counts, and these workers were wrong.
    Decided(Vec<WorkerIndex>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct KeyStates {
    known: HashMap<Digest, KnownKey>,
    contested: u64,
}

impl KeyStates {
    pub(super) fn deliver(
        &mut self,
        stage: Stage,
        key: Digest,
        record: Digest,
        worker: WorkerIndex,
    ) -> Delivery {
        let Some(known) = self.known.get_mut(&key) else {
            let state = KeyState::Counted(record, worker);
            self.known.insert(key, KnownKey { stage, state });
            return Delivery::First;
        };
        match &mut known.state {
            KeyState::Counted(counted, by) if *counted == record => {
                if *by != worker {
                    *by = SEVERAL;
                }
                Delivery::Duplicate
            }
            KeyState::Counted(_, SEVERAL) => Delivery::Outvoted,
            KeyState::Counted(counted, by) => {
                known.state = KeyState::Contested(vec![(*counted, *by), (record, worker)]);
                self.contested += 1;
                Delivery::Conflict
            }
            // Only workers that are not trusted any more have spoken: this is the first word that counts.
            KeyState::Contested(seen) if seen.is_empty() => {
                known.state = KeyState::Counted(record, worker);
                self.contested -= 1;
                Delivery::Decided(Vec::new())
            }
            KeyState::Contested(seen) => {
                if seen.iter().any(|(r, w)| *r == record && *w != worker) {
                    let mut wrong: Vec<_> = seen
                        .iter()
                        .filter(|(other, _)| *other != record)
                        .map(|(_, worker)| *worker)
                        .collect();
                    wrong.sort_unstable();
                    wrong.dedup();
                    known.state = KeyState::Counted(record, SEVERAL);
                    self.contested -= 1;
                    Delivery::Decided(wrong)
                } else if seen.contains(&(record, worker)) {
                    Delivery::Repeated
                } else {
                    seen.push((record, worker));
                    Delivery::Conflict
                }
            }
        }
    }

    /// Takes every record back that counts on the word of `worker` alone; returns their keys and stages.
    /// Trained weights stay: what was computed with them holds for them.
    pub(super) fn distrust(&mut self, worker: WorkerIndex) -> Vec<(Digest, Stage)> {
        let mut contested = Vec::new();
        for (key, known) in &mut self.known {
            match &known.state {
                KeyState::Counted(_, by) if *by == worker && known.stage != Stage::Train => {
                    known.state = KeyState::Contested(Vec::new());
                    contested.push((*key, known.stage));
                }
                _ => {}
            }
        }
        self.contested += contested.len() as u64;
        // The map has no order, and what follows from this list should not depend on chance.
        contested.sort_unstable_by_key(|(key, _)| *key);
        contested
    }

    pub(super) fn record(&self, key: Digest) -> Option<Digest> {
        match self.known.get(&key)?.state {
            KeyState::Counted(record, _) => Some(record),
            KeyState::Contested(_) => None,
        }
    }

    /// True when the key was delivered, whether or not a record counts.
    pub(super) fn is_known(&self, key: Digest) -> bool {
        self.known.contains_key(&key)
    }

    /// True when a record counts and only one worker has delivered it.
    pub(super) fn is_single(&self, key: Digest) -> bool {
        matches!(
            self.known.get(&key).map(|known| &known.state),
            Some(KeyState::Counted(_, by)) if *by != SEVERAL
        )
    }

    /// Who delivered the key, as far as it is remembered; with repetition.
    pub(super) fn deliverers(&self, key: Digest) -> Vec<WorkerIndex> {
        match self.known.get(&key).map(|known| &known.state) {
            Some(KeyState::Counted(_, by)) if *by != SEVERAL => vec![*by],
            Some(KeyState::Contested(seen)) => seen.iter().map(|(_, worker)| *worker).collect(),
            _ => Vec::new(),
        }
    }

    /// Keys of which no record counts although there are deliveries.
    pub(super) const fn contested(&self) -> u64 {
        self.contested
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Digest> + '_ {
        self.known.values().flat_map(|known| {
            let (counted, seen) = match &known.state {
                KeyState::Counted(record, _) => (Some(*record), &[][..]),
                KeyState::Contested(seen) => (None, seen.as_slice()),
            };
            counted
                .into_iter()
                .chain(seen.iter().map(|(record, _)| *record))
        })
    }
}
