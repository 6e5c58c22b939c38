//! The number formats of maps, and what is computed in.
//!
//! Conversions of bfloat16 are written without branches, so that loops over them become vector code.

use half::bf16;

/// What the arithmetic on values of a format is done in.
pub trait Wide: Copy + Send + Sync + PartialEq + std::fmt::Debug + 'static {
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `x / (1 + exp(-x))`
    fn silu(self) -> Self;
}

/// A format that maps are stored in.
pub trait Number: Copy + Send + Sync + 'static {
    type Wide: Wide;
    fn widen(self) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
}

macro_rules! wide {
    ($float:ty, $silu:expr) => {
        impl Wide for $float {
            #[inline(always)]
            #[allow(clippy::cast_possible_truncation)]
            fn from_f64(value: f64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn silu(self) -> Self {
                self / (1.0 + $silu(-self))
            }
        }

        impl Number for $float {
            type Wide = Self;
            #[inline(always)]
            fn widen(self) -> Self {
                self
            }
            #[inline(always)]
            fn narrow(wide: Self) -> Self {
                wide
            }
        }
    };
}

wide!(f32, exp_f32);
wide!(f64, f64::exp);

impl Number for bf16 {
    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// To the nearest, halves to even; NaN stays NaN.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)]
    fn narrow(wide: f32) -> Self {
        let bits = wide.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        Self::from_bits(if wide.is_nan() {
            0x7fc0
        } else {
            rounded as u16
        })
    }
}

/// e^x to 2 ulp, without branches so that loops over it become vector code. Beyond ±87 the value at ±87.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    /// ln 2 in two parts; the first has so few bits that its multiples are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let rounded = x * LOG2_E + ROUNDER;
    let power = rounded - ROUNDER;
    let r = (x - power * LN2_HIGH) - power * LN2_LOW;
    // Cephes' polynomial for e^r on |r| <= ln 2 / 2.
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    // 2^power: its exponent bits are the low bits of `rounded`, moved up.
    e * f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential() {
        for i in -8700..=8700 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            let error = (f64::from(exp_f32(x)) - want).abs() / want;
            assert!(error < 2.4e-7, "{x}: {error}");
        }
        assert_eq!(exp_f32(0.0), 1.0);
        assert!((-100.0_f32).silu().abs() < 1e-30);
        assert_eq!(100.0_f32.silu(), 100.0);
        assert!(f32::NAN.silu().is_nan());
    }

    #[test]
    fn bfloat16_rounds_to_nearest_even() {
        for (wide, bits) in [
            (1.0_f32, 0x3f80),
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (1.003_906_4, 0x3f81),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (-2.5, 0xc020),
            (f32::INFINITY, 0x7f80),
        ] {
            assert_eq!(bf16::narrow(wide), bf16::from_bits(bits), "{wide}");
        }
        assert!(bf16::narrow(f32::NAN).widen().is_nan());
        assert!(bf16::narrow(f32::from_bits(0x7fff_ffff)).widen().is_nan());
    }
}
