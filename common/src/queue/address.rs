//! The address of a queue: one grammar for both programs, so that what a worker would refuse is refused by whoever starts
//! it.

use std::path::PathBuf;

use super::error::QueueError;

/// What is expected of `anofpdm run`.
const FOR_A_RUN: &str = "local, redis://[USER@]HOST[:PORT][/DB] or rediss://… is expected";
/// What is expected of a worker.
const FOR_A_WORKER: &str = "redis://[USER@]HOST[:PORT][/DB], rediss://… or unix:PATH is expected";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueAddress {
    /// `local`: the coordinator itself, over a socket that it makes.
    Local,
    /// `unix:PATH`: the socket of a coordinator on this machine.
    Socket(PathBuf),
    /// `redis://…` or `rediss://…`: a Redis server, over TCP.
    Redis(RedisAddress),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    pub text: String,
    /// Name or number of the machine, an IPv6 number without brackets.
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

/// The port of a Redis server that does not say another.
const REDIS_PORT: u16 = 6379;

impl QueueAddress {
    /// Reads what `anofpdm run --queue` was given.
    pub(super) fn for_run(text: &str) -> Result<Self, QueueError> {
        match parse(text, FOR_A_RUN)? {
            Self::Socket(_) => Err(refused(
                text,
                "the socket of a local run is made by that run: write local",
            )),
            address => Ok(address),
        }
    }

    /// Reads what a worker's `--queue` was given.
    pub(super) fn for_worker(text: &str) -> Result<Self, QueueError> {
        match parse(text, FOR_A_WORKER)? {
            Self::Local => Err(refused(
                text,
                "a run with the local queue starts its workers itself; others are started with redis://…",
            )),
            address => Ok(address),
        }
    }
}

impl RedisAddress {
    /// Reads `redis://[USER@]HOST[:PORT][/DB]` or `rediss://…`.
    pub fn parse(text: &str) -> Result<Self, QueueError> {
        match parse(text, FOR_A_RUN)? {
            QueueAddress::Redis(address) => Ok(address),
            _ => Err(refused(text, FOR_A_RUN)),
        }
    }
}

fn refused(text: &str, reason: &str) -> QueueError {
    let shown = without_secret(text);
    QueueError::Address {
        shown: shown.chars().filter(|c| !c.is_control()).collect(),
        reason: reason.to_owned(),
    }
}

fn parse(text: &str, expected: &str) -> Result<QueueAddress, QueueError> {
    let wrong = |reason: &str| Err(refused(text, reason));
    if let Some(path) = text.strip_prefix("unix:")
        && !path.is_empty()
        && !path.starts_with("//")
    {
        return Ok(QueueAddress::Socket(path.into()));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return wrong("it holds blanks: write it without");
    }
    if text == "local" {
        return Ok(QueueAddress::Local);
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return wrong(expected);
    };
    match (scheme, scheme.to_ascii_lowercase().as_str()) {
        ("redis" | "rediss", _) => match rest.strip_prefix("//") {
            Some(rest) => redis(text, rest, scheme == "rediss")
                .map(QueueAddress::Redis)
                .map_err(|reason| refused(text, reason)),
            None => wrong(expected),
        },
        ("unix", _) if rest.starts_with("//") => {
            wrong("a Redis server is reached over TCP only: write redis://HOST[:PORT][/DB]")
        }
        ("unix", _) => wrong(expected),
        (_, "redis" | "rediss" | "unix") => {
            wrong("write what stands before the colon in small letters")
        }
        (_, "valkey") => {
            wrong("a Valkey server speaks as Redis does: write redis://HOST[:PORT][/DB]")
        }
        (_, "valkeys") => {
            wrong("a Valkey server speaks as Redis does: write rediss://HOST[:PORT][/DB]")
        }
        (_, "redis+unix" | "valkey+unix" | "redis+socket" | "redis-socket") => {
            wrong("a Redis server is reached over TCP only: write redis://HOST[:PORT][/DB]")
        }
        _ => wrong(expected),
    }
}

/// What stands behind `redis://`, or why it cannot.
fn redis(text: &str, rest: &str, tls: bool) -> Result<RedisAddress, &'static str> {
    if rest.contains('?') {
        return Err("options behind a question mark are not supported: leave them out");
    }
    if rest.contains('#') {
        return Err(
            "nothing may stand behind a #: certificates are always checked, and ANOFPDM_REDIS_CA names the authority",
        );
    }
    let (authority, database) = match rest.split_once('/') {
        Some((authority, database)) => (authority, database),
        None => (rest, ""),
    };
    let number = |text: &str| text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !number(database) {
        return Err("only the number of a database may stand behind the slash, e.g. /0");
    }
    let place = authority.rsplit_once('@').map_or(authority, |(_, p)| p);
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or("a bracket is not closed")?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':').ok_or("a port follows a colon")?),
            };
            (host, port)
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() {
        return Err("it names no host: redis://HOST[:PORT][/DB]");
    }
    let port = match port {
        None => REDIS_PORT,
        Some(port) if number(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err("the port is a number from 1 to 65535"),
        },
        Some(_) => return Err("the port is a number from 1 to 65535"),
    };
    Ok(RedisAddress {
        text: text.to_owned(),
        host: host.to_owned(),
        port,
        tls,
    })
}

