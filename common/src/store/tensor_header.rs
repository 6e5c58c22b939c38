//! The header of a safetensors file, read within a limit: what it says is not believed before it is there.

use std::io::{self, Read};

use safetensors::tensor::Metadata;

/// Bytes that say how long the header is.
const LENGTH_BYTES: usize = 8;

#[derive(Debug)]
pub struct TensorHeader {
    /// Shapes, types and places of the tensors, held against each other.
    pub metadata: Metadata,
    /// Where in the file the tensors begin.
    pub data_start: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a header of {length} bytes, expected at most {limit}")]
    TooLong { length: u64, limit: u64 },
    #[error(transparent)]
    Parse(#[from] serde_json::Error),
}

impl TensorHeader {
    /// Reads the first bytes of a file; a header of more than `limit` bytes is refused before room is made for it.
    pub fn read(mut file: impl Read, limit: u64) -> Result<Self, HeaderError> {
        let mut length = [0; LENGTH_BYTES];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > limit {
            return Err(HeaderError::TooLong { length, limit });
        }
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header)?;
        Ok(Self {
            metadata: serde_json::from_slice(&header)?,
            data_start: LENGTH_BYTES as u64 + length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_within_its_limit() {
        let text = br#"{"x":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#;
        let file = [&(text.len() as u64).to_le_bytes()[..], text, &[1, 2, 3]].concat();
        let limit = text.len() as u64;
        let header = TensorHeader::read(&file[..], limit).unwrap();
        assert_eq!(header.data_start, 8 + limit);
        assert_eq!(header.metadata.info("x").unwrap().shape, [3]);
        let error = |bytes: &[u8], limit| TensorHeader::read(bytes, limit).unwrap_err();
        assert!(matches!(error(&file[..7], limit), HeaderError::Io(_)));
        assert!(matches!(error(&file[..20], limit), HeaderError::Parse(_)));
        let message = error(&file, limit - 1).to_string();
        assert_eq!(message, "a header of 53 bytes, expected at most 52");
    }
}
