//! Archives of every root name, which is the stem of the file's name when it was saved.

use std::fs;
use std::path::PathBuf;

use anofpdm_common::network::Arch;
use anofpdm_worker::import::import;

use super::archive::{archive_of, files_of};
use super::{args, fixtures, refusal};

#[test]
fn the_forger_writes_what_pytorch_writes() {
    let folder = tempfile::tempdir().unwrap();
    fixtures(folder.path());
    for name in ["v2-zip-f32.pt", "v1-zip-bf16-wrapped.pt", "hostile-zip.pt"] {
        let path = folder.path().join(name);
        let (root, files) = files_of(&path);
        assert!(
            archive_of(&root, &files) == fs::read(&path).unwrap(),
            "{name}: other bytes"
        );
    }
}

#[test]
fn archives_of_every_root_name_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fixtures(folder.path());
    let (_, files) = files_of(&folder.path().join("v2-zip-f32.pt"));
    let letters = "modelbratsclass020000_and_what_else_a_checkpoint_may_be_called";
    let path = folder.path().join("renamed.pt");
    // Again into one place: what is there is what is written, so every one of them is the same.
    let args = args(&path, Arch::V2);
    for length in 1..=60 {
        fs::write(&path, archive_of(&letters[..length], &files)).unwrap();
        let imported = import(&args).unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!(imported.config, super::network("v2"), "{length}");
    }
}

/// A classifier's name as diffusion-anomaly gives it, saved by PyTorch 2.11: one tensor, so no network, but read.
#[test]
fn the_name_of_a_public_classifier_is_read() {
    let shared = std::env::var_os("ANOFPDM_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = shared.join("field/modelbratsclass020000.pt");
    if !path.exists() {
        println!("skipped: {} is absent (set ANOFPDM_SHARED)", path.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("modelbratsclass020000.pt");
    fs::copy(path, &copy).unwrap();
    let message = refusal(&args(&copy, Arch::Classifier));
    assert!(
        message.contains("none of its 1 tensors is the input_blocks.0.0.weight"),
        "{message}"
    );
}
