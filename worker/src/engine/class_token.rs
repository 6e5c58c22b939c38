//! The class tokens of an attention block as one virtual token (ANCHORS 4.4).
//!
//! Token j is `c_j slope + offset` in keys and values alike. To a query with `s = q . slope` and `g = q . offset` all E
//! tokens together are one token with logit `g + kappa(s)` and value `offset + kappa'(s) slope`, where
//! `kappa(s) = log sum_j exp(c_j s)`. For the null label kappa is ln E.
//!
//! The factors are scaled to at most 1 and the slopes by the inverse, so that kappa's derivatives, and with them the
//! error of its table, are bounded whatever the weights.

use tch::{Kind, Tensor};

/// The table covers scaled products of at most this size.
const RANGE: f64 = 16.0;
/// Cells of the table a unit of s: their borders are exact in float32.
const CELLS: f64 = 32.0;

/// kappa and its derivative for one class vector.
#[derive(Debug)]
pub(super) struct Kappa {
    /// c_j / max |c|, `[E]`.
    factors: Tensor,
    /// Coefficients of both cubics of each cell, `[cells, 8]`; absent where the sum is always formed.
    table: Option<Tensor>,
}

impl Kappa {
    /// For the scaled factors `[E]`, all within [-1, 1]. Without a table kappa is exact to rounding.
    pub(super) fn new(factors: &Tensor, tabulated: bool) -> Self {
        let table = tabulated.then(|| table(factors));
        Self {
            factors: factors.shallow_clone(),
            table,
        }
    }

    /// (kappa(s), kappa'(s)), each of the shape of `s`.
    pub(super) fn of(&self, s: &Tensor) -> (Tensor, Tensor) {
        let Some(table) = &self.table else {
            let [kappa, slope, _] = direct(&self.factors, s);
            return (kappa, slope);
        };
        let (kappa, slope) = interpolated(table, s);
        let outside = s.abs().gt(RANGE);
        if outside.any().int64_value(&[]) == 0 {
            return (kappa, slope);
        }
        let [far_kappa, far_slope, _] = direct(&self.factors, &s.masked_select(&outside));
        (
            kappa.masked_scatter(&outside, &far_kappa),
            slope.masked_scatter(&outside, &far_slope),
        )
    }
}

/// kappa, kappa', kappa'' by their definition.
fn direct(factors: &Tensor, s: &Tensor) -> [Tensor; 3] {
    let logits = s.unsqueeze(-1) * factors;
    let kappa = logits.logsumexp([-1], false);
    let weights = logits.softmax(-1, logits.kind());
    let mean = (&weights * factors).sum_dim_intlist(-1, false, logits.kind());
    let distance = factors - mean.unsqueeze(-1);
    let spread = (weights * distance.square()).sum_dim_intlist(-1, false, logits.kind());
    [kappa, mean, spread]
}

/// Cubic Hermite polynomials, computed in float64 and stored in the kind of `factors`.
fn table(factors: &Tensor) -> Tensor {
    let options = (Kind::Double, factors.device());
    #[allow(clippy::cast_possible_truncation)] // a thousand
    let cells = (2.0 * RANGE * CELLS) as i64;
    let nodes = Tensor::arange(cells + 1, options) / CELLS - RANGE;
    let [kappa, slope, bend] = direct(&factors.to_kind(Kind::Double), &nodes);
    let cubic = |value: &Tensor, slope: &Tensor| {
        let (v0, v1) = (value.narrow(0, 0, cells), value.narrow(0, 1, cells));
        let (d0, d1) = (
            slope.narrow(0, 0, cells) / CELLS,
            slope.narrow(0, 1, cells) / CELLS,
        );
        let rise = v1 - &v0;
        [
            v0,
            d0.shallow_clone(),
            &rise * 3.0 - &d0 * 2.0 - &d1,
            d0 + d1 - rise * 2.0,
        ]
    };
    let [a, b, c, d] = cubic(&kappa, &slope);
    let [e, f, g, h] = cubic(&slope, &bend);
    Tensor::stack(&[a, b, c, d, e, f, g, h], 1).to_kind(factors.kind())
}

fn interpolated(table: &Tensor, s: &Tensor) -> (Tensor, Tensor) {
    let cells = table.size()[0];
    let scaled = (s + RANGE) * CELLS;
    #[allow(clippy::cast_precision_loss)] // a thousand
    let cell = scaled.floor().clamp(0.0, (cells - 1) as f64);
    // NaN has no cell; it goes on through `u`, to where its slice is named.
    let cell = cell.nan_to_num(0.0, None, None);
    let u = scaled - &cell;
    let flat = cell.to_kind(Kind::Int64).flatten(0, -1);
    let coefficients = table.index_select(0, &flat);
    let u = u.flatten(0, -1);
    let cubic = |first: i64| {
        let part = |index: i64| coefficients.select(1, first + index);
        (((part(3) * &u + part(2)) * &u + part(1)) * &u + part(0)).view_as(s)
    };
    (cubic(0), cubic(4))
}

/// The class vector scaled to factors within [-1, 1], and what the slopes are multiplied by instead.
pub(super) fn scaled_factors(vector: &Tensor) -> (Tensor, f64) {
    let largest = vector.abs().max().double_value(&[]);
    if largest > 0.0 {
        (vector / largest, largest)
    } else {
        (vector.zeros_like(), 1.0)
    }
}

/// ln E, kappa of the null label.
pub(super) fn null_kappa(width: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // E is small
    (width as f64).ln()
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn factors() -> Tensor {
        // Uneven, within [-1, 1], both ends there.
        let x = Tensor::linspace(-1.0, 1.0, 512, (Kind::Double, Device::Cpu));
        &x * x.abs().sqrt()
    }

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    #[test]
    fn the_table_is_the_sum() {
        let s = Tensor::linspace(-20.0, 20.0, 40_011, (Kind::Double, Device::Cpu)).view([3, -1]);
        let (want, want_slope) = Kappa::new(&factors(), false).of(&s);
        let (kappa, slope) = Kappa::new(&factors(), true).of(&s);
        assert!(largest(&(kappa - &want)) < 5e-9);
        assert!(largest(&(slope - &want_slope)) < 1e-8);
        // As it is used.
        let single = factors().to_kind(Kind::Float);
        let (kappa, slope) = Kappa::new(&single, true).of(&s.to_kind(Kind::Float));
        assert!(
            largest(&(kappa.to_kind(Kind::Double) - &want)) < 4e-6,
            "{}",
            largest(&(kappa.to_kind(Kind::Double) - &want))
        );
        assert!(largest(&(slope.to_kind(Kind::Double) - &want_slope)) < 2e-6);
        // Between the ends of the table nothing is summed directly: a wrong cell would show.
        assert!(largest(&want) > 20.0);
    }

    #[test]
    fn factors_are_scaled() {
        let vector = Tensor::from_slice(&[0.5, -4.0, 2.0]);
        let (factors, scale) = scaled_factors(&vector);
        assert_eq!(scale, 4.0);
        assert_eq!(Vec::<f64>::try_from(factors).unwrap(), [0.125, -1.0, 0.5]);
        assert_eq!(scaled_factors(&vector.zeros_like()).1, 1.0);
    }
}