/// The address with whatever stands between user and host taken out.
pub(crate) fn without_secret(url: &str) -> String {
    let Some((login, place)) = url.rsplit_once('@') else {
        return url.to_owned();
    };
    let (scheme, login) = match login.split_once("://") {
        Some((scheme, login)) => (format!("{scheme}://"), login),
        None => (String::new(), login),
    };
    match login.split(':').next().unwrap_or_default() {
        "" => format!("{scheme}{place}"),
        user => format!("{scheme}{user}@{place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> (String, u16, bool) {
        let address = RedisAddress::parse(text).unwrap();
        assert_eq!(address.text, text);
        (address.host, address.port, address.tls)
    }

    #[test]
    fn servers() {
        for (text, host, port, tls) in [
            ("redis://h", "h", 6379, false),
            ("redis://h/", "h", 6379, false),
            ("redis://h:7000/15", "h", 7000, false),
            ("rediss://u@queue.example:6380", "queue.example", 6380, true),
            ("redis://[::1]:7000", "::1", 7000, false),
            ("redis://u@[fe80::1]", "fe80::1", 6379, false),
        ] {
            assert_eq!(place(text), (host.to_owned(), port, tls), "{text}");
        }
    }

    #[test]
    fn each_program_takes_its_own() {
        assert_eq!(QueueAddress::for_run("local").unwrap(), QueueAddress::Local);
        for path in ["/tmp/q/queue.sock", "/tmp/a blank/queue.sock"] {
            assert_eq!(
                QueueAddress::for_worker(&format!("unix:{path}")).unwrap(),
                QueueAddress::Socket(path.into())
            );
        }
        for (found, part) in [
            (
                QueueAddress::for_run("unix:/tmp/q/queue.sock"),
                "write local",
            ),
            (
                QueueAddress::for_worker("local"),
                "starts its workers itself",
            ),
        ] {
            let text = found.unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }

    /// What is no address is none for either program, for the same reason.
    #[test]
    fn what_is_no_address_says_why() {
        let tcp = "a Redis server is reached over TCP only: write redis://HOST[:PORT][/DB]";
        let small = "write what stands before the colon in small letters";
        let blanks = "it holds blanks: write it without";
        let options = "options behind a question mark are not supported: leave them out";
        let database = "only the number of a database may stand behind the slash, e.g. /0";
        let port = "the port is a number from 1 to 65535";
        for (text, reason) in [
            ("unix:///run/redis.sock", tcp),
            ("redis+unix:///run/redis.sock", tcp),
            ("redis-socket:///run/redis.sock", tcp),
            ("REDIS://h", small),
            ("Rediss://h", small),
            ("UNIX:/tmp/q", small),
            (
                "valkey://h",
                "a Valkey server speaks as Redis does: write redis://HOST[:PORT][/DB]",
            ),
            (
                "valkeys://h",
                "a Valkey server speaks as Redis does: write rediss://HOST[:PORT][/DB]",
            ),
            (" redis://h", blanks),
            ("redis://h ", blanks),
            ("redis://h\n", blanks),
            (" local", blanks),
            ("redis://h/?protocol=resp3", options),
            ("redis://h?db=2", options),
            ("redis://h/one", database),
            ("redis://h/1/2", database),
            ("redis://h/-1", database),
            ("redis://h:0", port),
            ("redis://h:70000", port),
            ("redis://h:", port),
            ("redis://h:6379a", port),
            ("redis://", "it names no host: redis://HOST[:PORT][/DB]"),
            (
                "redis://u@:6379",
                "it names no host: redis://HOST[:PORT][/DB]",
            ),
            ("redis://[::1", "a bracket is not closed"),
            (
                "rediss://h/#insecure",
                "nothing may stand behind a #: certificates are always checked, and ANOFPDM_REDIS_CA names the authority",
            ),
        ] {
            for found in [QueueAddress::for_run(text), QueueAddress::for_worker(text)] {
                let shown: String = text.chars().filter(|c| !c.is_control()).collect();
                assert_eq!(
                    found.unwrap_err().to_string(),
                    format!("'{shown}' is not the address of a queue: {reason}")
                );
            }
        }
        for text in [
            "",
            "redis",
            "redis:h",
            "h:6379",
            "http://h",
            "tcp://h:6379",
            "unix:",
        ] {
            let run = QueueAddress::for_run(text).unwrap_err().to_string();
            assert!(run.ends_with(FOR_A_RUN), "{run}");
            let worker = QueueAddress::for_worker(text).unwrap_err().to_string();
            assert!(worker.ends_with(FOR_A_WORKER), "{worker}");
        }
    }

    #[test]
    fn no_message_repeats_a_password() {
        assert_eq!(without_secret("redis://:p@h/0"), "redis://h/0");
        assert_eq!(without_secret("redis://u:p@q@h/0"), "redis://u@h/0");
        assert_eq!(without_secret("u:p@h"), "u@h");
        let text = QueueAddress::for_run("REDIS://u:s3cret@h").unwrap_err();
        let text = format!("{text} {text:?}");
        assert!(
            !text.contains("s3cret") && text.contains("REDIS://u@h"),
            "{text}"
        );
    }
}
