//! The byte form of everything that crosses a process border or outlives a process.
//!
//! The only module that knows `bincode`. That crate is unmaintained (RUSTSEC-2025-0141; its 3.0.0 is a
//! tombstone), so it is pinned to 2.0.1, configured in one place and hidden behind [`encode`] and
//! [`decode`]; golden bytes in the tests let another codec take its place one day.
//!
//! An envelope is
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | magic `AFPD` |
//! | 4..6 | schema version, u16 |
//! | 6 | [`Kind`] |
//! | 7..11 | payload length, u32 |
//! | 11..15 | CRC-32 (IEEE) of bytes 0..11 and the payload, u32 |
//! | 15.. | payload: bincode, little-endian, fixed-width integers |
//!
//! All integers are little-endian. Widths are fixed so that the decoder's limit counts exactly the
//! payload's bytes. The envelope carries its own length, so a stream or a file is envelopes one after
//! another.
//!
//! Whatever the bytes, decoding gives a value or a [`WireError`]: the size is checked before anything is
//! read, bincode runs under a limit (without one, a length of 1 TiB in eleven bytes aborts the process),
//! every byte must be used, and the value must pass [`Message::check`]. What is written passes the same
//! check, so that a mistake shows at its source.
//!
//! Three things are up to the types: bincode is not self-describing, so a type with
//! `skip_serializing_if`, `flatten` or `untagged` does not come back; a list of zero-sized elements has no
//! cost that a limit could bound; and a list is read with [`list`], so that an announced length costs no
//! memory beyond what the type allows.

mod list;

use std::io::{self, Write};

pub use list::{bytes, list};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// First bytes of every envelope.
pub const MAGIC: [u8; 4] = *b"AFPD";

/// Raised when the bytes of any message change; other versions are refused.
pub const SCHEMA_VERSION: u16 = 2;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 15;

/// Where the checksum lies; what is before it is covered by it.
const CHECKSUM_AT: usize = 11;

const MESSAGE_LIMIT: usize = 64 << 10;
const FRAME_LIMIT: usize = 1 << 20;
const RECORD_LIMIT: usize = 64 << 20;

/// What an envelope holds. Decides the size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A worker's question to the queue.
    Request = 1,
    /// The queue's answer.
    Response = 2,
    Journal = 3,
    /// What one cell says about one batch.
    Record = 4,
    /// The record keys and digests of a shard.
    Manifest = 5,
    /// What a worker is asked to do, on its way through Redis.
    Job = 6,
    /// A result on its way through Redis.
    Claim = 7,
    /// A worker that wants to be let in, on its way through Redis.
    Hello = 8,
}

impl Kind {
    /// Most payload bytes an envelope of this kind may carry.
    pub const fn limit(self) -> usize {
        match self {
            Self::Request | Self::Response | Self::Job | Self::Claim | Self::Hello => MESSAGE_LIMIT,
            Self::Journal | Self::Manifest => FRAME_LIMIT,
            Self::Record => RECORD_LIMIT,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Journal => "journal entry",
            Self::Record => "record",
            Self::Manifest => "manifest",
            Self::Job => "job",
            Self::Claim => "claim",
            Self::Hello => "hello",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Most memory that [`decode`] takes at once for an envelope of so many bytes, the value and the words of an error
/// included: a hostile message costs this much and no more.
///
/// Values are wider than their bytes (an empty list is 8 bytes there and 24 here), and a list is read into room for what it
/// announces: up to 1 MiB, and that twice where lists hold lists.
pub const fn most_memory(envelope: usize) -> usize {
    5 * envelope + (2 << 20)
}

pub trait Message: Serialize + DeserializeOwned {
    const KIND: Kind;

    /// Whether the value makes sense: what the types alone do not say, and needs nothing but the value.
    fn check(&self) -> Result<(), String>;
}

/// Bytes that are not what they should be, or a value too large to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the envelope announces.
    #[error("{kind} is cut short: {have} of {need} bytes")]
    Truncated {
        kind: Kind,
        have: usize,
        need: usize,
    },
    /// More bytes than the envelope or its value uses.
    #[error("{kind} is followed by {extra} unexpected bytes")]
    TrailingBytes { kind: Kind, extra: usize },
    /// The first bytes are not [`MAGIC`].
    #[error("{0} does not begin with the magic of an anofpdm message")]
    Magic(Kind),
    #[error(
        "{kind} has schema version {found}, this program reads {SCHEMA_VERSION}: run the same version everywhere"
    )]
    Version { kind: Kind, found: u16 },
    #[error("expected a {expected}, found kind {found}")]
    Kind { expected: Kind, found: u8 },
    /// Above the limit of its kind; found before anything is read or sent.
    #[error("{kind} of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        kind: Kind,
        /// Its size, or as far as it was counted.
        bytes: usize,
        /// [`Kind::limit`].
        limit: usize,
    },
    #[error("{0} is damaged: its checksum does not match")]
    Checksum(Kind),
    #[error("{kind} cannot be read: {reason}")]
    Payload { kind: Kind, reason: String },
    #[error("{kind} is out of range: {reason}")]
    Range { kind: Kind, reason: String },
    #[error("{kind} cannot be written: {reason}")]
    Unwritable { kind: Kind, reason: String },
}

