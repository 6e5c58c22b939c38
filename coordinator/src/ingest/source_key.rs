//! What a subject's slices were made from, as one digest: the bytes of its files and everything that decides how they
//! are read. Two subjects with the same key have the same slices, wherever their files lie and however old they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use anofpdm_common::ids::Digest;

use super::convert::{ChosenFiles, Conversion};

/// Changes whenever the same inputs would give other bits, so that subjects converted before are done again.
const CONVERSION_VERSION: &str = "anofpdm-conversion-3";

/// The key of a subject. All bytes count: names, lengths and times of change are the same for other volumes often enough.
pub(super) fn source_key(
    conversion: &Conversion,
    files: &ChosenFiles,
    labels: Option<&BTreeMap<usize, u8>>,
) -> io::Result<Digest> {
    let images = files
        .images
        .iter()
        .map(|path| file_key(path))
        .collect::<io::Result<Vec<_>>>()?;
    let mask = files.mask.as_deref().map(file_key).transpose()?;
    Ok(Digest::of(
        format!("{CONVERSION_VERSION} {conversion:?} {images:?} {mask:?} {labels:?}").as_bytes(),
    ))
}

/// Digest of a file's bytes, and whether its name says that they are compressed.
fn file_key(path: &Path) -> io::Result<(Digest, bool)> {
    // Opening a pipe would wait for its other end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    let compressed = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    Ok((hasher.finalize().into(), compressed))
}
