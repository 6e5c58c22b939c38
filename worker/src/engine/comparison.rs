//! What replaces operations of libtorch on a GPU is compared with them there before it is used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

/// An operation of our own beside what libtorch makes of the same input.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The operation, its kinds and sizes.
    pub what: String,
    /// Largest difference as a part of the value's size plus one; not a number where there is nothing to compare.
    pub apart: f64,
    /// What `apart` has to stay below.
    pub tolerance: f64,
    /// Why there is nothing to compare.
    pub reason: Option<String>,
}

impl Compared {
    /// Of two results that should be equal up to rounding.
    pub(super) fn new(what: String, got: &Tensor, want: &Tensor, tolerance: f64) -> Self {
        if got.size() != want.size() {
            let reason = format!("{:?} for {:?}", got.size(), want.size());
            return Self::failed(what, tolerance, reason);
        }
        let [got, want] = [got, want].map(|tensor| tensor.to_kind(Kind::Double));
        let apart = ((got - &want) / (want.abs() + 1.0)).abs().max();
        Self {
            what,
            apart: apart.double_value(&[]),
            tolerance,
            reason: None,
        }
    }

    /// Of an operation that has no result.
    pub(super) fn failed(what: String, tolerance: f64, reason: String) -> Self {
        Self {
            what,
            apart: f64::NAN,
            tolerance,
            reason: Some(reason),
        }
    }

    /// Whether both are equal up to rounding. What is not a number is no agreement either.
    pub fn agrees(&self) -> bool {
        self.reason.is_none() && self.apart < self.tolerance
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{}: {reason}", self.what),
            None => write!(f, "{}: apart by {:e}", self.what, self.apart),
        }
    }
}

/// The kinds that are compared, each with a few units in its last place: results are rounded more than once.
pub(super) const KINDS: [(Kind, f64); 3] = [
    (Kind::Float, 1e-5),
    (Kind::Half, 2e-3),
    (Kind::BFloat16, 1.6e-2),
];

/// Whether the replacement `what` may be used on a GPU: where all that `compare` yields agrees. It is asked once a process
/// and GPU, and what does not agree is logged.
pub(super) fn is_trusted(what: &str, gpu: usize, compare: impl FnOnce() -> Vec<Compared>) -> bool {
    static COMPARED: Mutex<Option<HashMap<(String, usize), bool>>> = Mutex::new(None);
    let mut compared = COMPARED.lock().unwrap_or_else(PoisonError::into_inner);
    *compared
        .get_or_insert_default()
        .entry((what.to_owned(), gpu))
        .or_insert_with(|| {
            let all = tch::no_grad(compare);
            let wrong = all.iter().find(|one| !one.agrees());
            if let Some(reason) = wrong {
                tracing::warn!(gpu, %reason, "{what} of our own is not used: libtorch's is slower");
            }
            wrong.is_none()
        })
}

/// Values between -1 and 1 without a period, in float64.
pub(super) fn wave(size: &[i64], step: f64, device: Device) -> Tensor {
    let places = Tensor::arange(size.iter().product::<i64>(), (Kind::Double, device));
    (places * step).sin().view(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_is_compared_once_and_used_only_if_equal() {
        let one = Tensor::from_slice(&[1.0, 2.0]);
        for (number, (other, trusted)) in [
            (&one + 1e-7, true),
            (&one + 1e-3, false),
            (&one * f64::NAN, false),
            (one.narrow(0, 0, 1), false),
        ]
        .into_iter()
        .enumerate()
        {
            let compare = || vec![Compared::new("sum".to_owned(), &other, &one, 1e-5)];
            assert_eq!(is_trusted("a test", number, compare), trusted, "{other:?}");
            let again = || panic!("asked again");
            assert_eq!(is_trusted("a test", number, again), trusted);
        }
    }
}
