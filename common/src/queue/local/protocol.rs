//! What worker and coordinator say to each other: one [`Request`], one [`Response`], in turn, each a
//! [`wire`](crate::wire) envelope of at most 64 KiB.
//!
//! The first request on a connection is [`Request::Register`] or, on the connection for takes,
//! [`Request::Attach`]; the worker is known from then on and later requests do not name it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Completion, WorkerInfo, check_text, check_worker_name};
use crate::queue::lease::{ERROR_TEXT_LIMIT, NOTE_LIMIT};
use crate::queue::lease::{ErrorClass, LeaseId, Progress, Renewal};
use crate::queue::rendezvous_store::{check_key, check_value};
use crate::queue::worker::Take;
use crate::wire::{Kind, Message};

/// The longest a take may wait; keeps a connection from being parked for ever.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A worker's question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// First on the main connection.
    Register(WorkerInfo),
    /// First on the connection for takes: the name of a registered worker.
    Attach(String),
    /// Work, within this time.
    Take(Duration),
    /// The lease goes on.
    Renew(LeaseId, Progress),
    Complete(LeaseId, Completion),
    Fail(LeaseId, ErrorClass, String),
    /// Unfinished, without blame.
    Release(LeaseId),
    /// The worker ends in good order.
    Leave,
    /// A value for the ranks of a generation.
    RendezvousSet(u64, String, Vec<u8>),
    /// The value of a generation under a key.
    RendezvousGet(u64, String),
}

impl Message for Request {
    const KIND: Kind = Kind::Request;

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Register(worker) => worker.check(),
            Self::Attach(name) => check_worker_name(name),
            Self::Take(wait) if *wait > LONGEST_WAIT => {
                Err(format!("a wait of {} s", wait.as_secs()))
            }
            Self::Renew(_, progress) => check_text("a note", &progress.note, NOTE_LIMIT),
            Self::Complete(_, completion) => completion.check(),
            Self::Fail(_, _, message) => check_length(message),
            Self::RendezvousSet(_, key, note) => check_value(key, note),
            Self::RendezvousGet(_, key) => check_key(key),
            Self::Take(_) | Self::Release(_) | Self::Leave => Ok(()),
        }
    }
}

/// Checks the length of an error message, which may have many lines.
fn check_length(message: &str) -> Result<(), String> {
    if message.len() > ERROR_TEXT_LIMIT {
        return Err(format!("an error message of {} bytes", message.len()));
    }
    Ok(())
}

/// The coordinator's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Register`].
    Registered,
    /// To [`Request::Register`] and [`Request::Attach`]: no, and why.
    Refused(String),
    /// To [`Request::Take`].
    Take(Take),
    /// To [`Request::Renew`].
    Renewal(Renewal),
    /// To everything else.
    Done,
    /// To [`Request::RendezvousGet`].
    RendezvousValue(Option<Vec<u8>>),
}

impl Message for Response {
    const KIND: Kind = Kind::Response;

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Take(Take::Leased(lease)) => lease.check(),
            Self::Refused(reason) | Self::Take(Take::Retired(reason)) => check_length(reason),
            Self::RendezvousValue(Some(note)) => check_value("note", note),
            Self::RendezvousValue(None)
            | Self::Registered
            | Self::Take(_)
            | Self::Renewal(_)
            | Self::Done => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;
    use crate::plan::{
        BatchRun, GangRank, Job, MAX_SHARD_CELLS, MAX_SHARD_RECORDS, NumericProfile, Stage, Task,
    };
    use crate::queue::worker::{LONGEST_TTL, Lease};
    use crate::wire::{self, WireError};

    const LARGEST_ID: LeaseId = LeaseId {
        shard: u64::MAX,
        epoch: u64::MAX,
    };

    fn job(first: u32, count: u32, cells: Vec<u16>) -> Job {
        Job {
            stage: Stage::Score,
            plan: Digest::of(b"plan"),
            task: Task::Batches(BatchRun {
                first,
                count,
                cells,
            }),
        }
    }

    fn lease(job: Job) -> Response {
        Response::Take(Take::Leased(Lease {
            id: LARGEST_ID,
            ttl: LONGEST_TTL,
            job,
        }))
    }

    fn worker() -> WorkerInfo {
        WorkerInfo {
            worker: "w".repeat(100),
            host: "h".repeat(128),
            pid: u32::MAX,
            profile: NumericProfile {
                device: "d".repeat(128),
                libtorch: "l".repeat(64),
                cpu_capability: "c".repeat(64),
                threads: 65_536,
            },
            memory_bytes: u64::MAX,
            version: "v".repeat(64),
            metrics: None,
        }
    }

    fn completion() -> Completion {
        Completion {
            manifest: Digest::of(b"manifest"),
            evaluations: 1 << 48,
            padding: 1 << 48,
            device_millis: 366 * 24 * 60 * 60 * 1000,
            millijoules: None,
        }
    }

    fn noted(note: &str) -> Request {
        let progress = Progress {
            ticks: u64::MAX,
            note: note.to_owned(),
        };
        Request::Renew(LARGEST_ID, progress)
    }

    /// Encoded, and read back to the same.
    fn size<T: Message + PartialEq + std::fmt::Debug>(message: &T) -> usize {
        let bytes = wire::encode(message).unwrap();
        assert_eq!(&wire::decode::<T>(&bytes).unwrap(), message);
        bytes.len()
    }

