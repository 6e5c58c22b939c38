//! An array in a safetensors file.

use std::io::{Read, Seek, SeekFrom};

use safetensors::tensor::Metadata;

use super::number::NumberType;
use super::numpy::unsupported;
use super::stored::{Stored, Trouble};
use super::{Element, Images, choose};

/// Longest header that is read, bytes.
const LONGEST_HEADER: u64 = 1 << 24;
/// Bytes that say how long the header is.
const START: u64 = 8;

/// Reads a tensor of a file of `bytes` bytes.
pub(super) fn read<T: Element>(
    mut file: impl Read + Seek,
    bytes: u64,
    name: Option<&str>,
) -> Result<Images<T>, Trouble> {
    let mut length = [0; START as usize];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(Trouble::Broken(format!(
            "a header of {length} bytes: this is no safetensors file"
        )));
    }
    let mut header = Vec::new();
    file.by_ref().take(length).read_to_end(&mut header)?;
    // Which also holds shapes, types and places of the tensors against each other.
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| Trouble::Broken(format!("no safetensors file: {error}")))?;
    let told = metadata.data_len() as u64;
    let there = bytes.saturating_sub(START + length);
    if told != there {
        let wrong = if there < told {
            "it is cut short"
        } else {
            "bytes follow its last tensor"
        };
        return Err(Trouble::Broken(format!(
            "{wrong}: its tensors have {told} bytes, {there} are there"
        )));
    }
    let name = choose(metadata.offset_keys(), name)?;
    let info = metadata
        .info(&name)
        .ok_or_else(|| Trouble::Broken(format!("the header does not describe '{name}'")))?;
    let number = NumberType::of_safetensors(info.dtype)
        .ok_or_else(|| Trouble::Broken(unsupported(&format!("{:?}", info.dtype))))?;
    let (start, end) = info.data_offsets;
    file.seek(SeekFrom::Start(START + length + start as u64))?;
    let stored = Stored {
        shape: info.shape.clone(),
        fortran: false,
        number,
    };
    stored.read(&mut file, (end - start) as u64)
}
