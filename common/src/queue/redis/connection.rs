//! One connection to the server that comes back: short calls, reconnection with backoff, errors in words.

use std::time::{Duration, Instant};

use redis::{Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind};

use super::call_observer;
use super::endpoint::{CA_VARIABLE, PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE, RedisEndpoint};
use super::keys::{Keys, RUNS};
use super::probe;
use super::scripts::Transition;
use crate::backoff::Backoff;
use crate::queue::error::QueueError;

/// Longest wait for a connection or an answer; blocking reads add what they ask for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the first encrypted connection, before the port is asked whether it takes such connections at all:
/// a server that takes none waits for more, and would be waited for in vain.
const FIRST_TLS_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest text of a server in a message.
const MOST_TEXT: usize = 200;

/// Between attempts to reach a server.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(50),
    cap: Duration::from_secs(5),
};

/// A call that did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The server is away: later may be better.
    Away(Outage),
    /// The server does not know the script: a coordinator has to load it.
    NoScript,
    /// Trying again cannot help.
    Fatal(QueueError),
}

/// Why a server cannot be used for now.
#[derive(Debug)]
pub(super) enum Outage {
    /// It does not answer.
    Unreachable(String),
    /// It answers that it cannot.
    Unable(String),
}

impl std::fmt::Display for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(text) | Self::Unable(text) => f.write_str(text),
        }
    }
}

/// A connection that is opened when needed and dropped after any error, since question and answer might not
/// match any more.
#[derive(Debug)]
pub(super) struct Link {
    endpoint: RedisEndpoint,
    open: Option<Opened>,
    /// Connections made so far: a change means that the server may have forgotten things.
    generation: u64,
    failures: u32,
    not_before: Option<Instant>,
}

struct Opened(Connection);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

impl Link {
    pub(super) const fn new(endpoint: RedisEndpoint) -> Self {
        Self {
            endpoint,
            open: None,
            generation: 0,
            failures: 0,
            not_before: None,
        }
    }

