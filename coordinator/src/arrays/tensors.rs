//! An array in a safetensors file.

use std::io::{Read, Seek, SeekFrom};

use anofpdm_common::store::tensor_header::{HeaderError, TensorHeader};

use super::number::NumberType;
use super::numpy::unsupported;
use super::stored::{Stored, Trouble};
use super::{Element, Images, choose};

/// Longest header that is read, bytes.
const LONGEST_HEADER: u64 = 1 << 24;

/// Reads a tensor of a file of `bytes` bytes.
pub(super) fn read<T: Element>(
    mut file: impl Read + Seek,
    bytes: u64,
    name: Option<&str>,
) -> Result<Images<T>, Trouble> {
    let TensorHeader {
        metadata,
        data_start,
    } = TensorHeader::read(&mut file, LONGEST_HEADER).map_err(|error| match error {
        HeaderError::Io(error) => error.into(),
        HeaderError::TooLong { length, .. } => Trouble::Broken(format!(
            "a header of {length} bytes: this is no safetensors file"
        )),
        HeaderError::Parse(error) => Trouble::Broken(format!("no safetensors file: {error}")),
    })?;
    let told = metadata.data_len() as u64;
    let there = bytes.saturating_sub(data_start);
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
    file.seek(SeekFrom::Start(data_start + start as u64))?;
    let stored = Stored {
        shape: info.shape.clone(),
        fortran: false,
        number,
    };
    stored.read(&mut file, (end - start) as u64)
}
