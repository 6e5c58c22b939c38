//! One connection to the server that comes back: short calls, reconnection with backoff, errors in words.

use std::time::{Duration, Instant};

use redis::{Connection, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind};

use super::endpoint::{CA_VARIABLE, Endpoint, PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE};
use super::keys::Keys;
use crate::queue::QueueError;

/// Longest wait for a connection or an answer; blocking reads add what they ask for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A call that did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The server is away: later may be better.
    Away(String),
    /// The server does not know the script: a coordinator has to load it.
    NoScript,
    /// Trying again cannot help.
    Fatal(QueueError),
}

/// A connection that is opened when needed and dropped after any error, since question and answer might not
/// match any more.
#[derive(Debug)]
pub(super) struct Link {
    endpoint: Endpoint,
    open: Option<Opened>,
    /// Connections made so far: a change means that the server may have forgotten things.
    generation: u64,
    pause: Duration,
    not_before: Option<Instant>,
}

struct Opened(Connection);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

impl Link {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            open: None,
            generation: 0,
            pause: FIRST_PAUSE,
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
                self.pause = FIRST_PAUSE;
                self.not_before = None;
                Ok(answer)
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

    /// One transition.
    pub(super) fn run<T: redis::FromRedisValue>(
        &mut self,
        script: &Script,
        keys: &Keys,
        arguments: &[&[u8]],
    ) -> Result<T, CallError> {
        self.call(Duration::ZERO, |connection| {
            redis::cmd("EVALSHA")
                .arg(script.get_hash())
                .arg(keys.all().len())
                .arg(keys.all())
                .arg(arguments)
                .query(connection)
        })
    }

    fn connect(&mut self) -> Result<Opened, CallError> {
        let connected = self
            .endpoint
            .client()
            .get_connection_with_timeout(ANSWER_TIMEOUT)
            .and_then(|connection| {
                connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                Ok(connection)
            });
        match connected {
            Ok(connection) => {
                self.generation += 1;
                Ok(Opened(connection))
            }
            Err(error) => {
                self.back_off();
                Err(self.classify(&error))
            }
        }
    }

    fn back_off(&mut self) {
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn classify(&self, error: &RedisError) -> CallError {
        let place = &self.endpoint;
        let text = error.to_string();
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
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly,
            )
            | ErrorKind::Io => CallError::Away(text),
            _ if error.is_io_error()
                || error.is_timeout()
                || error.is_connection_dropped()
                || error.is_connection_refusal() =>
            {
                CallError::Away(text)
            }
            _ => CallError::Fatal(QueueError::Redis(format!("{place}: {text}"))),
        }
    }
}

/// True for what the server's users may not do. Redis 7.0 says it in other words for a command inside a script.
fn is_forbidden(error: &RedisError, text: &str) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
        || text.contains("The user executing the script can't")
}

impl CallError {
    /// As an error of the queue, at a moment when waiting is no answer.
    pub(super) fn into_queue_error(self, place: &Endpoint) -> QueueError {
        match self {
            Self::Away(text) => QueueError::Redis(format!(
                "{place} cannot be reached ({text}); is the server running, and is the address right? It begins with rediss:// where the server takes encrypted connections only, and with redis:// where it takes none"
            )),
            Self::NoScript => QueueError::Redis(format!(
                "{place}: the transitions are not loaded; is a coordinator of this same version at work?"
            )),
            Self::Fatal(error) => error,
        }
    }
}
