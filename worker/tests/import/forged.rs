//! Archives that look like PyTorch's and mean harm.

use std::path::Path;

use anofpdm_common::network::Arch;

use super::archive::{archive, rebuilt, text};
use super::{args, refusal};

/// An archive with this description of its tensors, and four bytes as storage 0.
fn forge(path: &Path, pickle: &[u8]) {
    let files: [(&str, &[u8]); 4] = [
        ("data.pkl", pickle),
        ("byteorder", b"little"),
        ("data/0", &[0; 4]),
        ("version", b"3\n"),
    ];
    std::fs::write(path, archive("m", &files)).unwrap();
}

fn refused(pickle: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.pt");
    forge(&path, pickle);
    let message = refusal(&args(&path, Arch::V1));
    assert!(message.contains("forged.pt"), "{message}");
    message
}

/// A state dict of one tensor: `shape`, `stride` and elements of its storage as claimed.
fn one_tensor(shape: &[u64], stride: &[u64], storage: u64) -> Vec<u8> {
    one_tensor_of("FloatStorage", shape, stride, storage)
}

fn one_tensor_of(class: &str, shape: &[u64], stride: &[u64], storage: u64) -> Vec<u8> {
    [
        b"\x80\x02}".to_vec(),
        text("input_blocks.0.0.weight"),
        rebuilt(class, "0", shape, stride, storage),
        b"s.".to_vec(),
    ]
    .concat()
}

#[test]
fn the_forger_can_write_a_sound_file() {
    // One tensor is no network, but it is read as one tensor.
    let message = refused(&one_tensor(&[1, 1, 1, 1], &[1, 1, 1, 1], 1));
    assert!(
        message.contains("no tensor time_embed.0.weight"),
        "{message}"
    );
}

#[test]
fn other_storages_are_refused_by_name() {
    let pickle = one_tensor_of("ComplexFloatStorage", &[1], &[1], 1);
    let message = refused(&pickle);
    assert!(message.contains("torch.ComplexFloatStorage"), "{message}");
}

#[test]
fn sizes_that_no_file_has_are_refused() {
    for (shape, stride, storage) in [
        // More than its storage; a storage larger than the file; products past 64 bits.
        (&[1 << 20, 1][..], &[1, 1][..], 1),
        (&[1 << 40, 1], &[1, 1], 1 << 40),
        (&[1 << 40, 1 << 40], &[1, 1], 1),
        (&[1 << 62, 8], &[1 << 62, 1], u64::MAX >> 1),
        // A view that repeats its one value.
        (&[1 << 30, 1], &[0, 0], 1),
    ] {
        let message = refused(&one_tensor(shape, stride, storage));
        let told = [
            "needs",
            "claim",
            "overflow",
            "above the",
            "declares",
            "must be",
        ];
        assert!(told.iter().any(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (opening, closing) in [(&b"]"[..], &b"a"[..]), (b"", b"\x85")] {
        let depth = 200_000;
        let pickle = [
            b"\x80\x02".to_vec(),
            opening.repeat(depth),
            b"N".to_vec(),
            closing.repeat(depth),
            b".".to_vec(),
        ]
        .concat();
        let message = refused(&pickle);
        assert!(message.contains("nesting"), "{message}");
    }
}

#[test]
fn a_pickle_that_grows_is_refused() {
    // Thirty lists, each holding the one before ten times.
    let mut pickle = b"\x80\x02]q\x00".to_vec();
    for level in 1..30_u8 {
        pickle.extend(b"]q");
        pickle.push(level);
        pickle.push(b'(');
        for _ in 0..10 {
            pickle.extend([b'h', level - 1]);
        }
        pickle.push(b'e');
    }
    pickle.push(b'.');
    let message = refused(&pickle);
    assert!(!message.contains("no tensor"), "{message}");
    // And one that is only long.
    let message = refused(&[b"\x80\x02".to_vec(), b"N".repeat(2 << 20)].concat());
    assert!(
        message.contains("longer than that of any network"),
        "{message}"
    );
}

#[test]
fn compressed_archives_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.pt");
    forge(&path, &one_tensor(&[1, 1, 1, 1], &[1, 1, 1, 1], 1));
    // The first entry of the directory says that its file is deflated.
    let mut bytes = std::fs::read(&path).unwrap();
    let entry = bytes
        .windows(4)
        .position(|part| part == b"PK\x01\x02")
        .unwrap();
    bytes[entry + 10] = 8;
    std::fs::write(&path, bytes).unwrap();
    let message = refusal(&args(&path, Arch::V1));
    assert!(message.contains("is compressed"), "{message}");
}

#[test]
fn every_byte_may_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.pt");
    forge(&path, &one_tensor(&[1, 1, 1, 1], &[1, 1, 1, 1], 1));
    let whole = std::fs::read(&path).unwrap();
    for position in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[position] ^= flip;
            std::fs::write(&path, &damaged).unwrap();
            refusal(&args(&path, Arch::V1));
        }
    }
}
