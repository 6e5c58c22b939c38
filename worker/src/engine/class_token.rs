//! The class tokens of an attention block as one virtual token.
//!
//! Token j is `c_j slope + offset` in keys and values alike. To a query with `s = q . slope` and `g = q . offset` all E
//! tokens together are one token with logit `g + kappa(s)` and value `offset + kappa'(s) slope`, where
//! `kappa(s) = log sum_j exp(c_j s)`. For the null label kappa is ln E.
//!
//! The factors are scaled to at most 1 and the slopes by the inverse, so that kappa's derivatives, and with them the
//! error of its table, are bounded whatever the weights.

use tch::{Kind, Tensor};

/// Scaled products of at most this size lie in cells of one width,
const RANGE: f64 = 16.0;
/// so many a unit of s: their borders are exact in float32.
const CELLS: f64 = 32.0;
/// Beyond, cells widen with s, so many for each factor e. The weights gather around the largest c_j within a few 1 / s of
/// it, so that the n-th derivative falls as s^-n, and the error of a cell as wide as a part of s stays what it is.
const WIDENING: f64 = 64.0;
/// The last cell begins at this multiple of `RANGE` and continues as a line, which kappa has become.
const LINE: f64 = 65_536.0;

/// kappa and its derivative for one class vector.
#[derive(Debug)]
pub(super) struct Kappa {
    /// c_j / max |c|, `[E]`.
    factors: Tensor,
    /// Of each cell the coefficients of both cubics, its start and the inverse of its width, `[cells, 10]`; absent where
    /// the sum is always formed.
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

    /// (kappa(s), kappa'(s)), each of the shape of `s`. The device is not waited for.
    pub(super) fn of(&self, s: &Tensor) -> (Tensor, Tensor) {
        match &self.table {
            Some(table) => {
                let (kappa, slope) = interpolated(table, s);
                (kappa.view_as(s), slope.view_as(s))
            }
            None => {
                let [kappa, slope, _] = direct(&self.factors, s);
                (kappa, slope)
            }
        }
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

/// Cells of one width, and those beyond on each side.
#[allow(clippy::cast_possible_truncation)] // hundreds
fn counts() -> [i64; 2] {
    [
        (2.0 * RANGE * CELLS) as i64,
        (WIDENING * LINE.ln()).ceil() as i64,
    ]
}

/// Cubic Hermite polynomials, computed in float64 and stored in the kind of `factors`: from -`RANGE` to `RANGE`, from
/// there upwards, from there downwards.
fn table(factors: &Tensor) -> Tensor {
    let options = (Kind::Double, factors.device());
    let [cells, beyond] = counts();
    let exact = factors.to_kind(Kind::Double);
    let even = Tensor::arange(cells + 1, options) / CELLS - RANGE;
    let widening = (Tensor::arange(beyond + 1, options) / WIDENING).exp() * RANGE;
    let inside = cubics(&exact, &even, 1.0);
    let above = cubics(&exact, &widening, 1.0);
    let below = cubics(&exact, &widening, -1.0);
    for side in [&above, &below] {
        // Value and slope of kappa, value of kappa': the line of the last cell.
        let last = side.select(0, beyond - 1);
        for bent in [2, 3, 5, 6, 7] {
            drop(last.get(bent).zero_());
        }
    }
    Tensor::cat(&[inside, above, below], 0).to_kind(factors.kind())
}

/// The cubics between neighbours among `nodes` of kappa and kappa' at `sign` times the node.
fn cubics(factors: &Tensor, nodes: &Tensor, sign: f64) -> Tensor {
    let cells = nodes.size()[0] - 1;
    let [kappa, slope, bend] = direct(factors, &(nodes * sign));
    let start = nodes.narrow(0, 0, cells);
    let width = nodes.narrow(0, 1, cells) - &start;
    let cubic = |value: &Tensor, slope: &Tensor| {
        let (v0, v1) = (value.narrow(0, 0, cells), value.narrow(0, 1, cells));
        let (d0, d1) = (
            slope.narrow(0, 0, cells) * &width * sign,
            slope.narrow(0, 1, cells) * &width * sign,
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
    let inverse = width.reciprocal();
    Tensor::stack(&[a, b, c, d, e, f, g, h, start, inverse], 1)
}

fn interpolated(table: &Tensor, s: &Tensor) -> (Tensor, Tensor) {
    let [cells, beyond] = counts();
    let s = s.flatten(0, -1);
    let size = s.abs();
    let inside = size.le(RANGE);
    #[allow(clippy::cast_precision_loss)] // thousands
    let [last, last_beyond] = [cells - 1, beyond - 1].map(|last| last as f64);
    let scaled = (&s + RANGE) * CELLS;
    // NaN has no cell; it goes on through `u`, to where its slice is named.
    let in_range =
        |cell: Tensor, last: f64| cell.floor().clamp(0.0, last).nan_to_num(0.0, None, None);
    let near = in_range(scaled.shallow_clone(), last);
    let far = in_range((&size / RANGE).log() * WIDENING, last_beyond);
    let far = far + s.lt(0.0).to_kind(s.kind()) * beyond + cells;
    let cell = near.where_self(&inside, &far).to_kind(Kind::Int64);
    let columns = table.index_select(0, &cell);
    let column = |index: i64| columns.select(1, index);
    let u = (scaled - near).where_self(&inside, &((size - column(8)) * column(9)));
    let cubic = |first: i64| {
        let part = |index: i64| column(first + index);
        ((part(3) * &u + part(2)) * &u + part(1)) * &u + part(0)
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
        // Cells of both widths were met.
        assert!(largest(&want) > 20.0);
    }

    #[test]
    fn far_out_the_table_is_the_sum_as_well() {
        // From both sides of where cells begin to widen to beyond where the line begins.
        let powers = Tensor::linspace(3.9, 21.0, 10_007, (Kind::Double, Device::Cpu));
        let s = powers.exp2();
        let apart = factors();
        // Two largest factors that are told apart only far out, and both ends of the scale.
        let close = Tensor::from_slice(&[1.0, 1.0 - 1e-4, 0.3, -0.999, -1.0]);
        let lone = lone_factor();
        for factors in [apart, close, lone] {
            for s in [s.shallow_clone(), -&s] {
                let (want, want_slope) = Kappa::new(&factors, false).of(&s);
                let (kappa, slope) = Kappa::new(&factors, true).of(&s);
                let off = (kappa - &want) / s.abs();
                assert!(largest(&off) < 1e-8, "{}", largest(&off));
                let off = largest(&(slope - &want_slope));
                assert!(off < 1e-6, "{off}");
            }
        }
        let nan = Tensor::from_slice(&[f64::NAN, 1.0]);
        let (kappa, slope) = Kappa::new(&lone_factor(), true).of(&nan);
        for value in [kappa, slope] {
            assert!(value.double_value(&[0]).is_nan() && value.double_value(&[1]) == 1.0);
        }
    }

    /// One token: kappa(s) = s.
    fn lone_factor() -> Tensor {
        Tensor::from_slice(&[1.0])
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
