//! Named tensors in safetensors files: read within a limit, written whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anofpdm_common::network::TensorShapes;
use anofpdm_common::store::durable::{self, DiskError};
use anofpdm_common::store::tensor_header::{HeaderError, TensorHeader};
use safetensors_of_tch::SafeTensorError;
use tch::{TchError, Tensor};

/// Longest header of a tensor file, bytes.
const HEADER_LIMIT: u64 = 16 << 20;

pub type NamedTensors = BTreeMap<String, Tensor>;

#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Format {
        path: PathBuf,
        source: tch::TchError,
    },
    #[error("{path}: no safetensors file: {reason}")]
    Header { path: PathBuf, reason: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{path}: {bytes} bytes, expected at most {limit}: is this the right file?")]
    TooLarge {
        path: PathBuf,
        bytes: u64,
        limit: u64,
    },
}

/// Reads all tensors of a safetensors file, on the CPU, in their stored kinds.
///
/// # Errors
/// When the file is larger than `limit` bytes, or is no safetensors file.
pub fn read(path: &Path, limit: u64) -> Result<NamedTensors, TensorFileError> {
    let bytes = std::fs::metadata(path).map_err(io(path))?.len();
    if bytes > limit {
        return Err(TensorFileError::TooLarge {
            path: path.to_owned(),
            bytes,
            limit,
        });
    }
    let tensors = Tensor::read_safetensors(path).map_err(format(path))?;
    Ok(tensors.into_iter().collect())
}

/// The shapes of all tensors of a safetensors file, from its header alone.
pub fn shapes(path: &Path) -> Result<TensorShapes, TensorFileError> {
    let file = File::open(path).map_err(io(path))?;
    let header = TensorHeader::read(file, HEADER_LIMIT).map_err(|error| match error {
        HeaderError::Io(error) if error.kind() != ErrorKind::UnexpectedEof => io(path)(error),
        other => TensorFileError::Header {
            path: path.to_owned(),
            reason: other.to_string(),
        },
    })?;
    Ok(header
        .metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| (name, info.shape.clone()))
        .collect())
}

/// Writes tensors under a temporary name, syncs, renames: the file is whole or absent.
pub fn write(path: &Path, tensors: &NamedTensors) -> Result<(), TensorFileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_synced(&temporary, path, tensors)
        .and_then(|()| Ok(durable::rename(&temporary, path)?));
    if written.is_err() {
        // The error at hand says more than a failed clean-up would.
        drop(std::fs::remove_file(&temporary));
    }
    written
}

/// Writes tensors to `temporary` and syncs; `path`, which it is to become, is named in errors.
///
/// # Errors
/// When the file system refuses; what is written of it is left.
pub(crate) fn write_synced(
    temporary: &Path,
    path: &Path,
    tensors: &NamedTensors,
) -> Result<(), TensorFileError> {
    let contiguous: Vec<(&String, Tensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name, tensor.to_device(tch::Device::Cpu).contiguous()))
        .collect();
    Tensor::write_safetensors(&contiguous, temporary).map_err(|error| match error {
        TchError::SafeTensorError {
            err: SafeTensorError::IoError(source),
            ..
        } => DiskError::new("write", path, source).into(),
        source => format(path)(source),
    })?;
    File::open(temporary)
        .and_then(|file| file.sync_all())
        .map_err(|source| DiskError::new("write", path, source).into())
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> TensorFileError {
    let path = path.to_owned();
    move |source| TensorFileError::Io { path, source }
}

fn format(path: &Path) -> impl FnOnce(tch::TchError) -> TensorFileError {
    let path = path.to_owned();
    move |source| TensorFileError::Format { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let mut tensors = NamedTensors::new();
        tensors.insert("b".into(), Tensor::from_slice(&[1_i64, -2]));
        // A transposed view: written in logical order, not in memory order.
        let matrix = Tensor::from_slice(&[1_f32, 2., 3., 4., 5., 6.]).view([2, 3]);
        tensors.insert("a".into(), matrix.transpose(0, 1));
        write(&path, &tensors).unwrap();
        let back = read(&path, 1 << 20).unwrap();
        assert_eq!(back["b"], tensors["b"]);
        assert_eq!(back["a"], tensors["a"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = read(&path, 10).unwrap_err().to_string();
        assert!(error.contains("expected at most 10"), "{error}");
        let shapes = shapes(&path).unwrap();
        assert_eq!(shapes["a"], [3, 2]);
        assert_eq!(shapes["b"], [2]);
    }

    #[test]
    fn what_is_no_tensor_file_has_no_shapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        for bytes in [&b"PK"[..], b"PK\x03\x04\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"] {
            std::fs::write(&path, bytes).unwrap();
            let error = shapes(&path).unwrap_err().to_string();
            assert!(
                error.contains("t.safetensors: no safetensors file"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent/t.safetensors");
        let error = write(&path, &NamedTensors::new()).unwrap_err().to_string();
        assert!(error.contains("absent/t.safetensors"), "{error}");
    }
}