    /// How often a connection has been made.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// How long to wait before the next attempt makes sense; zero while all is well.
    pub(super) fn pause(&self) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    /// One command, its answer within `extra` more than usual.
    pub(super) fn call<T>(
        &mut self,
        extra: Duration,
        command: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, CallError> {
        self.call_about(None, extra, command)
    }

    /// The same, about a run: should one of its keys hold something else, that key is named.
    pub(super) fn call_about<T>(
        &mut self,
        keys: Option<&Keys>,
        extra: Duration,
        command: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, CallError> {
        // How long a read waits for something to come says nothing of the server.
        if !extra.is_zero() {
            return self.attempt(keys, extra, command);
        }
        let begun = Instant::now();
        let answered = self.attempt(keys, extra, command);
        call_observer::tell("read", begun, answered.as_ref().err());
        answered
    }

    fn attempt<T>(
        &mut self,
        keys: Option<&Keys>,
        extra: Duration,
        command: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T, CallError> {
        let mut opened = match self.open.take() {
            Some(opened) => opened,
            None => self.connect()?,
        };
        let answered = opened
            .0
            .set_read_timeout(Some(ANSWER_TIMEOUT + extra))
            .and_then(|()| command(&mut opened.0));
        match answered {
            Ok(answer) => {
                self.open = Some(opened);
                self.failures = 0;
                self.not_before = None;
                Ok(answer)
            }
            Err(error) if error.to_string().contains(WRONG_TYPE) => {
                let text = wrong_type(&mut opened.0, keys);
                self.open = Some(opened);
                let place = &self.endpoint;
                Err(CallError::Fatal(QueueError::Settings(format!(
                    "{place}: {text}"
                ))))
            }
            Err(error) => {
                let failure = self.classify(&error);
                if matches!(failure, CallError::Away(_)) {
                    self.back_off();
                } else {
                    self.open = Some(opened);
                }
                Err(failure)
            }
        }
    }

    pub(super) fn run_script<T: redis::FromRedisValue>(
        &mut self,
        transition: &Transition,
        keys: &Keys,
        arguments: &[&[u8]],
    ) -> Result<T, CallError> {
        let begun = Instant::now();
        let answered = self.attempt(Some(keys), Duration::ZERO, |connection| {
            redis::cmd("EVALSHA")
                .arg(transition.script().get_hash())
                .arg(keys.all().len())
                .arg(keys.all())
                .arg(arguments)
                .query(connection)
        });
        call_observer::tell(transition.name(), begun, answered.as_ref().err());
        answered
    }

    fn connect(&mut self) -> Result<Opened, CallError> {
        let first = self.generation == 0;
        let connected = match self.endpoint.address().tls && first {
            true => self.open_within(FIRST_TLS_TIMEOUT),
            false => self.open_within(ANSWER_TIMEOUT),
        };
        let connected = match connected {
            Err(error) if first && is_connection_error(&error) => {
                match self.encryption_mismatch() {
                    Some(text) => Err(CallError::Fatal(QueueError::Settings(text))),
                    None if error.is_timeout() && self.endpoint.address().tls => {
                        let again = self.open_within(ANSWER_TIMEOUT);
                        again.map_err(|error| self.classify(&error))
                    }
                    None => Err(self.classify(&error)),
                }
            }
            connected => connected.map_err(|error| self.classify(&error)),
        };
        match connected {
            Ok(connection) => {
                self.generation += 1;
                Ok(Opened(connection))
            }
            Err(failure) => {
                self.back_off();
                Err(failure)
            }
        }
    }

    fn open_within(&self, patience: Duration) -> RedisResult<Connection> {
        let mut connection = self
            .endpoint
            .client()
            .get_connection_with_timeout(patience)?;
        connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        if self.generation == 0 {
            // Until something is said, nothing of an encryption is spoken either.
            connection.set_read_timeout(Some(patience))?;
            let answered: RedisResult<redis::Value> = redis::cmd("PING").query(&mut connection);
            match answered {
                Err(error) if is_connection_error(&error) => return Err(error),
                // What the server does not allow is told when it is asked for.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(connection)
    }

    /// Says so when the port speaks what this address does not.
    fn encryption_mismatch(&self) -> Option<String> {
        let place = &self.endpoint;
        let address = place.address();
        match address.tls {
            true => probe::speaks_plainly(&address.host, address.port).then(|| {
                format!("{place}: the server takes connections without encryption at this port: write redis://, or name its port for encrypted ones")
            }),
            false => probe::speaks_tls(&address.host, address.port).then(|| {
                format!("{place}: the server takes encrypted connections only at this port: write rediss://")
            }),
        }
    }

    fn back_off(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + BACKOFF.ceiling(self.failures));
    }

    fn classify(&self, error: &RedisError) -> CallError {
        let place = &self.endpoint;
        let text = shown(&error.to_string());
        let denied = |what: String| CallError::Fatal(QueueError::Denied(what));
        if text.contains("certificate") {
            return denied(format!(
                "{place}: the server's certificate is not trusted ({text}); name the PEM file of the authority that signed it in {CA_VARIABLE}"
            ));
        }
        if text.contains("NOAUTH") || error.code() == Some("NOAUTH") {
            return denied(format!(
                "{place}: the server asks for a password; put it into {PASSWORD_VARIABLE}, or name a file with it in {PASSWORD_FILE_VARIABLE}"
            ));
        }
        let user = place.user();
        match error.kind() {
            ErrorKind::AuthenticationFailed => denied(format!(
                "{place}: the server refused user '{user}' with this password ({PASSWORD_VARIABLE} or {PASSWORD_FILE_VARIABLE})"
            )),
            _ if is_forbidden(error, &text) => denied(format!(
                "{place}: user '{user}' may not do this ({text}); coordinator commands need the coordinator's user, workers the worker's, as deploy/redis/users.acl sets them up"
            )),
            ErrorKind::Server(ServerErrorKind::NoScript) => CallError::NoScript,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => CallError::Away(Outage::Unable(
                "it is a replica, which takes no writes: unless another server is just taking over, name the one that it follows".to_owned(),
            )),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::MasterDown,
            ) => CallError::Away(Outage::Unable(text)),
            ErrorKind::Io => CallError::Away(Outage::Unreachable(text)),
            _ if is_connection_error(error) => CallError::Away(Outage::Unreachable(text)),
            _ if let Some(command) = unknown_command(&text) => {
                CallError::Fatal(QueueError::Settings(format!(
                    "{place}: the server does not know the command {command}: it was renamed or switched off (rename-command in its redis.conf, or a hosted server that does not offer it); the queue needs EVALSHA and SCRIPT LOAD"
                )))
            }
            _ => CallError::Fatal(QueueError::Redis(format!("{place}: {text}"))),
        }
    }
}

/// Where an answer ends that is about a key of another kind.
const WRONG_TYPE: &str = "WRONGTYPE";

/// Names the key that does not hold what it should, as far as this user may look.
fn wrong_type(connection: &mut Connection, keys: Option<&Keys>) -> String {
    let own = keys.into_iter().flat_map(Keys::counted);
    let wrong = std::iter::once((RUNS, "SMEMBERS"))
        .chain(own)
        .find(|(key, look)| {
            let looked: RedisResult<redis::Value> = redis::cmd(look).arg(*key).query(connection);
            looked.is_err_and(|error| error.to_string().contains(WRONG_TYPE))
        });
    match wrong {
        Some((key, _)) => format!(
            "the key {key} holds another kind of value than this program keeps there, so something else writes to this server: remove it (redis-cli DEL '{key}'), or use another database (the number behind the slash of the address)"
        ),
        None => "a key that begins with anofpdm: holds another kind of value than this program keeps there, so something else writes to this server: look for it (redis-cli --scan --pattern 'anofpdm:*'), or use another database (the number behind the slash of the address)".to_owned(),
    }
}

/// True for an error of the connection, not of the server.
fn is_connection_error(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_connection_refusal()
}

/// The command that a server says it does not know.
fn unknown_command(text: &str) -> Option<String> {
    const UNKNOWN: &str = "unknown command ";
    let at = text.to_ascii_lowercase().find(UNKNOWN)? + UNKNOWN.len();
    let name = text.get(at..)?.trim_start_matches(['\'', '`', '"']);
    let name: String = name
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    (!name.is_empty()).then(|| name.to_ascii_uppercase())
}

/// What a server said, as far as it belongs into a message: an error may repeat a whole script.
fn shown(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    match plain.char_indices().nth(MOST_TEXT) {
        None => plain,
        Some((end, _)) => format!("{} …", &plain[..end]),
    }
}

/// True for what the server's users may not do. Redis 7.0 says it in other words for a command inside a script.
fn is_forbidden(error: &RedisError, text: &str) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || text.contains("The user executing the script can't")
}

impl CallError {
    /// As an error of the queue, at a moment when waiting is no answer.
    pub(super) fn into_queue_error(self, place: &RedisEndpoint) -> QueueError {
        match self {
            Self::Away(Outage::Unable(text)) => QueueError::Redis(format!("{place}: {text}")),
            Self::Away(Outage::Unreachable(text)) => QueueError::Redis(format!(
                "{place} cannot be reached ({text}); is the server running, and is the address right? It begins with rediss:// where the server takes encrypted connections only, and with redis:// where it takes none"
            )),
            Self::NoScript => QueueError::Redis(format!(
                "{place}: the transitions are not loaded; is a coordinator of this same version at work?"
            )),
            Self::Fatal(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_not_known_is_named_without_its_arguments() {
        for (text, command) in [
            (
                "ERR unknown command 'script', with args beginning with: 'LOAD' '-- What every",
                Some("SCRIPT"),
            ),
            (
                "ERR unknown command `EVALSHA`, with args beginning with: `00`, ",
                Some("EVALSHA"),
            ),
            (
                "An error was signalled by the server - ResponseError: unknown command 'evalsha'",
                Some("EVALSHA"),
            ),
            ("ERR unknown subcommand 'x'", None),
            ("ERR unknown command ", None),
        ] {
            assert_eq!(unknown_command(text).as_deref(), command, "{text}");
        }
    }

    #[test]
    fn a_servers_text_is_one_short_line() {
        assert_eq!(shown("ERR no\u{7}\nlocal META = KEYS[1]"), "ERR no");
        let long = shown(&"é".repeat(1_000));
        assert_eq!(long.chars().count(), MOST_TEXT + 2);
        assert!(long.ends_with("é …"));
    }
}
