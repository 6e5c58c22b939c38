//! Scaled dot-product attention in tiles, without the matrix of weights, that says the sum of weights as well.

use tch::{Device, Kind, TchError, Tensor};

use super::comparison::{self, is_trusted, wave};

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

/// Whether [`attend`] serves maps of `kind` on `device`. On a GPU it is compared with the matrix of weights first.
pub(super) fn is_on(device: Device, kind: Kind) -> bool {
    let tolerance = comparison::KINDS
        .iter()
        .find_map(|(known, tolerance)| (*known == kind).then_some(*tolerance));
    match (device, tolerance) {
        (Device::Cpu, _) => true,
        (Device::Cuda(gpu), Some(tolerance)) => {
            let what = format!("attention in tiles ({kind:?})");
            is_trusted(&what, gpu, || compare(device, kind, tolerance))
        }
        // The kernel has no float64.
        _ => false,
    }
}

fn compare(device: Device, kind: Kind, tolerance: f64) -> Result<(), String> {
    // Queries that fill neither a tile nor a multiple of 32; query, key and value lie side by side.
    let (rows, length, heads, width) = (2, 49, 3, 32);
    let all = wave(&[rows, length, heads, 3, width], 1.7, device) * 2.0;
    let all = all.to_kind(kind);
    let parts = [0, 1, 2].map(|part| all.select(3, part).transpose(1, 2));
    let [query, key, value] = &parts;
    let (out, log_sum) = attend(query, key, value).map_err(|error| error.to_string())?;
    let [query, key, value] = parts.each_ref().map(|part| part.to_kind(Kind::Double));
    let (want, want_sum) = explicit(&query, &key, &value);
    comparison::equal("result", &out, &want, tolerance)?;
    comparison::equal("sum of weights", &log_sum, &want_sum, tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_and_sum_are_those_of_the_matrix_of_weights() {
        let query = wave(&[2, 3, 49, 32], 1.7, Device::Cpu);
        let (out, log_sum) = attend(&query, &(&query * 2.0), &query).unwrap();
        let (want, want_sum) = explicit(&query, &(&query * 2.0), &query);
        comparison::equal("out", &out, &want, 1e-12).unwrap();
        comparison::equal("sum", &log_sum, &want_sum, 1e-12).unwrap();
        assert!(want_sum.size() == [2, 3, 49] && want_sum.max().double_value(&[]) > 4.0);
    }

    #[test]
    fn the_comparison_passes_where_the_kernel_is_right() {
        for (kind, tolerance) in comparison::KINDS {
            compare(Device::Cpu, kind, tolerance).unwrap();
            let error = compare(Device::Cpu, kind, tolerance * 1e-6).unwrap_err();
            assert!(error.contains("apart by"), "{error}");
        }
    }
}
