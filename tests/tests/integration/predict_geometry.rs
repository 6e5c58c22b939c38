//! Where volumes that `predict` wrote lie: as those they were made from.

use std::process::Command;

use anofpdm_tests::fixture::Fixture;
use anofpdm_tests::programs::nibabel;
use nifti::{NiftiHeader, NiftiObject, ReaderOptions};

/// Headers of the volumes in the folder `out` are those of their sources in `data`.
pub(crate) fn is_that_of_the_source(fixture: &Fixture, out: &str) {
    let header = |path: String| -> NiftiHeader {
        let read = ReaderOptions::new()
            .read_file(fixture.path().join(path))
            .unwrap();
        read.header().clone()
    };
    for subject in 0..48 {
        let source = header(format!("data/s{subject:02}_flair.nii.gz"));
        for (name, datatype) in [("map", 16), ("mask", 2)] {
            let written = header(format!("{out}/s{subject:02}_{name}.nii.gz"));
            assert_eq!(written.datatype, datatype);
            assert_eq!(written.dim, source.dim, "{subject}");
            assert_eq!(written.pixdim[..4], source.pixdim[..4], "{subject}");
            let forms =
                |header: &NiftiHeader| (header.sform_code, header.qform_code, header.xyzt_units);
            assert_eq!(forms(&written), forms(&source), "{subject}");
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
            let rows =
                |header: &NiftiHeader| [header.srow_x, header.srow_y, header.srow_z].concat();
            assert!(near(&rows(&written), &rows(&source)), "{subject}");
            let rotation = |header: &NiftiHeader| {
                [
                    header.quatern_b,
                    header.quatern_c,
                    header.quatern_d,
                    header.quatern_x,
                    header.quatern_y,
                    header.quatern_z,
                ]
            };
            assert!(near(&rotation(&written), &rotation(&source)), "{subject}");
        }
    }
}

/// The same by nibabel.
pub(crate) fn another_reader_sees_it_too(fixture: &Fixture, out: &str) {
    let Some(python) = nibabel("another_reader_sees_it_too") else {
        return;
    };
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/integration/predict_geometry.py"
    );
    let [data, out] = ["data", out].map(|name| fixture.path().join(name));
    let mut command = Command::new(python);
    let seen = command.arg(script).arg(data).arg(out).output().unwrap();
    let told = String::from_utf8_lossy(&seen.stderr);
    assert!(seen.status.success(), "{told}");
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "48");
}
