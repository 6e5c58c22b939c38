//! Who watches the calls of this process to its servers: how long each took, and whether it was answered.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::connection::CallError;

/// Why a call was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFailure {
    /// The server is away.
    Away,
    /// It does not know the transition.
    NoScript,
    /// It refused.
    Other,
}

/// Told of each call: its transition (`read` for what is none), how long it took, and why it failed if it did.
type Observer = Box<dyn Fn(&'static str, Duration, Option<CallFailure>) + Send + Sync>;

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// From now on `observer` is told of each call that this process makes, from whatever thread. There is one a process: a
/// second changes nothing.
pub fn observe_calls(
    observer: impl Fn(&'static str, Duration, Option<CallFailure>) + Send + Sync + 'static,
) {
    if OBSERVER.set(Box::new(observer)).is_err() {
        tracing::debug!("the calls to the queue are watched already");
    }
}

pub(super) fn tell(call: &'static str, begun: Instant, failure: Option<&CallError>) {
    if let Some(observer) = OBSERVER.get() {
        let failure = failure.map(|failure| match failure {
            CallError::Away(_) => CallFailure::Away,
            CallError::NoScript => CallFailure::NoScript,
            CallError::Fatal(_) => CallFailure::Other,
        });
        observer(call, begun.elapsed(), failure);
    }
}
