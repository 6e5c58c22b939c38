//! What the server's answers mean: entries of streams, leases, troubles, counts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use redis::Value;
use redis::streams::{StreamId, StreamRangeReply};
use serde::Deserialize;

use super::messages::Hello;
use crate::plan::Job;
use crate::queue::dispatch::{Event, Submission, WorkerStatus};
use crate::queue::lease::Failure;
use crate::queue::lease::{DeadLetter, LeaseId, LiveLease, Progress, Setback};
use crate::queue::priority::Priority;
use crate::wire::{self, WireError};

#[derive(Debug)]
pub(super) struct StreamEntry {
    id: String,
    fields: HashMap<String, Vec<u8>>,
}

impl StreamEntry {
    pub(super) fn all(reply: StreamRangeReply) -> Vec<Self> {
        reply.ids.into_iter().map(Self::from).collect()
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// A field, empty when it is not there.
    pub(super) fn bytes(&self, field: &str) -> &[u8] {
        self.fields.get(field).map_or(&[], Vec::as_slice)
    }

    pub(super) fn text(&self, field: &str) -> String {
        String::from_utf8_lossy(self.bytes(field)).into_owned()
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.text(field).parse().ok()
    }
}

impl From<StreamId> for StreamEntry {
    fn from(entry: StreamId) -> Self {
        let fields = entry.map.into_iter().map(|(name, value)| {
            let bytes = match value {
                Value::BulkString(bytes) => bytes,
                Value::SimpleString(text) => text.into_bytes(),
                _ => Vec::new(),
            };
            (name, bytes)
        });
        Self {
            fields: fields.collect(),
            id: entry.id,
        }
    }
}

/// A job as the hash of jobs holds it: the digit of the priority and the envelope.
pub(super) fn stored(submission: &Submission) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![b'0' + u8::try_from(submission.priority.index()).unwrap_or(0)];
    bytes.extend(wire::encode(&submission.job)?);
    Ok(bytes)
}

/// Workers to avoid as the hash of them holds it: a JSON list, nothing when there are none.
pub(super) fn avoided(workers: &[String]) -> String {
    if workers.is_empty() {
        return String::new();
    }
    serde_json::json!(workers).to_string()
}

/// The way back of [`stored`] and [`avoided`].
pub(super) fn submission(
    shard: u64,
    stored: &[u8],
    avoided: Option<&str>,
) -> Result<Submission, WireError> {
    let (priority, job) = stored.split_first().unwrap_or((&b'1', &[]));
    Ok(Submission {
        shard,
        job: wire::decode::<Job>(job)?,
        priority: Priority::ALL
            .into_iter()
            .find(|known| known.index() == usize::from(priority.wrapping_sub(b'0')))
            .unwrap_or_default(),
        avoid: avoided
            .and_then(|list| serde_json::from_str(list).ok())
            .unwrap_or_default(),
    })
}

/// The answer of `poll.lua`: shards known, leased, claimed, retrying and dead, and the silent workers. None when
/// it is of another incarnation.
pub(super) fn poll(answer: &[Value], incarnation: &str) -> Option<([u64; 5], Vec<String>)> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let number = |value: &Value| match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let (first, rest) = answer.split_first()?;
    if text(first)? != incarnation {
        return None;
    }
    let (numbers, silent) = rest.split_first_chunk::<5>()?;
    let mut counts = [0; 5];
    for (count, value) in counts.iter_mut().zip(numbers) {
        *count = number(value)?;
    }
    Some((counts, silent.iter().filter_map(text).collect()))
}

/// What `prelude.lua` wrote into the stream of events.
pub(super) fn event(entry: &StreamEntry) -> Option<Event> {
    let lease = LeaseId {
        shard: entry.number("shard")?,
        epoch: entry.number("epoch")?,
    };
    let worker = entry.text("worker");
    let setback = || setback(&entry.text("setback"));
    Some(match entry.bytes("kind") {
        b"leased" => Event::Leased { lease, worker },
        b"crashed" => Event::Crashed {
            lease,
            worker,
            setback: setback()?,
        },
        b"handed-back" => Event::Released {
            lease,
            worker,
            setback: setback()?,
        },
        b"failed" => Event::Failed {
            lease,
            worker,
            class: entry.text("class").parse().ok()?,
            message: entry.text("message"),
            setback: setback()?,
        },
        _ => return None,
    })
}

fn setback(text: &str) -> Option<Setback> {
    Some(match text {
        "requeued" => Setback::Requeued,
        "dead" => Setback::Dead,
        "cancelled" => Setback::Cancelled,
        _ => Setback::RetryAt(Duration::from_millis(
            text.strip_prefix("retry ")?.parse().ok()?,
        )),
    })
}

/// The value of the hash of troubles.
#[derive(Deserialize)]
struct FailureCounts {
    errors: u32,
    crashes: u32,
    worker: String,
    class: Option<String>,
    #[serde(default)]
    message: String,
}

pub(super) fn dead_letters(mut dead: Vec<u64>, trouble: &HashMap<u64, String>) -> Vec<DeadLetter> {
    dead.sort_unstable();
    dead.into_iter()
        .filter_map(|shard| {
            let trouble: FailureCounts = serde_json::from_str(trouble.get(&shard)?).ok()?;
            let class = trouble
                .class
                .as_deref()
                .and_then(|class| class.parse().ok());
            Some(DeadLetter {
                shard,
                errors: trouble.errors,
                crashes: trouble.crashes,
                worker: trouble.worker,
                failure: match class {
                    Some(class) => Failure::Error {
                        class,
                        message: trouble.message,
                    },
                    None => Failure::Crash,
                },
            })
        })
        .collect()
}

/// The value of the hash of leases; numbers are texts, since Lua would round or reformat them.
#[derive(Deserialize)]
struct StoredLease {
    worker: String,
    epoch: String,
    since: String,
    ticks: String,
    note: String,
}

pub(super) fn workers(
    workers: &BTreeMap<String, Vec<u8>>,
    leases: &BTreeMap<u64, String>,
    deadlines: &[(u64, u64)],
    seen: &HashMap<String, u64>,
) -> Vec<WorkerStatus> {
    let mut held: BTreeMap<String, Vec<LiveLease>> = BTreeMap::new();
    for (shard, deadline) in deadlines {
        let Some((worker, lease)) = leases
            .get(shard)
            .and_then(|raw| live(*shard, raw, *deadline))
        else {
            continue;
        };
        held.entry(worker).or_default().push(lease);
    }
    workers
        .iter()
        .filter_map(|(name, hello)| {
            let hello: Hello = wire::decode(hello).ok()?;
            Some(WorkerStatus {
                info: hello.info,
                heard: Duration::from_millis(seen.get(name).copied().unwrap_or_default()),
                leases: held.remove(name).unwrap_or_default(),
            })
        })
        .collect()
}

fn live(shard: u64, raw: &str, deadline: u64) -> Option<(String, LiveLease)> {
    let held: StoredLease = serde_json::from_str(raw).ok()?;
    let lease = LiveLease {
        lease: LeaseId {
            shard,
            epoch: held.epoch.parse().ok()?,
        },
        since: Duration::from_millis(held.since.parse().ok()?),
        deadline: Duration::from_millis(deadline),
        progress: Progress {
            ticks: held.ticks.parse().ok()?,
            note: held.note,
        },
    };
    Some((held.worker, lease))
}