/// The envelope of `value`.
///
/// # Errors
/// [`WireError::TooLarge`] over the limit of its kind, [`WireError::Range`] when it cannot be meant,
/// [`WireError::Unwritable`] when the codec refuses.
pub fn encode<T: Message>(value: &T) -> Result<Vec<u8>, WireError> {
    let kind = T::KIND;
    in_range(value)?;
    let mut sink = Sink {
        bytes: header(kind),
        kind,
        overflow: None,
    };
    if let Err(error) =
        bincode::serde::encode_into_std_write(value, &mut sink, config::<RECORD_LIMIT>())
    {
        return Err(match sink.overflow {
            Some(bytes) => WireError::TooLarge {
                kind,
                bytes,
                limit: kind.limit(),
            },
            None => WireError::Unwritable {
                kind,
                reason: error.to_string(),
            },
        });
    }
    Ok(seal(sink.bytes))
}

/// An envelope of `kind` around a payload that need not be a value: for those who try out readers.
pub fn enclose(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind);
    bytes.extend_from_slice(payload);
    seal(bytes)
}

/// The value in an envelope that fills `bytes` exactly.
///
/// # Errors
/// Every [`WireError`] but [`WireError::Unwritable`].
pub fn decode<T: Message>(bytes: &[u8]) -> Result<T, WireError> {
    let kind = T::KIND;
    let payload = open(kind, bytes)?;
    let decoded = match kind.limit() {
        MESSAGE_LIMIT => decode_payload::<T, MESSAGE_LIMIT>(payload),
        FRAME_LIMIT => decode_payload::<T, FRAME_LIMIT>(payload),
        _ => decode_payload::<T, RECORD_LIMIT>(payload),
    };
    let (value, used) = decoded.map_err(|error| WireError::Payload {
        kind,
        reason: error.to_string(),
    })?;
    match payload.len() - used {
        0 => in_range(&value).map(|()| value),
        extra => Err(WireError::TrailingBytes { kind, extra }),
    }
}

fn in_range<T: Message>(value: &T) -> Result<(), WireError> {
    value.check().map_err(|reason| WireError::Range {
        kind: T::KIND,
        reason,
    })
}

/// Bytes of the whole envelope whose first [`HEADER_LEN`] bytes are `header`: what a reader of a stream
/// must fetch. The checksum is not looked at.
pub fn envelope_len(kind: Kind, header: &[u8; HEADER_LEN]) -> Result<usize, WireError> {
    let [m0, m1, m2, m3, v0, v1, tag, l0, l1, l2, l3, ..] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(WireError::Magic(kind));
    }
    let found = u16::from_le_bytes([v0, v1]);
    if found != SCHEMA_VERSION {
        return Err(WireError::Version { kind, found });
    }
    if tag != kind as u8 {
        return Err(WireError::Kind {
            expected: kind,
            found: tag,
        });
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > kind.limit() {
        return Err(WireError::TooLarge {
            kind,
            bytes: length,
            limit: kind.limit(),
        });
    }
    Ok(HEADER_LEN + length)
}

/// The payload of an envelope that fills `bytes` exactly, its checksum verified.
///
/// # Errors
/// As [`envelope_len`], and [`WireError::Truncated`], [`WireError::TrailingBytes`], [`WireError::Checksum`].
pub fn open(kind: Kind, bytes: &[u8]) -> Result<&[u8], WireError> {
    let truncated = |need| WireError::Truncated {
        kind,
        have: bytes.len(),
        need,
    };
    let (header, payload) = bytes
        .split_first_chunk::<HEADER_LEN>()
        .ok_or_else(|| truncated(HEADER_LEN))?;
    let need = envelope_len(kind, header)?;
    if bytes.len() < need {
        return Err(truncated(need));
    }
    if bytes.len() > need {
        return Err(WireError::TrailingBytes {
            kind,
            extra: bytes.len() - need,
        });
    }
    let (covered, checksum) = header.split_at(CHECKSUM_AT);
    if checksum == checksum_of(covered, payload) {
        Ok(payload)
    } else {
        Err(WireError::Checksum(kind))
    }
}

/// The one configuration. The limit binds the decoder only; the encoder's is the [`Sink`]'s.
fn config<const LIMIT: usize>() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<LIMIT>()
}

fn decode_payload<T: DeserializeOwned, const LIMIT: usize>(
    payload: &[u8],
) -> Result<(T, usize), bincode::error::DecodeError> {
    bincode::serde::decode_from_slice(payload, config::<LIMIT>())
}

/// A header with length and checksum still zero.
fn header(kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&SCHEMA_VERSION.to_le_bytes());
    bytes.push(kind as u8);
    bytes.resize(HEADER_LEN, 0);
    bytes
}

/// Fills in length and checksum.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let (header, payload) = bytes.split_at_mut(HEADER_LEN);
    let (covered, checksum) = header.split_at_mut(CHECKSUM_AT);
    // The sink has held the payload under a limit far below 2^32.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    covered[CHECKSUM_AT - 4..].copy_from_slice(&length.to_le_bytes());
    checksum.copy_from_slice(&checksum_of(covered, payload));
    bytes
}

fn checksum_of(covered: &[u8], payload: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(covered);
    hasher.update(payload);
    hasher.finalize().to_le_bytes()
}

/// Collects an envelope and stops the encoder at the limit, so that a value too large is never held twice.
struct Sink {
    bytes: Vec<u8>,
    kind: Kind,
    overflow: Option<usize>,
}

impl Write for Sink {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let size = self.bytes.len() - HEADER_LEN + chunk.len();
        if size > self.kind.limit() {
            self.overflow = Some(size);
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