    #[test]
    fn the_largest_messages_are_under_a_kibibyte_but_for_error_texts() {
        let cells: Vec<u16> = (u16::MAX - 255..=u16::MAX).collect();
        assert_eq!(cells.len(), MAX_SHARD_CELLS);
        let count = (MAX_SHARD_RECORDS / MAX_SHARD_CELLS) as u32;
        let responses = [
            lease(job(u32::MAX - count, count, cells)),
            Response::Registered,
            Response::Take(Take::Finished),
            Response::Renewal(Renewal::Held { cancel: true }),
            Response::Done,
        ];
        for response in &responses {
            assert!(size(response) < 1024, "{response:?}");
        }
        let requests = [
            Request::Register(worker()),
            Request::Attach("w".repeat(100)),
            Request::Take(LONGEST_WAIT),
            noted(&"n".repeat(NOTE_LIMIT)),
            Request::Complete(LARGEST_ID, completion()),
            Request::Release(LARGEST_ID),
            Request::Leave,
        ];
        for request in &requests {
            assert!(size(request) < 1024, "{request:?}");
        }
        let text = "x".repeat(ERROR_TEXT_LIMIT);
        let failure = Request::Fail(LARGEST_ID, ErrorClass::Fatal, text.clone());
        let refusals = [
            Response::Refused(text.clone()),
            Response::Take(Take::Retired(text)),
        ];
        for size in refusals.iter().map(size).chain([size(&failure)]) {
            assert!(size <= ERROR_TEXT_LIMIT + 64, "{size}");
        }
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        fn refused<T: Message + std::fmt::Debug>(message: &T) {
            let outcome = wire::encode(message);
            assert!(
                matches!(outcome, Err(WireError::Range { .. })),
                "{message:?}: {outcome:?}"
            );
        }
        for bad in [
            job(0, 0, vec![1]),
            job(u32::MAX, 1, vec![1]),
            job(0, 1, vec![]),
            job(0, 1, vec![2, 1]),
            job(0, 1, vec![1, 1]),
            job(0, 1, (0..=MAX_SHARD_CELLS as u16).collect()),
            job(0, 63, (0..256).collect()),
            Job {
                stage: Stage::Train,
                ..job(0, 1, vec![1])
            },
            Job {
                task: Task::Train(GangRank::alone(1)),
                ..job(0, 1, vec![1])
            },
        ] {
            refused(&lease(bad));
        }
        for ttl in [Duration::ZERO, LONGEST_TTL + Duration::from_nanos(1)] {
            let id = LARGEST_ID;
            let job = job(0, 1, vec![1]);
            refused(&Response::Take(Take::Leased(Lease { id, ttl, job })));
        }
        let text = "x".repeat(ERROR_TEXT_LIMIT + 1);
        refused(&Response::Refused(text.clone()));
        refused(&Response::Take(Take::Retired(text.clone())));
        refused(&Request::Fail(LARGEST_ID, ErrorClass::Fatal, text));
        refused(&Request::Take(LONGEST_WAIT + Duration::from_nanos(1)));
        refused(&noted(&"n".repeat(NOTE_LIMIT + 1)));
        refused(&noted("up\u{1b}[2J"));
        for gang in [(0, 0), (1, 1), (0, 65)] {
            let (rank, world) = gang;
            refused(&lease(Job {
                stage: Stage::Train,
                task: Task::Train(GangRank {
                    generation: 1,
                    rank,
                    world,
                }),
                ..job(0, 1, vec![1])
            }));
        }
        refused(&Request::RendezvousSet(1, String::new(), Vec::new()));
        refused(&Request::RendezvousSet(1, "k".to_owned(), vec![0; 16_385]));
        refused(&Request::RendezvousGet(1, "k".repeat(257)));
        refused(&Response::RendezvousValue(Some(vec![0; 16_385])));
        for name in ["", "a b", "a/b", "a:b", "a\n", "\u{e9}", &"w".repeat(101)] {
            refused(&Request::Attach(name.to_owned()));
            refused(&Request::Register(WorkerInfo {
                worker: name.to_owned(),
                ..worker()
            }));
        }
        let devices = ["d".repeat(129), "gpu\u{7}".to_owned()];
        let profiles = devices
            .map(|device| NumericProfile {
                device,
                ..worker().profile
            })
            .into_iter()
            .chain([0, 65_537].map(|threads| NumericProfile {
                threads,
                ..worker().profile
            }));
        for profile in profiles {
            refused(&Request::Register(WorkerInfo {
                profile,
                ..worker()
            }));
        }
        for bad in [
            Completion {
                evaluations: (1 << 48) + 1,
                ..completion()
            },
            Completion {
                padding: u64::MAX,
                ..completion()
            },
            Completion {
                device_millis: u64::MAX,
                ..completion()
            },
            Completion {
                millijoules: Some(u64::MAX),
                ..completion()
            },
        ] {
            refused(&Request::Complete(LARGEST_ID, bad));
        }
    }

    #[test]
    fn golden_bytes_of_a_renewal() {
        let id = LeaseId { shard: 5, epoch: 6 };
        let progress = Progress {
            ticks: 7,
            note: "on".to_owned(),
        };
        let bytes = wire::encode(&Request::Renew(id, progress)).unwrap();
        let payload = [
            3_u8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
            2, 0, 0, 0, 0, 0, 0, 0, b'o', b'n',
        ];
        assert_eq!(wire::open(Kind::Request, &bytes).unwrap(), payload);
    }
}
