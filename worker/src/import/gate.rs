//! What may stand in a `.pt` file before anything of it is read.
//!
//! A pickle is a program for a small stack machine, and one of its instructions fetches a Python
//! object by name. The reader runs none of what it fetches. Still, a file that asks for anything but
//! the few names a saved state dict needs is no state dict, and says so here; and a program too long
//! for one is refused before it costs memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::ImportError;

/// Names a saved state dict needs: module and name.
const ALLOWED: [(&str, &str); 15] = [
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "FloatStorage"),
    ("torch", "HalfStorage"),
    ("torch", "BFloat16Storage"),
    ("torch", "DoubleStorage"),
    ("torch", "LongStorage"),
    ("torch", "IntStorage"),
    ("torch", "ShortStorage"),
    ("torch", "CharStorage"),
    ("torch", "ByteStorage"),
    ("torch", "BoolStorage"),
    ("torch", "Size"),
];

/// Longest description of the tensors, bytes: that of the paper's network takes 60 kB.
const PICKLE_LIMIT: u64 = 16 << 20;
/// Most instructions: that of the paper's network takes 20,000.
const INSTRUCTION_LIMIT: u64 = 1 << 20;
/// Longest module or object name.
const NAME_LIMIT: u64 = 1024;
/// Most files in an archive: one a tensor and a few more.
const ENTRY_LIMIT: usize = 1 << 16;

const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";
/// The file of the archive that describes the tensors.
const DESCRIPTION: &str = "data.pkl";
/// Pickles of a legacy file, in order: magic number, version, machine, the saved object, storages.
const LEGACY_PICKLES: usize = 5;
/// What a legacy file's first pickle holds, least byte first.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Checks the pickles of a file written by `torch.save`, in its present (zip) or its legacy form.
///
/// # Errors
/// When it is neither, is cut short, or holds anything but tensors and plain values.
pub(super) fn check(path: &Path) -> Result<(), ImportError> {
    let io = |source| ImportError::Io {
        path: path.to_owned(),
        source,
    };
    let mut start = Vec::new();
    File::open(path)
        .map_err(io)?
        .take(64)
        .read_to_end(&mut start)
        .map_err(io)?;
    let checked = if start.starts_with(&ZIP_MAGIC) {
        check_archive(path)
    } else if start
        .windows(LEGACY_MAGIC.len())
        .any(|part| part == LEGACY_MAGIC)
    {
        File::open(path).map_err(Refusal::from).and_then(|file| {
            let mut file = BufReader::new(file).take(PICKLE_LIMIT);
            (0..LEGACY_PICKLES).try_for_each(|_| check_pickle(&mut file))
        })
    } else {
        Err(Refusal::Foreign)
    };
    checked.map_err(|refusal| ImportError::Refused {
        path: path.to_owned(),
        refusal,
    })
}

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("no checkpoint of torch.save: neither its archive nor its legacy form")]
    Foreign,
    #[error("a damaged archive: {0}")]
    Archive(#[from] zip::result::ZipError),
    #[error("an archive, but not one of torch.save: {0}")]
    Contents(String),
    #[error("it is cut short or damaged: its description of the tensors ends before its end")]
    Short,
    #[error("{0}")]
    Io(io::Error),
    #[error("its description of the tensors is longer than that of any network")]
    TooLong,
    #[error(
        "it asks for the Python object {module}.{name}, which no state dict needs, and is not read \
         (nothing of it was run); save the model's state_dict() alone, or do not trust the file"
    )]
    Name { module: String, name: String },
    /// An instruction that `torch.save` does not write.
    #[error(
        "it holds the pickle instruction {0:#04x}, which torch.save does not write in its usual form; \
         if the file is yours, save the state_dict() again without pickle_protocol"
    )]
    Instruction(u8),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Short
        } else {
            Self::Io(error)
        }
    }
}

fn check_archive(path: &Path) -> Result<(), Refusal> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    if archive.len() > ENTRY_LIMIT {
        return Err(Refusal::Contents(format!("{} files", archive.len())));
    }
    let mut description = None;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        // torch.save stores; what is compressed could grow without end.
        let name = entry.name()?;
        if entry.compression() != CompressionMethod::Stored {
            let name = name.escape_default();
            return Err(Refusal::Contents(format!("{name} is compressed")));
        }
        if name.rsplit('/').next() == Some(DESCRIPTION) {
            if description.replace(index).is_some() {
                return Err(Refusal::Contents(format!("several {DESCRIPTION}")));
            }
            if entry.size() > PICKLE_LIMIT {
                return Err(Refusal::TooLong);
            }
        }
    }
    let Some(index) = description else {
        return Err(Refusal::Contents(format!("it holds no {DESCRIPTION}")));
    };
    check_pickle(&mut BufReader::new(archive.by_index(index)?).take(PICKLE_LIMIT))
}

