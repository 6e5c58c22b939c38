//! A real `redis-server` for one test: own port, own folder, own certificates; killed and restarted at will.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use crate::certificates::Certificates;

/// What a test says when the program is missing.
const MISSING: &str = "redis-server (7.0 or newer) is not on PATH: install it with `sudo apt-get install redis-server`, then run the test again";

/// How long a server may take to read its log and answer.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Ports are chosen here: below the range from which the system takes the ports of outgoing connections. In that range a
/// client that keeps knocking at a dead server's port sooner or later connects to itself, and the server cannot come back.
const PORTS: std::ops::Range<u16> = 11_000..32_000;

/// What every server begins with: the settings that are handed on.
pub const SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/redis/redis.conf");

/// The rig's own user where the server has an ACL file.
const RIG_USER: &str = "test-rig";
const RIG_PASSWORD: &str = "known-to-the-test-rig-only";

/// When Redis writes its append-only file through to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before each answer: a killed server loses nothing it acknowledged, nor does a killed machine.
    Always,
    /// Each second.
    #[default]
    EverySecond,
}

/// How the server is set up. The default is `deploy/redis/redis.conf`, without users and without encryption.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `appendfsync`.
    pub fsync: Fsync,
    /// `maxmemory-policy`; the programs must refuse everything but `noeviction`.
    pub eviction: &'static str,
    /// The lines of an ACL file; the rig adds a user of its own to them.
    pub users: Option<String>,
    /// Encrypted connections only.
    pub tls: bool,
    /// Further settings: name and values, as on the command line of the server.
    pub more: Vec<Vec<String>>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            fsync: Fsync::default(),
            eviction: "noeviction",
            users: None,
            tls: false,
            more: Vec::new(),
        }
    }
}

/// A running server; killed, and its folder removed, when dropped.
#[derive(Debug)]
pub struct RedisServer {
    dir: tempfile::TempDir,
    options: RedisOptions,
    certificates: Option<Certificates>,
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server on a free port of this machine and waits until it answers.
    pub fn start(options: RedisOptions) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("temporary folder: {e}"));
        if let Some(users) = &options.users {
            write_users(&dir.path().join("users.acl"), users);
        }
        let certificates = options.tls.then(|| Certificates::make(dir.path()));
        let mut server = Self {
            dir,
            options,
            certificates,
            port: 0,
            child: None,
        };
        // Another process may take the port between the look and the start; the next one is then tried.
        for _ in 0..20 {
            server.port = free_port();
            if server.spawn() {
                return server;
            }
        }
        panic!("redis-server does not start:\n{}", server.log());
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address for the programs, without user and password.
    pub fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The address of user `name`.
    pub fn url_of(&self, name: &str) -> String {
        format!("{}://{name}@127.0.0.1:{}", self.scheme(), self.port)
    }

    /// The address through something that listens on another port and forwards to this server.
    pub fn url_through(&self, port: u16) -> String {
        format!("{}://127.0.0.1:{port}", self.scheme())
    }

    fn scheme(&self) -> &'static str {
        if self.options.tls { "rediss" } else { "redis" }
    }

    pub fn certificates(&self) -> &Certificates {
        self.certificates
            .as_ref()
            .unwrap_or_else(|| panic!("this server was started without TLS"))
    }

    /// Kills it as a power cut would, as far as this process can: SIGKILL, no farewell.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .and_then(|()| child.wait())
                .unwrap_or_else(|e| panic!("cannot kill redis-server: {e}"));
        }
    }

    /// Starts it again on the same port and folder; a running one is killed first. Returns when it answers.
    pub fn restart(&mut self) {
        self.kill();
        assert!(
            self.spawn(),
            "redis-server does not start again:\n{}",
            self.log()
        );
    }

    /// Forgets everything it holds.
    pub fn flushall(&self) {
        redis::cmd("FLUSHALL")
            .exec(&mut self.connection())
            .unwrap_or_else(|e| panic!("FLUSHALL: {e}"));
    }

    /// A connection with all rights, through a socket file in the server's folder: it needs neither port nor encryption.
    pub fn connection(&self) -> redis::Connection {
        self.try_connection()
            .unwrap_or_else(|e| panic!("redis-server: {e}\n{}", self.log()))
    }

    /// A number of its `INFO`, say `used_memory`.
    pub fn info(&self, name: &str) -> u64 {
        let text: String = redis::cmd("INFO")
            .query(&mut self.connection())
            .unwrap_or_else(|e| panic!("INFO: {e}"));
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
            .unwrap_or_else(|| panic!("INFO has no number {name}"))
    }

    fn try_connection(&self) -> redis::RedisResult<redis::Connection> {
        let mut info = ConnectionAddr::Unix(self.socket()).into_connection_info()?;
        if self.options.users.is_some() {
            info = info.set_redis_settings(
                RedisConnectionInfo::default()
                    .set_username(RIG_USER)
                    .set_password(RIG_PASSWORD),
            );
        }
        redis::Client::open(info)?.get_connection_with_timeout(START_LIMIT)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("redis.log")).unwrap_or_default()
    }

    /// Starts the program; false when it ends at once, as it does where its port is taken.
    fn spawn(&mut self) -> bool {
        let output = File::create(self.dir.path().join("redis.log"))
            .unwrap_or_else(|e| panic!("log of redis-server: {e}"));
        let started = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::from(output))
            .stderr(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => self.child.insert(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => panic!("{MISSING}"),
            Err(error) => panic!("redis-server: {error}"),
        };
        let pid = u64::from(child.id());
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if ended {
                self.child = None;
                return false;
            }
            // While it reads its log it answers everything with an error.
            let alive = self
                .try_connection()
                .and_then(|mut connection| redis::cmd("PING").exec(&mut connection));
            if alive.is_ok() {
                assert_eq!(self.info("process_id"), pid, "an older server answers");
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("redis-server does not answer:\n{}", self.log());
    }

    fn command(&self) -> Command {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.arg(SETTINGS).current_dir(self.dir.path());
        let mut set = |name: &str, value: &str| {
            command.arg(format!("--{name}")).arg(value);
        };
        set("bind", "127.0.0.1");
        set("dir", &self.dir.path().to_string_lossy());
        set("unixsocket", &self.socket().to_string_lossy());
        set(
            "appendfsync",
            match self.options.fsync {
                Fsync::Always => "always",
                Fsync::EverySecond => "everysec",
            },
        );
        set("maxmemory-policy", self.options.eviction);
        if self.options.users.is_none() {
            set("aclfile", "");
        }
        if let Some(certificates) = &self.certificates {
            set("port", "0");
            set("tls-port", &port);
            set("tls-cert-file", &certificates.server.to_string_lossy());
            set("tls-key-file", &certificates.key.to_string_lossy());
            set(
                "tls-ca-cert-file",
                &certificates.authority.to_string_lossy(),
            );
            set("tls-auth-clients", "no");
        } else {
            set("port", &port);
        }
        for setting in &self.options.more {
            command.args(setting);
        }
        command
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn write_users(path: &Path, users: &str) {
    let text = format!(
        "{}\nuser {RIG_USER} on >{RIG_PASSWORD} ~* &* +@all\n",
        users.trim_end()
    );
    std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// A port nobody listens on now, another one each time within this process.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    #[allow(clippy::cast_possible_truncation)]
    let first = (std::process::id().wrapping_mul(97) % u32::from(count)) as u16;
    (0..count)
        .map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            PORTS.start + (u32::from(first) + u32::from(step)).rem_euclid(u32::from(count)) as u16
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .unwrap_or_else(|| panic!("no free port in {PORTS:?}"))
}
