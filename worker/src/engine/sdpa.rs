//! Scaled dot-product attention in tiles, without the matrix of weights, that says the sum of weights as well.

use tch::{Device, Kind, TchError, Tensor};

use super::comparison::{self, Compared, is_trusted, wave};

/// The result `[N, heads, L, d]` and the logarithm of the sum of weights of each query, `[N, heads, L]`, of
/// `[N, heads, L, d]` each. Where [`is_on`] says so.
pub(super) fn attend(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
) -> Result<(Tensor, Tensor), TchError> {
    let no_bias = None::<&Tensor>;
    if query.device() == Device::Cpu {
        return Tensor::f_internal_scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, false, no_bias, None,
        );
    }
    let (out, log_sum, _, _) = Tensor::f_internal_scaled_dot_product_efficient_attention(
        query, key, value, no_bias, true, 0.0, false, None,
    )?;
    // Sums come for a multiple of 32 queries.
    let log_sum = log_sum.f_narrow(2, 0, query.size()[2])?;
    Ok((out, log_sum))
}

/// The same with the matrix of weights.
fn explicit(query: &Tensor, key: &Tensor, value: &Tensor) -> (Tensor, Tensor) {
    let logits = query.matmul(&key.transpose(2, 3)) * scale(query.size()[3]);
    let weights = logits.softmax(-1, logits.kind());
    (weights.matmul(value), logits.logsumexp([-1], false))
}

/// `d^(-1/2)`: both `d^(-1/4)` of query and key.
pub(super) fn scale(head: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // head widths are small
    (head as f64).powf(-0.5)
}

/// Whether [`attend`] serves maps of `kind` on `device` in heads of width `head`. On a GPU it is compared with the matrix
/// of weights first.
pub(super) fn is_on(device: Device, kind: Kind, head: i64) -> bool {
    match device {
        Device::Cpu => true,
        Device::Cuda(gpu) if has_kernel(kind, head) => {
            let what = format!("attention in tiles ({kind:?}, heads of {head})");
            is_trusted(&what, gpu, || comparisons(device, kind, head))
        }
        _ => false,
    }
}

/// Whether libtorch has a kernel for a GPU: it reads 16 bytes at once, and has none for float64.
fn has_kernel(kind: Kind, head: i64) -> bool {
    let values = match kind {
        Kind::Float => 4,
        Kind::Half | Kind::BFloat16 => 8,
        _ => return false,
    };
    head > 0 && head % values == 0
}

/// [`attend`] beside the matrix of weights. `kind` is one of those that are compared.
pub(super) fn comparisons(device: Device, kind: Kind, head: i64) -> Vec<Compared> {
    let tolerance = comparison::KINDS
        .iter()
        .find_map(|(known, tolerance)| (*known == kind).then_some(*tolerance));
    tolerance.map_or_else(Vec::new, |tolerance| compare(device, kind, head, tolerance))
}

fn compare(device: Device, kind: Kind, head: i64, tolerance: f64) -> Vec<Compared> {
    // Queries that fill neither a tile nor a multiple of 32; query, key and value lie side by side.
    let (rows, length, heads) = (2, 49, 3);
    let all = wave(&[rows, length, heads, 3, head], 1.7, device) * 2.0;
    let all = all.to_kind(kind);
    let parts = [0, 1, 2].map(|part| all.select(3, part).transpose(1, 2));
    let [query, key, value] = &parts;
    let named = |what: &str| format!("attention in tiles, {kind:?}, heads of {head}, {what}");
    let (out, log_sum) = match attend(query, key, value) {
        Ok(both) => both,
        Err(error) => {
            return vec![Compared::failed(
                named("result"),
                tolerance,
                error.to_string(),
            )];
        }
    };
    let [query, key, value] = parts.each_ref().map(|part| part.to_kind(Kind::Double));
    let (want, want_sum) = explicit(&query, &key, &value);
    vec![
        Compared::new(named("result"), &out, &want, tolerance),
        Compared::new(named("sum of weights"), &log_sum, &want_sum, tolerance),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_and_sum_are_those_of_the_matrix_of_weights() {
        let query = wave(&[2, 3, 49, 32], 1.7, Device::Cpu);
        let (out, log_sum) = attend(&query, &(&query * 2.0), &query).unwrap();
        let (want, want_sum) = explicit(&query, &(&query * 2.0), &query);
        for (got, want) in [(&out, &want), (&log_sum, &want_sum)] {
            let compared = Compared::new("attention".to_owned(), got, want, 1e-12);
            assert!(compared.agrees(), "{compared}");
        }
        assert!(want_sum.size() == [2, 3, 49] && want_sum.max().double_value(&[]) > 4.0);
    }

    #[test]
    fn the_comparison_passes_where_the_kernel_is_right() {
        for (kind, tolerance) in comparison::KINDS {
            for head in [32, 64, 96, 128] {
                let right = compare(Device::Cpu, kind, head, tolerance);
                assert!(
                    right.len() == 2 && right.iter().all(Compared::agrees),
                    "{right:?}"
                );
                let wrong = compare(Device::Cpu, kind, head, tolerance * 1e-6);
                assert!(!wrong.iter().all(Compared::agrees), "{wrong:?}");
                assert!(wrong[0].to_string().contains("apart by"), "{}", wrong[0]);
            }
        }
    }

    #[test]
    fn heads_that_a_gpu_has_no_kernel_for_are_not_asked_for() {
        for (kind, head, has) in [
            (Kind::Float, 36, true),
            (Kind::Float, 30, false),
            (Kind::Half, 36, false),
            (Kind::BFloat16, 40, true),
            (Kind::Double, 64, false),
            (Kind::Float, 0, false),
        ] {
            assert_eq!(has_kernel(kind, head), has, "{kind:?} {head}");
        }
        assert!(is_on(Device::Cpu, Kind::Double, 30));
    }
}
