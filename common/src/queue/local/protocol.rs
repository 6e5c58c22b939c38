//! What worker and coordinator say to each other: one [`Request`], one [`Response`], in turn, each a
//! [`wire`](crate::wire) envelope of at most 64 KiB.
//!
//! The first request on a connection is [`Request::Register`] or, on the connection for takes,
//! [`Request::Attach`]; the worker is known from then on and later requests do not name it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::{ErrorClass, LeaseId, Progress, Renewal, Take};
use crate::wire::{Kind, Message};
use crate::work::{Completion, WorkerInfo};

/// The longest a take may wait; keeps a connection from being parked for ever.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A worker's question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Request {
    /// First on the main connection.
    Register(WorkerInfo),
    /// First on the connection for takes: the name of a registered worker.
    Attach(String),
    /// Work, within this time.
    Take(Duration),
    /// The lease goes on.
    Renew(LeaseId, Progress),
    /// A result.
    Complete(LeaseId, Completion),
    /// An error.
    Fail(LeaseId, ErrorClass, String),
    /// Unfinished, without blame.
    HandBack(LeaseId),
    /// The worker ends in good order.
    Leave,
}

impl Message for Request {
    const KIND: Kind = Kind::Request;
}

/// The coordinator's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Response {
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
}

impl Message for Response {
    const KIND: Kind = Kind::Response;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;
    use crate::queue::Lease;
    use crate::queue::lease::ERROR_TEXT_LIMIT;
    use crate::wire;
    use crate::work::{Job, MAX_SHARD_CELLS, Stage, Task};

    #[test]
    fn the_largest_job_is_under_a_kibibyte() {
        let cells = (0..MAX_SHARD_CELLS).map(|cell| cell as u16).collect();
        let job = Job {
            stage: Stage::Score,
            plan: Digest::of(b"plan"),
            task: Task::Batches {
                first: u32::MAX,
                count: u32::MAX,
                cells,
            },
        };
        let id = LeaseId {
            shard: u64::MAX,
            epoch: u64::MAX,
        };
        let ttl = Duration::MAX;
        let response = Response::Take(Take::Leased(Lease { id, ttl, job }));
        let bytes = wire::encode(&response).unwrap();
        assert!(bytes.len() < 1024, "{}", bytes.len());
        assert_eq!(wire::decode::<Response>(&bytes).unwrap(), response);
    }

    #[test]
    fn the_longest_error_fits_a_request() {
        let id = LeaseId { shard: 1, epoch: 1 };
        let text = "x".repeat(ERROR_TEXT_LIMIT);
        assert!(wire::encode(&Request::Fail(id, ErrorClass::Fatal, text)).is_ok());
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
