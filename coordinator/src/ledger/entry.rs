//! One frame of the journal.

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{
    LONGEST_MILLIS, MAX_SHARD_RECORDS, MOST_EVALUATIONS, MOST_MILLIJOULES, NumericProfile, Stage,
    check_text, check_worker_name,
};
use anofpdm_common::queue::LeaseId;
use anofpdm_common::spec::Precision;
use anofpdm_common::wire::{Kind, Message, list};
use serde::{Deserialize, Serialize};

/// One frame of the journal. The order of variants and fields is its format: see `docs/formats.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// The run was created for this spec and these slices.
    Created {
        spec: Digest,
        data: Digest,
        /// Names the run in a queue: no two creations share it.
        run: String,
    },
    /// The numeric profile every worker of this run must have.
    Profile(NumericProfile),
    Weights {
        network: String,
        /// The weights file in the artifact store.
        weights: Digest,
    },
    Planned {
        stage: Stage,
        /// The plan in the artifact store.
        plan: Digest,
        records: u64,
    },
    /// A shard was delivered and its records verified.
    Delivered {
        stage: Stage,
        #[serde(deserialize_with = "list::<_, _, MAX_SHARD_RECORDS>")]
        records: Vec<(Digest, Digest)>,
        /// Evaluations of real slices; 0 for records taken from the cache.
        evaluations: u64,
        /// Evaluations spent on padding.
        padding: u64,
        /// Device time, milliseconds.
        device_millis: u64,
        /// Who delivered it; [`CACHE`] for records taken from the cache.
        worker: String,
        /// Under which lease: with the worker it names the delivery.
        lease: LeaseId,
        /// The shard was run to compare it with an earlier delivery.
        audit: bool,
    },
    /// A coordinator stopped in good order after this long.
    Stopped {
        /// Time it was at work, milliseconds.
        wall_millis: u64,
    },
    /// A worker gave wrong bits: what only it delivered does not count any more.
    Distrusted { worker: String, reason: String },
    /// What calibration and scoring compute in.
    Precision(ChosenPrecision),
    /// What the devices of the delivery before drew, where their driver tells.
    Energy {
        millijoules: u64,
        /// Device time in which they drew it, milliseconds.
        device_millis: u64,
    },
    /// Every record of the score stage was there, and when that was seen.
    Scored {
        /// Unix time.
        unix_seconds: u64,
    },
}

/// A number format, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenPrecision {
    /// Never `auto`.
    pub precision: Precision,
    pub reason: String,
    /// The trial's report in the artifact store, where there was a trial.
    pub report: Option<Digest>,
}

/// The "worker" that delivers records of the cache. No worker can be named so.
pub const CACHE: &str = "(cache)";

/// The last second of the year 9999: the latest that a date is written of.
const LATEST_SECONDS: u64 = 253_402_300_799;

/// Longest name of a network or a run, bytes.
const NAME_LIMIT: usize = 256;

/// Longest reason to distrust a worker or to compute in a format, bytes.
const REASON_LIMIT: usize = 1_024;

impl Message for Entry {
    const KIND: Kind = Kind::Journal;

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Created { run, .. } => check_text("a run's name", run, NAME_LIMIT),
            Self::Profile(profile) => profile.check(),
            Self::Weights { network, .. } => check_text("a network's name", network, NAME_LIMIT),
            Self::Planned { .. } => Ok(()),
            Self::Delivered {
                evaluations,
                padding,
                device_millis,
                worker,
                ..
            } => {
                check_deliverer(worker)?;
                if *evaluations > MOST_EVALUATIONS
                    || *padding > MOST_EVALUATIONS
                    || *device_millis > LONGEST_MILLIS
                {
                    return Err(format!(
                        "{evaluations} network evaluations, {padding} of padding, {device_millis} ms"
                    ));
                }
                Ok(())
            }
            Self::Stopped { wall_millis } if *wall_millis > LONGEST_MILLIS => {
                Err(format!("a coordinator at work for {wall_millis} ms"))
            }
            Self::Stopped { .. } => Ok(()),
            Self::Scored { unix_seconds } if *unix_seconds > LATEST_SECONDS => {
                Err(format!("scored {unix_seconds} seconds after 1970"))
            }
            Self::Scored { .. } => Ok(()),
            Self::Distrusted { worker, reason } => {
                check_deliverer(worker)?;
                check_text("a reason", reason, REASON_LIMIT)
            }
            Self::Precision(chosen) => {
                if chosen.precision == Precision::Auto {
                    return Err("a choice that leaves the precision open".to_owned());
                }
                check_text("a reason", &chosen.reason, REASON_LIMIT)
            }
            Self::Energy {
                millijoules,
                device_millis,
            } => {
                if *millijoules > MOST_MILLIJOULES || *device_millis > LONGEST_MILLIS {
                    return Err(format!("{millijoules} mJ in {device_millis} ms"));
                }
                Ok(())
            }
        }
    }
}

fn check_deliverer(worker: &str) -> Result<(), String> {
    if worker == CACHE {
        Ok(())
    } else {
        check_worker_name(worker)
    }
}
