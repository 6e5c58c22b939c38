//! The number types that array files store, read one element at a time.

use std::io::Read;

use half::{bf16, f16};
use safetensors::Dtype;

use super::stored::Trouble;

/// Elements read at a time.
const CHUNK: usize = 1 << 14;
/// Bytes of the widest type.
const WIDEST: usize = 8;

/// A kind of number: how the two formats name it, its bytes, and what the bytes in little-endian order are worth; `Err` is
/// an integer beyond 2^53 that float64 lacks, in digits.
#[derive(Debug)]
struct Kind {
    safetensors: Dtype,
    numpy: Option<&'static str>,
    width: usize,
    widen: fn([u8; WIDEST]) -> Result<f64, String>,
}

macro_rules! kind {
    ($safetensors:ident, $numpy:expr, $number:ty, $widen:expr) => {
        Kind {
            safetensors: Dtype::$safetensors,
            numpy: $numpy,
            width: size_of::<$number>(),
            widen: |little| $widen(<$number>::from_le_bytes(first(little))),
        }
    };
}

static KINDS: [Kind; 13] = [
    kind!(BOOL, Some("b1"), u8, widened),
    kind!(U8, Some("u1"), u8, widened),
    kind!(I8, Some("i1"), i8, widened),
    kind!(U16, Some("u2"), u16, widened),
    kind!(I16, Some("i2"), i16, widened),
    kind!(U32, Some("u4"), u32, widened),
    kind!(I32, Some("i4"), i32, widened),
    kind!(U64, Some("u8"), u64, exact_u64),
    kind!(I64, Some("i8"), i64, exact_i64),
    kind!(F16, Some("f2"), f16, widened),
    kind!(BF16, None, bf16, widened),
    kind!(F32, Some("f4"), f32, widened),
    kind!(F64, Some("f8"), f64, widened),
];

fn first<const N: usize>(little: [u8; WIDEST]) -> [u8; N] {
    std::array::from_fn(|byte| little[byte])
}

fn widened(number: impl Into<f64>) -> Result<f64, String> {
    Ok(number.into())
}

fn exact_u64(whole: u64) -> Result<f64, String> {
    exact(whole.into(), whole as f64)
}

fn exact_i64(whole: i64) -> Result<f64, String> {
    exact(whole.into(), whole as f64)
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

#[derive(Debug, Clone, Copy)]
pub(super) struct NumberType {
    kind: &'static Kind,
    big_endian: bool,
}

impl NumberType {
    /// The type of a NumPy descriptor such as `<f4`.
    pub(super) fn of_numpy(descriptor: &str) -> Option<Self> {
        let (order, name) = descriptor.split_at_checked(1)?;
        let kind = KINDS.iter().find(|kind| kind.numpy == Some(name))?;
        let big_endian = match order {
            "<" | "|" => false,
            ">" => true,
            _ => return None,
        };
        Some(Self { kind, big_endian })
    }

    pub(super) fn of_safetensors(dtype: Dtype) -> Option<Self> {
        let kind = KINDS.iter().find(|kind| kind.safetensors == dtype)?;
        let big_endian = false;
        Some(Self { kind, big_endian })
    }

    pub(super) const fn width(self) -> usize {
        self.kind.width
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
        (self.kind.widen)(little)
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
            assert!(NumberType::of_numpy(descriptor).is_none(), "{descriptor}");
        }
        assert!(NumberType::of_safetensors(Dtype::C64).is_none());
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
