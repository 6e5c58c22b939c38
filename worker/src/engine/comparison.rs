//! What replaces operations of libtorch on a GPU is compared with them there before it is used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

/// The kinds that are compared, each with a few units in its last place: results are rounded more than once.
pub(super) const KINDS: [(Kind, f64); 3] = [
    (Kind::Float, 1e-5),
    (Kind::Half, 2e-3),
    (Kind::BFloat16, 1.6e-2),
];

/// Whether the replacement `what` may be used on a GPU. `compare` says why not; it is asked once a process and GPU, and
/// its answer logged.
pub(super) fn is_trusted(
    what: &str,
    gpu: usize,
    compare: impl FnOnce() -> Result<(), String>,
) -> bool {
    static COMPARED: Mutex<Option<HashMap<(String, usize), bool>>> = Mutex::new(None);
    let mut compared = COMPARED.lock().unwrap_or_else(PoisonError::into_inner);
    *compared
        .get_or_insert_default()
        .entry((what.to_owned(), gpu))
        .or_insert_with(|| match tch::no_grad(compare) {
            Ok(()) => true,
            Err(reason) => {
                tracing::warn!(gpu, %reason, "{what} of our own is not used: libtorch's is slower");
                false
            }
        })
}

/// Values between -1 and 1 without a period, in float64.
pub(super) fn wave(size: &[i64], step: f64, device: Device) -> Tensor {
    let places = Tensor::arange(size.iter().product::<i64>(), (Kind::Double, device));
    (places * step).sin().view(size)
}

/// # Errors
/// When `got` is not `want` within `tolerance` of its size plus one.
pub(super) fn equal(what: &str, got: &Tensor, want: &Tensor, tolerance: f64) -> Result<(), String> {
    if got.size() != want.size() {
        return Err(format!("{what}: {:?} for {:?}", got.size(), want.size()));
    }
    let [got, want] = [got, want].map(|tensor| tensor.to_kind(Kind::Double));
    let apart = ((got - &want) / (want.abs() + 1.0)).abs().max();
    let apart = apart.double_value(&[]);
    // Not a number is no agreement either.
    if matches!(
        apart.partial_cmp(&tolerance),
        Some(std::cmp::Ordering::Less)
    ) {
        Ok(())
    } else {
        Err(format!("{what}: apart by {apart:e}"))
    }
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
            let compare = || equal("sum", &other, &one, 1e-5);
            assert_eq!(is_trusted("a test", number, compare), trusted, "{other:?}");
            let again = || panic!("asked again");
            assert_eq!(is_trusted("a test", number, again), trusted);
        }
    }
}
