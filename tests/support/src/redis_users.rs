//! The users of `deploy/redis/users.acl`, with passwords made for one test by `deploy/redis/set-passwords.sh`.

use std::process::Command;

use crate::redis_server::RedisServer;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/redis/set-passwords.sh"
);

/// The coordinator's name for the server.
pub const COORDINATOR: &str = "coordinator";

pub const WORKER: &str = "worker";

/// The Redis exporter's.
pub const METRICS: &str = "metrics";

/// The ACL file and what it holds only hashes of.
#[derive(Debug, Clone)]
pub struct Users {
    pub acl: String,
    pub coordinator: String,
    pub worker: String,
    pub metrics: String,
}

impl Users {
    /// Makes passwords and the ACL file, as an operator does.
    pub fn make() -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("temporary folder: {e}"));
        let output = Command::new(SCRIPT)
            .arg(folder.path())
            .output()
            .unwrap_or_else(|e| panic!("{SCRIPT}: {e}"));
        assert!(
            output.status.success(),
            "{SCRIPT}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let read = |name: &str| {
            let path = folder.path().join(name);
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        Self {
            acl: read("users.acl"),
            coordinator: read("coordinator.password"),
            worker: read("worker.password"),
            metrics: read("metrics.password"),
        }
    }

    /// A plain connection of `user`'s, for commands of the test's own.
    pub fn connection(&self, server: &RedisServer, user: &str) -> redis::Connection {
        let password = self.password(user);
        let url = format!("redis://{user}:{password}@127.0.0.1:{}", server.port());
        redis::Client::open(url)
            .and_then(|client| client.get_connection())
            .unwrap_or_else(|e| panic!("{user}: {e}"))
    }

    pub fn password(&self, user: &str) -> &str {
        match user {
            COORDINATOR => &self.coordinator,
            WORKER => &self.worker,
            METRICS => &self.metrics,
            other => panic!("there is no user {other}"),
        }
    }
}