/// Walks one pickle to its end.
fn check_pickle<R: BufRead>(pickle: &mut io::Take<R>) -> Result<(), Refusal> {
    for _ in 0..INSTRUCTION_LIMIT {
        match byte(pickle)? {
            // Stop.
            b'.' => return Ok(()),
            // Marks, containers, constants, calls, and moves within the stack.
            b'('
            | b')'
            | b']'
            | b'}'
            | b't'
            | b'u'
            | b's'
            | b'e'
            | b'a'
            | b'N'
            | b'R'
            | b'b'
            | b'Q'
            | b'0'
            | b'1'
            | b'2'
            | 0x81
            | 0x85..=0x89 => {}
            // Numbers, and places in the memory of values.
            b'K' | b'h' | b'q' => skip(pickle, 1)?,
            b'M' => skip(pickle, 2)?,
            b'J' | b'j' | b'r' => skip(pickle, 4)?,
            b'G' => skip(pickle, 8)?,
            // Long numbers, texts, bytes.
            0x8a | b'U' | b'C' => {
                let length = byte(pickle)?;
                skip(pickle, u64::from(length))?;
            }
            0x8b | b'X' | b'T' | b'B' => {
                let mut length = [0; 4];
                pickle.read_exact(&mut length)?;
                skip(pickle, u64::from(u32::from_le_bytes(length)))?;
            }
            // Protocol.
            0x80 => match byte(pickle)? {
                2 | 3 => {}
                _ => return Err(Refusal::Instruction(0x80)),
            },
            // A Python object by name.
            b'c' => {
                let (module, name) = (line(pickle)?, line(pickle)?);
                if !ALLOWED.contains(&(module.as_str(), name.as_str())) {
                    return Err(Refusal::Name { module, name });
                }
            }
            other => return Err(Refusal::Instruction(other)),
        }
    }
    Err(Refusal::TooLong)
}

fn byte<R: Read>(pickle: &mut io::Take<R>) -> Result<u8, Refusal> {
    let mut byte = [0];
    match pickle.read_exact(&mut byte) {
        Ok(()) => Ok(byte[0]),
        Err(_) if pickle.limit() == 0 => Err(Refusal::TooLong),
        Err(error) => Err(error.into()),
    }
}

fn skip<R: Read>(pickle: &mut io::Take<R>, bytes: u64) -> Result<(), Refusal> {
    let skipped = io::copy(&mut pickle.by_ref().take(bytes), &mut io::sink())?;
    if skipped == bytes {
        Ok(())
    } else if pickle.limit() == 0 {
        Err(Refusal::TooLong)
    } else {
        Err(Refusal::Short)
    }
}

fn line<R: BufRead>(pickle: &mut io::Take<R>) -> Result<String, Refusal> {
    let mut text = Vec::new();
    pickle
        .by_ref()
        .take(NAME_LIMIT)
        .read_until(b'\n', &mut text)?;
    if text.pop() != Some(b'\n') {
        return Err(Refusal::Short);
    }
    // A name that is no text is in no list; what is left of it is enough to show.
    Ok(String::from_utf8_lossy(&text).escape_default().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pickle: &[u8]) -> Result<(), String> {
        check_pickle(&mut pickle.take(PICKLE_LIMIT)).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn the_words_of_a_state_dict_pass() {
        let pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00wq\x02\
            ctorch._utils\n_rebuild_tensor_v2\nq\x03(X\x07\x00\x00\x00storageq\x04\
            ctorch\nFloatStorage\nq\x05tQK\x00\x85)\x89tRs.";
        checked(pickle).unwrap();
    }

    #[test]
    fn a_name_outside_the_list_is_refused_wherever_it_stands() {
        for pickle in [
            &b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."[..],
            // Called, and its result thrown away.
            b"\x80\x02}cposix\nsystem\n)R0.",
            b"\x80\x02ccollections\nOrderedDict\ncbuiltins\neval\n0.",
        ] {
            let message = checked(pickle).unwrap_err();
            assert!(message.contains("nothing of it was run"), "{message}");
        }
        let message = checked(b"c\xff\x1b[31m\nx\n.").unwrap_err();
        assert!(!message.contains('\x1b'), "{message}");
    }

    #[test]
    fn other_instructions_and_protocols_are_refused() {
        for pickle in [
            // By-name fetch from the stack, old-style instances, extension codes, protocol 4.
            &b"\x80\x02X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93."[..],
            b"(ios\nsystem\n.",
            b"(cos\nsystem\no.",
            b"\x82\x01.",
            b"\x80\x04}.",
        ] {
            assert!(checked(pickle).is_err());
        }
    }

    #[test]
    fn short_and_endless_pickles_are_refused() {
        let whole = b"\x80\x02X\x05\x00\x00\x00hello.";
        checked(whole).unwrap();
        for cut in 0..whole.len() {
            let message = checked(&whole[..cut]).unwrap_err();
            assert!(message.contains("cut short"), "{cut}: {message}");
        }
        let claims = checked(b"X\xff\xff\xff\xff").unwrap_err();
        assert!(claims.contains("cut short"), "{claims}");
        let endless = vec![b'N'; 2 << 20];
        let message = checked(&endless).unwrap_err();
        assert!(message.contains("longer than"), "{message}");
    }
}
