//! What workers have sent: hellos, events and claims, read from their streams, answered and deleted.

use std::borrow::Cow;
use std::time::Duration;

use redis::streams::StreamRangeReply;

use super::{KnownShard, RedisDispatcher};
use crate::queue::dispatch::{Claim, Event, QueueHandler, Verdict};
use crate::queue::lease::shorten;
use crate::queue::redis::connection::CallError;
use crate::queue::redis::messages::{DeliveredClaim, Hello};
use crate::queue::redis::reading::{self, StreamEntry};
use crate::queue::redis::scripts;
use crate::wire;

/// Claims resolved by one call: the server does nothing else meanwhile.
const CLAIM_CHUNK: usize = 64;

/// Entries of a stream read in one go.
const READ_CHUNK: usize = 256;

impl RedisDispatcher {
    pub(super) fn serve_once(
        &mut self,
        handler: &mut dyn QueueHandler,
        wait: Duration,
    ) -> Result<(), CallError> {
        let silent = match self.refresh() {
            Ok(Some(silent)) if self.compared == self.link.borrow().generation() => silent,
            Ok(_) | Err(CallError::NoScript) => {
                self.recover()?;
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        for worker in silent {
            self.forget(&worker, handler)?;
        }
        let streams = ["hello", "events", "claims"].map(|name| self.keys.named(name).to_owned());
        let (hellos, events, claims) = self.call(|connection| {
            let mut read = redis::pipe();
            for stream in &streams {
                read.xrange_count(stream, "-", "+", READ_CHUNK);
            }
            read.query::<(StreamRangeReply, StreamRangeReply, StreamRangeReply)>(connection)
        })?;
        let quiet = hellos.ids.is_empty() && events.ids.is_empty() && claims.ids.is_empty();
        if quiet {
            return self.wait(&streams, wait);
        }
        self.admit_workers(&StreamEntry::all(hellos), handler)?;
        self.tell_events(&StreamEntry::all(events), handler)?;
        self.commit_claims(&StreamEntry::all(claims), handler)?;
        self.refresh().map(drop)
    }

    /// Waits until a worker says something. The streams are empty, so anything in them is new.
    fn wait(&mut self, streams: &[String; 3], wait: Duration) -> Result<(), CallError> {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        self.waiting
            .call(wait, |connection| {
                redis::cmd("XREAD")
                    .arg("COUNT")
                    .arg(1)
                    .arg("BLOCK")
                    .arg(millis)
                    .arg("STREAMS")
                    .arg(streams)
                    .arg(&["0", "0", "0"])
                    .query::<redis::Value>(connection)
            })
            .map(drop)
    }

    /// Lets workers in, and out.
    fn admit_workers(
        &mut self,
        hellos: &[StreamEntry],
        handler: &mut dyn QueueHandler,
    ) -> Result<(), CallError> {
        for entry in hellos {
            let worker = entry.text("worker");
            match entry.bytes("hello") {
                [] => self.forget(&worker, handler)?,
                bytes => match wire::decode::<Hello>(bytes) {
                    Ok(hello) if hello.info.worker == worker => self.admit(&hello, handler)?,
                    Ok(_) => tracing::warn!(worker, "a hello in another's name is ignored"),
                    Err(error) => tracing::warn!(worker, %error, "a hello that cannot be read"),
                },
            }
        }
        self.delete("hello", hellos)
    }

    fn admit(&mut self, hello: &Hello, handler: &mut dyn QueueHandler) -> Result<(), CallError> {
        let (info, nonce) = (&hello.info, &hello.nonce);
        let before: Option<String> = self.call(|connection| {
            redis::cmd("HGET")
                .arg(self.keys.named("admitted"))
                .arg(&info.worker)
                .query(connection)
        })?;
        // In already: asked twice, or a second worker with this name, which sees that it is not meant.
        if before.is_some_and(|answer| answer.starts_with(['+', '!'])) {
            return Ok(());
        }
        let answer = match handler.admit(info) {
            Ok(()) => format!("+{nonce}"),
            Err(reason) => format!("-{nonce} {reason}"),
        };
        let about = wire::encode(hello).map_err(|error| CallError::Fatal(error.into()))?;
        let arguments = [info.worker.as_bytes(), answer.as_bytes(), &about];
        let _: i64 = self.run_script(&scripts::ADMIT, &arguments)?;
        if answer.starts_with('+') {
            self.workers.insert(info.worker.clone(), info.clone());
            handler.notice(Event::WorkerJoined(info.clone()));
        }
        Ok(())
    }

    fn forget(&mut self, worker: &str, handler: &mut dyn QueueHandler) -> Result<(), CallError> {
        let _: i64 = self.run_script(&scripts::FORGET, &[worker.as_bytes()])?;
        if let Some(info) = self.workers.remove(worker) {
            handler.notice(Event::WorkerLeft(info));
        }
        Ok(())
    }

    /// Tells of events, of each once: those whose deletion was not confirmed are read again.
    fn tell_events(
        &mut self,
        events: &[StreamEntry],
        handler: &mut dyn QueueHandler,
    ) -> Result<(), CallError> {
        for entry in events {
            if !self.told.insert(entry.id().to_owned()) {
                continue;
            }
            match reading::event(entry) {
                Some(event) => handler.notice(event),
                None => tracing::warn!(id = entry.id(), "an event that cannot be read"),
            }
        }
        self.delete("events", events)?;
        self.told.clear();
        Ok(())
    }

    fn delete(&self, stream: &str, entries: &[StreamEntry]) -> Result<(), CallError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.call(|connection| {
            redis::cmd("XDEL")
                .arg(self.keys.named(stream))
                .arg(entries.iter().map(StreamEntry::id).collect::<Vec<_>>())
                .query::<()>(connection)
        })
    }

    /// Has every claim verified, which journals what is accepted, and then tells the server. A coordinator that
    /// dies in between finds the claim again, and knows it by its lease.
    fn commit_claims(
        &mut self,
        claims: &[StreamEntry],
        handler: &mut dyn QueueHandler,
    ) -> Result<(), CallError> {
        for batch in claims.chunks(CLAIM_CHUNK) {
            let mut arguments: Vec<Cow<'_, [u8]>> = Vec::with_capacity(7 * batch.len());
            for entry in batch {
                let (verdict, reason) = match self.verdict_on(entry, handler) {
                    Verdict::Accept => ("accept", String::new()),
                    Verdict::Reject(reason) => ("reject", reason),
                    Verdict::Undecided => ("undecided", String::new()),
                };
                let reason = format!("the result was rejected: {reason}");
                arguments.push(entry.id().as_bytes().into());
                for field in ["shard", "epoch", "worker", "held"] {
                    arguments.push(entry.bytes(field).into());
                }
                arguments.push(verdict.as_bytes().into());
                arguments.push(shorten(&reason).as_bytes().to_vec().into());
            }
            let arguments: Vec<&[u8]> = arguments.iter().map(AsRef::as_ref).collect();
            let _: i64 = self.run_script(&scripts::RESOLVE, &arguments)?;
        }
        Ok(())
    }

    fn verdict_on(&mut self, entry: &StreamEntry, handler: &mut dyn QueueHandler) -> Verdict {
        let claim: DeliveredClaim = match wire::decode(entry.bytes("claim")) {
            Ok(claim) => claim,
            Err(error) => return Verdict::Reject(error.to_string()),
        };
        let known = self.shards.get(&claim.lease.shard);
        let is_named_right = claim.lease.shard.to_string() == entry.text("shard")
            && claim.lease.epoch.to_string() == entry.text("epoch")
            && claim.worker == entry.text("worker");
        let job_fits = match known {
            Some(KnownShard::Open(submission)) => submission.job == claim.job,
            Some(_) => true,
            None => false,
        };
        if !is_named_right || !job_fits {
            tracing::warn!(
                shard = claim.lease.shard,
                worker = claim.worker,
                "a claim for something that was not asked for"
            );
            return Verdict::Reject("not what was asked for".to_owned());
        }
        let verdict = handler.commit(Claim {
            lease: claim.lease,
            job: &claim.job,
            worker: &claim.worker,
            completion: &claim.completion,
        });
        if verdict == Verdict::Accept
            && let Some(known) = self.shards.get_mut(&claim.lease.shard)
            && matches!(known, KnownShard::Open(_) | KnownShard::Leaving)
        {
            *known = KnownShard::Done;
            self.done += 1;
        }
        verdict
    }
}
