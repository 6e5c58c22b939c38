//! The number types that array files store, read one element at a time.

use std::io::Read;

use half::{bf16, f16};
use safetensors::Dtype;

use super::stored::Trouble;

/// Elements read at a time.
const CHUNK: usize = 1 << 14;
/// Bytes of the widest type.
const WIDEST: usize = 8;

/// How a file stores its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberType {
    kind: Kind,
    big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

impl NumberType {
    /// The type of a NumPy descriptor such as `<f4`.
    pub(super) fn of_numpy(descriptor: &str) -> Option<Self> {
        let (order, name) = descriptor.split_at_checked(1)?;
        let kind = match name {
            "b1" => Kind::Bool,
            "u1" => Kind::U8,
            "i1" => Kind::I8,
            "u2" => Kind::U16,
            "i2" => Kind::I16,
            "u4" => Kind::U32,
            "i4" => Kind::I32,
            "u8" => Kind::U64,
            "i8" => Kind::I64,
            "f2" => Kind::F16,
            "f4" => Kind::F32,
            "f8" => Kind::F64,
            _ => return None,
        };
        let big_endian = match order {
            "<" | "|" => false,
            ">" => true,
            _ => return None,
        };
        Some(Self { kind, big_endian })
    }

    /// The type of a safetensors tensor.
    pub(super) const fn of_safetensors(dtype: Dtype) -> Option<Self> {
        let kind = match dtype {
            Dtype::BOOL => Kind::Bool,
            Dtype::U8 => Kind::U8,
            Dtype::I8 => Kind::I8,
            Dtype::U16 => Kind::U16,
            Dtype::I16 => Kind::I16,
            Dtype::U32 => Kind::U32,
            Dtype::I32 => Kind::I32,
            Dtype::U64 => Kind::U64,
            Dtype::I64 => Kind::I64,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::Bf16,
            Dtype::F32 => Kind::F32,
            Dtype::F64 => Kind::F64,
            _ => return None,
        };
        let big_endian = false;
        Some(Self { kind, big_endian })
    }

    /// Bytes of one element.
    pub(super) const fn width(self) -> usize {
        match self.kind {
            Kind::Bool | Kind::U8 | Kind::I8 => 1,
            Kind::U16 | Kind::I16 | Kind::F16 | Kind::Bf16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 => 8,
        }
    }

    /// Reads `count` elements and hands each to `take` with its index.
    ///
    /// # Errors
    /// When the file ends early, `take` refuses, or an integer is none of float64, where it would tie with another.
    pub(super) fn read(
        self,
        reader: &mut impl Read,
        count: usize,
        mut take: impl FnMut(usize, f64) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut buffer = vec![0; CHUNK.min(count) * self.width()];
        let mut index = 0;
        while index < count {
            let elements = CHUNK.min(count - index);
            let bytes = &mut buffer[..elements * self.width()];
            reader.read_exact(bytes)?;
            for element in bytes.chunks_exact(self.width()) {
                let value = self.widen(element).map_err(|digits| {
                    Trouble::Broken(format!(
                        "element {index} is {digits}, which float64 does not hold exactly: convert or scale the array"
                    ))
                })?;
                take(index, value)?;
                index += 1;
            }
        }
        Ok(())
    }

    /// The value of one element of [`Self::width`] bytes; that of an integer beyond 2^53 which float64 lacks in digits.
    fn widen(self, element: &[u8]) -> Result<f64, String> {
        let mut little = [0; WIDEST];
        little[..element.len()].copy_from_slice(element);
        if self.big_endian {
            little[..element.len()].reverse();
        }
        let [a, b, c, d, ..] = little;
        Ok(match self.kind {
            Kind::Bool | Kind::U8 => f64::from(a),
            Kind::I8 => f64::from(i8::from_le_bytes([a])),
            Kind::U16 => f64::from(u16::from_le_bytes([a, b])),
            Kind::I16 => f64::from(i16::from_le_bytes([a, b])),
            Kind::F16 => f16::from_le_bytes([a, b]).to_f64(),
            Kind::Bf16 => bf16::from_le_bytes([a, b]).to_f64(),
            Kind::U32 => f64::from(u32::from_le_bytes([a, b, c, d])),
            Kind::I32 => f64::from(i32::from_le_bytes([a, b, c, d])),
            Kind::F32 => f64::from(f32::from_le_bytes([a, b, c, d])),
            Kind::U64 => {
                let whole = u64::from_le_bytes(little);
                exact(i128::from(whole), whole as f64)?
            }
            Kind::I64 => {
                let whole = i64::from_le_bytes(little);
                exact(i128::from(whole), whole as f64)?
            }
            Kind::F64 => f64::from_le_bytes(little),
        })
    }
}

/// `rounded` if it is `whole`.
fn exact(whole: i128, rounded: f64) -> Result<f64, String> {
    // Within the range of i128 by far.
    #[allow(clippy::cast_possible_truncation)]
    if rounded as i128 == whole {
        Ok(rounded)
    } else {
        Err(whole.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numpy(descriptor: &str, bytes: &[u8]) -> f64 {
        let number = NumberType::of_numpy(descriptor).unwrap();
        assert_eq!(number.width(), bytes.len());
        number.widen(bytes).unwrap()
    }

    #[test]
    fn both_byte_orders() {
        assert_eq!(numpy("<i2", &(-3_i16).to_le_bytes()), -3.0);
        assert_eq!(numpy(">i2", &(-3_i16).to_be_bytes()), -3.0);
        assert_eq!(numpy("<f8", &0.1_f64.to_le_bytes()), 0.1);
        assert_eq!(numpy(">f4", &0.5_f32.to_be_bytes()), 0.5);
        assert_eq!(numpy("|b1", &[1]), 1.0);
        assert_eq!(numpy("|i1", &[255]), -1.0);
        assert_eq!(numpy("<f2", &f16::from_f32(0.25).to_le_bytes()), 0.25);
        assert_eq!(numpy("<i8", &(-1_i64).to_le_bytes()), -1.0);
    }

    #[test]
    fn whole_numbers_that_float64_lacks_are_told() {
        let number = NumberType::of_numpy("<i8").unwrap();
        let largest = 1_i64 << 53;
        assert_eq!(number.widen(&largest.to_le_bytes()), Ok(largest as f64));
        let next = (largest + 1).to_le_bytes();
        assert_eq!(number.widen(&next), Err("9007199254740993".to_owned()));
        let number = NumberType::of_numpy(">u8").unwrap();
        let all = number.widen(&u64::MAX.to_be_bytes());
        assert_eq!(all, Err("18446744073709551615".to_owned()));
    }

    #[test]
    fn what_is_no_number_has_no_type() {
        for descriptor in ["", "<c16", "|S3", "=f4", "é", "<V2"] {
            assert_eq!(NumberType::of_numpy(descriptor), None, "{descriptor}");
        }
        assert_eq!(NumberType::of_safetensors(Dtype::C64), None);
    }

    #[test]
    fn an_early_end_is_an_error() {
        let number = NumberType::of_numpy("<i2").unwrap();
        let mut seen = Vec::new();
        let mut take = |_, value| {
            seen.push(value);
            Ok(())
        };
        assert!(
            number
                .read(&mut [1, 0, 2, 0].as_slice(), 2, &mut take)
                .is_ok()
        );
        assert!(
            number
                .read(&mut [1, 0, 2].as_slice(), 2, &mut take)
                .is_err()
        );
        assert_eq!(seen, [1.0, 2.0]);
    }
}
