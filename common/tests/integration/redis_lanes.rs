//! What of a lane stays in the server: what is unfinished and what is behind it, however many workers there were.

use std::time::Duration;

use anofpdm_common::plan::WorkerInfo;
use anofpdm_common::queue::redis::{RedisDispatcher, RedisQueue};
use anofpdm_common::queue::{
    Claim, Dispatch, Event, Lease, LeaseConfig, QueueHandler, Submission, Take, Verdict, WorkQueue,
};
use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};

use super::queue_conformance::rig::{completion, info, job};

const RUN: &str = "lanes-00c0ffee";

/// The lane of ordinary shards.
const LANE: &str = "anofpdm:{lanes-00c0ffee}:lane:1";

struct Yes;

impl QueueHandler for Yes {
    fn admit(&mut self, _: &WorkerInfo) -> Result<(), String> {
        Ok(())
    }
    fn commit(&mut self, _: Claim<'_>) -> Verdict {
        Verdict::Accept
    }
    fn notice(&mut self, _: Event) {}
}

fn serve(queue: &mut RedisDispatcher) {
    queue.serve(&mut Yes, Duration::from_millis(1)).unwrap();
}

fn take(queue: &mut RedisDispatcher, worker: &RedisQueue) -> Lease {
    loop {
        match worker.take(Duration::ZERO).unwrap() {
            Take::Leased(lease) => return lease,
            Take::Empty => serve(queue),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_done_leaves_a_lane_up_to_the_first_that_is_not() {
    let server = RedisServer::start(RedisOptions::default());
    let mut queue = RedisDispatcher::open(&server.url(), RUN, LeaseConfig::default()).unwrap();
    let shards = (0..4).map(|shard| Submission::new(shard, job(shard)));
    queue.submit(shards.collect()).unwrap();
    let [a, b] = ["a", "b"].map(|name| {
        let worker = RedisQueue::new(&server.url(), None).unwrap();
        worker.register(&info(name)).unwrap();
        worker
    });
    let length = |queue: &mut RedisDispatcher| -> u64 {
        serve(queue);
        serve(queue);
        redis::cmd("XLEN")
            .arg(LANE)
            .query(&mut server.connection())
            .unwrap()
    };
    let (first, second) = (take(&mut queue, &a), take(&mut queue, &b));
    b.complete(&second, &completion(second.id.shard)).unwrap();
    assert_eq!(length(&mut queue), 4, "the first is at work");
    a.complete(&first, &completion(first.id.shard)).unwrap();
    // What was delivered last stays until something behind it is.
    assert_eq!(length(&mut queue), 3);
    take(&mut queue, &b);
    assert_eq!(length(&mut queue), 2);
}
