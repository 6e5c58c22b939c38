//! Reference tensors: where they lie, how they are read and compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// The folder with oracles and real volumes: `$ANOFPDM_SHARED`, else `../shared` beside the workspace.
///
/// `None`, and one line that says so, where it is absent: a parity test then returns at once.
pub fn shared_dir(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("ANOFPDM_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    if dir.join("oracles").is_dir() {
        Some(dir)
    } else {
        println!(
            "skipped: {test}: {} is absent (set ANOFPDM_SHARED)",
            dir.display()
        );
        None
    }
}

/// One tensor of an oracle file, as numbers.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// Values in row-major order; every stored type widened exactly to f64.
    pub values: Vec<f64>,
}

impl Tensor {
    /// The values as f32 (exact for tensors stored as f32, f16 or small integers).
    #[allow(clippy::cast_possible_truncation)]
    pub fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|value| *value as f32).collect()
    }

    /// The values as integers (exact for integer tensors).
    #[allow(clippy::cast_possible_truncation)]
    pub fn i64(&self) -> Vec<i64> {
        self.values.iter().map(|value| *value as i64).collect()
    }
}

/// All tensors of a safetensors file.
pub fn read_tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file =
        SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.iter()
        .map(|(name, view)| {
            let tensor = Tensor {
                shape: view.shape().to_vec(),
                values: widen(view.dtype(), view.data()),
            };
            (name.to_owned(), tensor)
        })
        .collect()
}

fn widen(dtype: Dtype, data: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>()
            .0
            .iter()
            .map(|chunk| convert(*chunk))
            .collect()
    }
    match dtype {
        Dtype::F64 => each(data, f64::from_le_bytes),
        Dtype::F32 => each(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        #[allow(clippy::cast_precision_loss)]
        Dtype::I64 => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
        Dtype::I32 => each(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
        Dtype::I16 => each(data, |bytes| f64::from(i16::from_le_bytes(bytes))),
        Dtype::U8 | Dtype::BOOL => each(data, |[byte]: [u8; 1]| f64::from(byte)),
        other => panic!("no oracle holds {other:?}"),
    }
}

/// Asserts that two tensors agree within `rtol |want| + atol`, naming the worst element.
/// NaN agrees with NaN only.
pub fn assert_close(name: &str, got: &[f64], want: &[f64], rtol: f64, atol: f64) {
    assert_eq!(got.len(), want.len(), "{name}: number of elements");
    let mut worst = (0.0_f64, 0_usize);
    for (index, (a, b)) in got.iter().zip(want).enumerate() {
        if a.is_nan() && b.is_nan() {
            continue;
        }
        let excess = (a - b).abs() / (rtol * b.abs() + atol);
        let excess = if excess.is_nan() {
            f64::INFINITY
        } else {
            excess
        };
        if excess > worst.0 {
            worst = (excess, index);
        }
    }
    assert!(
        worst.0 <= 1.0,
        "{name}: element {} is {} and should be {} (rtol {rtol}, atol {atol})",
        worst.1,
        got[worst.1],
        want[worst.1]
    );
}
