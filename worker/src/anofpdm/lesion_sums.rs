//! Sums of S_t inside and outside the lesion (Figure 2). Evaluation only.

use tch::{Kind, Tensor};

use super::step_trace::StepTrace;

/// The sums of one guidance strength; without a lesion mask it keeps nothing.
#[derive(Debug)]
pub(super) struct LesionSums {
    /// f64 `[N, 1, H, W]`, 0 or 1.
    mask: Option<Tensor>,
    inside: StepTrace,
}

impl LesionSums {
    pub(super) fn new(mask: Option<&Tensor>) -> Self {
        Self {
            mask: mask.map(|mask| mask.to_kind(Kind::Double)),
            inside: StepTrace::default(),
        }
    }

    /// The next step's S_t, f32 `[N, m, H, W]`.
    pub(super) fn push(&mut self, squared_error: &Tensor) {
        if let Some(mask) = &self.mask {
            let sum = (squared_error * mask)
                .to_kind(Kind::Double)
                .sum_dim_intlist(&[2_i64, 3][..], false, Kind::Double);
            self.inside.push(&sum);
        }
    }

    /// Inside and outside, f64 `[N, K, m]`; `mse_h` is the mean over all `pixels`.
    pub(super) fn finish(&self, mse_h: &Tensor, pixels: i64) -> Option<(Tensor, Tensor)> {
        let inside = self.inside.stacked()?;
        let outside = mse_h.to_kind(Kind::Double) * pixels - &inside;
        Some((inside, outside))
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn a_pixel_of_four_is_lesion() {
        let mask = Tensor::from_slice(&[1_u8, 0, 0, 0]).view([1, 1, 2, 2]);
        let mut sums = LesionSums::new(Some(&mask));
        let ones = Tensor::ones([1, 1, 2, 2], (Kind::Float, Device::Cpu));
        for value in [1.0, 4.0] {
            sums.push(&(&ones * value));
        }
        let mse_h = Tensor::from_slice(&[1.0_f32, 4.0]).view([1, 2, 1]);
        let (inside, outside) = sums.finish(&mse_h, 4).unwrap();
        assert_eq!(inside.double_value(&[0, 1, 0]), 4.0);
        assert_eq!(outside.double_value(&[0, 1, 0]), 12.0);
    }
}
