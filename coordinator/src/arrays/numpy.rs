//! What NumPy writes before the elements of an array (`.npy`), alone and in an archive (`.npz`).

use std::io::{Read, Seek};

use ndarray_npy::npy::header::{Header, ParseHeaderError, ReadHeaderError};
use zip::{CompressionMethod, ZipArchive};

use super::number::NumberType;
use super::stored::{Stored, Trouble};
use super::{Element, Images, choose};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Magic and version.
const START: usize = 8;
/// Longest header, bytes: NumPy's own limit.
const LONGEST_HEADER: u32 = 10_000;
/// Brackets within brackets in a header: a dictionary with a tuple has two.
const DEEPEST_NESTING: usize = 8;
/// Most bytes that deflate makes of one.
const LARGEST_RATIO: u64 = 1032;

/// Reads the array of a `.npy` file of `bytes` bytes.
pub(super) fn read_array<T: Element>(
    mut file: impl Read,
    bytes: u64,
) -> Result<Images<T>, Trouble> {
    let (stored, header) = described(&mut file)?;
    stored.read(&mut file, bytes.saturating_sub(header))
}

/// Reads an array of a `.npz` file of `bytes` bytes.
pub(super) fn read_from_archive<T: Element>(
    file: impl Read + Seek,
    bytes: u64,
    name: Option<&str>,
) -> Result<Images<T>, Trouble> {
    let damaged = |error| Trouble::Broken(format!("no readable .npz archive: {error}"));
    let mut archive = ZipArchive::new(file).map_err(damaged)?;
    let files = archive
        .file_names()
        .map(|name| name.map(|name| name.into_owned()))
        .collect::<Result<Vec<String>, _>>()
        .map_err(damaged)?;
    let array = |file: &String| file.strip_suffix(".npy").unwrap_or(file).to_owned();
    let name = choose(files.iter().map(array).collect(), name)?;
    let index = files.iter().position(|file| array(file) == name);
    let index = index.ok_or_else(|| Trouble::Broken(format!("no array named '{name}'")))?;
    let entry = archive.by_index_raw(index).map_err(damaged)?;
    let (size, packed) = (entry.size(), entry.compressed_size());
    let largest = match entry.compression() {
        CompressionMethod::Stored => packed,
        CompressionMethod::Deflated => packed.saturating_mul(LARGEST_RATIO),
        other => {
            return Err(Trouble::Broken(format!(
                "array '{name}' is compressed as {other}, which is not read: write it with numpy.savez or \
                 numpy.savez_compressed"
            )));
        }
    };
    if packed > bytes || size > largest {
        return Err(Trouble::Broken(format!(
            "array '{name}' claims {size} bytes, more than the {} bytes it is stored in can hold",
            packed.min(bytes)
        )));
    }
    drop(entry);
    let mut entry = archive.by_index(index).map_err(damaged)?;
    let (stored, header) = described(&mut entry)?;
    let images = stored.read(&mut entry, size.saturating_sub(header))?;
    // The end of an entry is where its checksum is compared.
    match entry.read(&mut [0])? {
        0 => Ok(images),
        _ => Err(Trouble::Broken(format!(
            "array '{name}' has more bytes than its {size}"
        ))),
    }
}

/// What a header says, and its length.
fn described(reader: &mut impl Read) -> Result<(Stored, u64), Trouble> {
    let broken = |reason: String| Trouble::Broken(reason);
    let mut whole = vec![0; START];
    reader.read_exact(&mut whole)?;
    if !whole.starts_with(MAGIC) {
        return Err(broken(
            "no array of NumPy: it does not begin as .npy files do".to_owned(),
        ));
    }
    // Two bytes say how long the header is in version 1, four in those that followed.
    let mut length = [0; 4];
    let digits = if whole[START - 2] == 1 { 2 } else { 4 };
    reader.read_exact(&mut length[..digits])?;
    whole.extend_from_slice(&length[..digits]);
    let length = u32::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(broken(format!(
            "a header of {length} bytes: NumPy reads at most {LONGEST_HEADER}"
        )));
    }
    let start = whole.len();
    whole.resize(start + length as usize, 0);
    reader.read_exact(&mut whole[start..])?;
    let deepest = prepare(&mut whole[start..]);
    if deepest > DEEPEST_NESTING {
        return Err(broken("its header nests too deeply".to_owned()));
    }
    let header = Header::from_reader(&mut whole.as_slice()).map_err(|error| match error {
        // The reader's own message holds the header as it is, with whatever is in it.
        ReadHeaderError::Parse(ParseHeaderError::DictParse(_)) => {
            let text = String::from_utf8_lossy(&whole[start..]);
            let beginning: String = text.chars().take(60).collect();
            broken(format!(
                "its header cannot be read: \"{}\"",
                beginning.escape_debug()
            ))
        }
        other => broken(format!("its header cannot be read: {other}")),
    })?;
    let kind = header.type_descriptor;
    let number = kind
        .as_string()
        .and_then(|text| NumberType::of_numpy(text))
        .ok_or_else(|| broken(unsupported(&kind.to_string())))?;
    let stored = Stored {
        shape: header.shape,
        fortran: header.layout.is_fortran(),
        number,
    };
    Ok((stored, whole.len() as u64))
}

/// Drops the L of Python 2's long numbers, as NumPy does, and says how deeply brackets nest; both outside of texts.
fn prepare(header: &mut [u8]) -> usize {
    let (mut depth, mut deepest, mut quote, mut last) = (0_usize, 0, None, b' ');
    for byte in header {
        match (quote, *byte) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(*byte),
            (None, b'(' | b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (None, b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            (None, b'L') if last.is_ascii_digit() => *byte = b' ',
            (None, _) => {}
        }
        last = *byte;
    }
    deepest
}

/// What is said of elements that are not read.
pub(super) fn unsupported(kind: &str) -> String {
    format!(
        "elements of type {kind} are not read: convert to bool, an integer type, float32 or float64"
    )
}
