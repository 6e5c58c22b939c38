//! What a server must be for a run.

use super::endpoint::RedisEndpoint;
use crate::queue::error::QueueError;

/// Oldest server whose streams and rights are what the scripts need.
const OLDEST_MAJOR: u32 = 7;

/// Refuses a server that is too old, takes no writes, or that would drop keys when it is full.
pub(super) fn check(place: &RedisEndpoint, info: &str) -> Result<(), QueueError> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_default()
    };
    let version = field("redis_version");
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST_MAJOR) {
        return Err(QueueError::Redis(format!(
            "{place} runs version {version}; {OLDEST_MAJOR}.0 or newer is needed"
        )));
    }
    if field("role") == "slave" {
        return Err(QueueError::Settings(format!(
            "{place}: it is a replica of {}:{}, which takes no writes: write the address of that server",
            field("master_host"),
            field("master_port")
        )));
    }
    let policy = field("maxmemory_policy");
    if policy != "noeviction" {
        return Err(QueueError::Redis(format!(
            "{place} has maxmemory-policy {policy}: a full server would drop parts of the run unseen; set `maxmemory-policy noeviction`"
        )));
    }
    Ok(())
}
