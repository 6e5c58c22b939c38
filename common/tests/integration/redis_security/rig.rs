//! What the tests of the queue's security stand on: a run with a shard in every state, and all that the server holds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::redis_access::endpoint;
use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{BatchRun, Completion, Job, NumericProfile, Stage, Task, WorkerInfo};
use anofpdm_common::queue::redis::{RedisDispatcher, RedisEndpoint, RedisQueue};
use anofpdm_common::queue::{
    Claim, Dispatch, ErrorClass, Event, Lease, LeaseConfig, QueueHandler, Submission, Take,
    Verdict, WorkQueue,
};
use anofpdm_test_support::redis_server::RedisServer;
use anofpdm_test_support::redis_users::{COORDINATOR, Users, WORKER};
use redis::{Commands, Connection};

/// The run's name in the server.
pub(crate) const RUN: &str = "secured-00c0ffee";

/// Lets everybody in and accepts everything.
pub(crate) struct Yes;

impl QueueHandler for Yes {
    fn admit(&mut self, _worker: &WorkerInfo) -> Result<(), String> {
        Ok(())
    }

    fn commit(&mut self, _claim: Claim<'_>) -> Verdict {
        Verdict::Accept
    }

    fn notice(&mut self, _event: Event) {}
}

pub(crate) fn job(shard: u32) -> Job {
    Job {
        stage: Stage::Score,
        plan: Digest::of(b"plan"),
        task: Task::Batches(BatchRun {
            first: shard,
            count: 1,
            cells: vec![0],
        }),
    }
}

pub(crate) fn completion() -> Completion {
    Completion {
        manifest: Digest::of(b"manifest"),
        evaluations: 1,
        padding: 0,
        device_millis: 1,
        millijoules: None,
    }
}

pub(crate) fn info(name: &str) -> WorkerInfo {
    WorkerInfo {
        worker: name.to_owned(),
        host: "here".to_owned(),
        pid: 1,
        profile: NumericProfile {
            device: "cpu".to_owned(),
            libtorch: "2.11.0".to_owned(),
            cpu_capability: "AVX2".to_owned(),
            threads: 1,
        },
        memory_bytes: 8 << 30,
        version: "0.1.0".to_owned(),
        metrics: None,
    }
}

/// A registered worker; the dispatcher lets it in meanwhile.
pub(crate) fn registered(
    endpoint: RedisEndpoint,
    name: &str,
    dispatcher: &mut RedisDispatcher,
) -> RedisQueue {
    let queue = RedisQueue::at(endpoint, Some(RUN));
    std::thread::scope(|scope| {
        let registration = scope.spawn(|| queue.register(&info(name)));
        while !registration.is_finished() {
            dispatcher
                .serve(&mut Yes, Duration::from_millis(5))
                .unwrap();
        }
        registration.join().unwrap().unwrap();
    });
    queue
}

pub(crate) fn take(queue: &RedisQueue) -> Lease {
    match queue.take(Duration::from_secs(5)).unwrap() {
        Take::Leased(lease) => lease,
        other => panic!("no work: {other:?}"),
    }
}

/// A run with a shard in every state, left by its coordinator: waiting, leased, claimed, to be retried, dead, cancelled
/// while it is held.
pub(crate) fn all_states(server: &RedisServer, users: &Users) -> RedisDispatcher {
    let config = LeaseConfig {
        max_errors: 2,
        ..LeaseConfig::default()
    };
    let coordinator = endpoint(users, server, COORDINATOR);
    let mut dispatcher = RedisDispatcher::open_at(coordinator, RUN, config).unwrap();
    let shards = (0..6).map(|shard| Submission::new(shard.into(), job(shard)));
    dispatcher.submit(shards.collect()).unwrap();
    let worker = registered(endpoint(users, server, WORKER), "w-1", &mut dispatcher);
    let leases: Vec<Lease> = (0..5).map(|_| take(&worker)).collect();
    worker.fail(&leases[0].id, ErrorClass::Fatal, "no").unwrap();
    worker
        .fail(&leases[1].id, ErrorClass::Transient, "busy")
        .unwrap();
    assert!(dispatcher.cancel(2).unwrap());
    worker.complete(&leases[3], &completion()).unwrap();
    dispatcher
}

/// Everything in the server, key by key: elements in order, and of streams who was given what and how often.
pub(crate) fn contents(server: &RedisServer) -> BTreeMap<String, Vec<String>> {
    let mut connection = server.connection();
    let keys: Vec<String> = connection.keys("*").unwrap();
    keys.into_iter()
        .map(|key| {
            let held = elements(&mut connection, &key);
            (key, held)
        })
        .collect()
}

fn elements(connection: &mut Connection, key: &str) -> Vec<String> {
    let kind: String = redis::cmd("TYPE").arg(key).query(connection).unwrap();
    let mut ask = |words: &[&str]| -> redis::Value {
        redis::cmd(words[0])
            .arg(&words[1..])
            .query(connection)
            .unwrap()
    };
    let mut held: Vec<String> = match kind.as_str() {
        "string" => vec![format!("{:?}", ask(&["GET", key]))],
        "hash" => {
            let pairs = ask(&["HGETALL", key]).into_sequence().unwrap();
            pairs.chunks(2).map(|pair| format!("{pair:?}")).collect()
        }
        "set" => {
            let members = ask(&["SMEMBERS", key]).into_sequence().unwrap();
            members.iter().map(|member| format!("{member:?}")).collect()
        }
        "zset" => vec![format!(
            "{:?}",
            ask(&["ZRANGE", key, "0", "-1", "WITHSCORES"])
        )],
        "stream" => {
            let mut held = vec![format!("{:?}", ask(&["XRANGE", key, "-", "+"]))];
            for group in ask(&["XINFO", "GROUPS", key]).into_sequence().unwrap() {
                // Name, consumers, pending, last delivered; Redis 7.0 forgets its count of entries read.
                let group = group.into_sequence().unwrap();
                held.push(format!("{:?}", &group[..8]));
                let given = ask(&["XPENDING", key, "workers", "-", "+", "100"]);
                for entry in given.into_sequence().unwrap() {
                    // Entry, who has it, for how long, how often it was given.
                    let mut entry = entry.into_sequence().unwrap();
                    entry.remove(2);
                    held.push(format!("{entry:?}"));
                }
            }
            held
        }
        other => panic!("{key} is a {other}"),
    };
    held.sort_unstable();
    held
}
