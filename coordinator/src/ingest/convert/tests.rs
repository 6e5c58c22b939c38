use tempfile::TempDir;

use super::super::volume::IDENTITY;
use super::super::volume::tests::test_file::{Field, TestFile};
use super::*;

const SHAPE: [i16; 3] = [6, 5, 7];

/// BraTS' orientation, away from the origin.
const LPS: Affine = [
    [-1.0, 0.0, 0.0, 20.0],
    [0.0, -1.0, 0.0, 30.0],
    [0.0, 0.0, 1.0, -7.0],
];

/// Values by place, first axis fastest.
fn filled(shape: [i16; 3], at: impl Fn(i16, i16, i16) -> f32) -> Vec<f32> {
    let [width, height, depth] = shape;
    let mut values = Vec::new();
    for z in 0..depth {
        for y in 0..height {
            values.extend((0..width).map(|x| at(x, y, z)));
        }
    }
    values
}

/// A head in slices 2 to 4 that no flip leaves as it is.
fn head(x: i16, y: i16, z: i16) -> f32 {
    f32::from(u8::from((2..5).contains(&z))) * f32::from(100 + x + 10 * y + z)
}

fn lesion(x: i16, y: i16, z: i16) -> f32 {
    f32::from(u8::from(z == 3 && x < 3 && y == 1))
}

fn image() -> TestFile {
    TestFile::new(SHAPE, LPS).floats(&filled(SHAPE, head))
}

fn mask() -> TestFile {
    TestFile::new(SHAPE, LPS).floats(&filled(SHAPE, lesion))
}

/// Converts `s_flair.nii` and `s_seg.nii` with these contents, at `size`.
fn converted_at(size: usize, image: &TestFile, mask: &TestFile) -> Result<SubjectData, SkipReason> {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let files = ["s_flair.nii", "s_seg.nii"].map(|name| folder.path().join(name));
    image.write(&files[0]);
    mask.write(&files[1]);
    let [first, second] = files;
    convert(
        &Conversion {
            modalities: vec!["flair".to_owned()],
            size,
            orientation: Orientation::Lps,
            pad: false,
        },
        &ChosenFiles {
            images: vec![first],
            mask: Some(second),
        },
        None,
    )
}

fn converted(image: &TestFile, mask: &TestFile) -> Result<SubjectData, SkipReason> {
    converted_at(8, image, mask)
}

fn reason(image: &TestFile, mask: &TestFile) -> String {
    converted(image, mask).unwrap_err().to_string()
}

#[test]
fn a_sound_subject_has_no_notices() {
    let data = converted(&image(), &mask()).unwrap();
    assert_eq!(data.slice_index, [2, 3, 4]);
    assert_eq!(data.label, [0, 1, 0]);
    assert!(data.notices.is_empty(), "{:?}", data.notices);
}

/// The axes of the mask run to S, R and P, those of the image to L, P and S.
#[test]
fn a_mask_stored_in_another_order_is_turned() {
    let straight = converted(&image(), &mask()).unwrap();
    let shape = [SHAPE[2], SHAPE[0], SHAPE[1]];
    let affine = [
        [0.0, 1.0, 0.0, 20.0 - 5.0],
        [0.0, 0.0, -1.0, 30.0],
        [1.0, 0.0, 0.0, -7.0],
    ];
    let turned = |at: fn(i16, i16, i16) -> f32| {
        TestFile::new(shape, affine).floats(&filled(shape, |s, r, p| at(SHAPE[0] - 1 - r, p, s)))
    };
    let data = converted(&image(), &turned(lesion)).unwrap();
    assert_eq!((&data.mask, &data.label), (&straight.mask, &straight.label));
    assert_eq!(data.image, straight.image);
    // And an image that lies so, beside a straight mask.
    let data = converted(&turned(head), &mask()).unwrap();
    assert_eq!((&data.mask, &data.label), (&straight.mask, &straight.label));
    assert_eq!(data.image, straight.image);
    assert_eq!(data.source.affine, affine);
}

#[test]
fn a_mask_without_its_images_affine_is_refused_with_both() {
    let lost = TestFile::new(SHAPE, IDENTITY).floats(&filled(SHAPE, lesion));
    let expected = "s_seg.nii: its affine differs from that of s_flair.nii: [1 0 0 0; 0 1 0 0; 0 0 1 0] and \
                    [-1 0 0 20; 0 -1 0 30; 0 0 1 -7]; save it with that image's affine if its voxels are the same places \
                    (nibabel.Nifti1Image(data, image.affine, image.header)), resample it if they are not";
    assert_eq!(reason(&image(), &lost), expected);
    let silent = mask().with(Field::SformCode, 0.0);
    assert_eq!(reason(&image(), &silent), expected);
    // Both of them silent lie on one grid.
    assert!(converted(&image().with(Field::SformCode, 0.0), &silent).is_ok());
    let shape = [6, 5, 6];
    let short = TestFile::new(shape, LPS).floats(&filled(shape, lesion));
    assert_eq!(
        reason(&image(), &short),
        "s_seg.nii: shape [6, 5, 6] differs from [6, 5, 7] of s_flair.nii"
    );
}

#[test]
fn values_that_are_no_image_or_no_mask_are_named_with_their_file() {
    // In the head, mean 0 and standard deviation 1 or so; outside 0, or -3.
    let normalised = |outside: f32| {
        TestFile::new(SHAPE, LPS).floats(&filled(SHAPE, |x, y, z| match head(x, y, z) {
            0.0 => outside,
            value => (value - 125.5) / 14.4,
        }))
    };
    for outside in [0.0, -3.0] {
        let reason = reason(&normalised(outside), &mask());
        assert!(reason.starts_with("s_flair.nii: "), "{reason}");
        assert!(reason.contains("% of its voxels are below 0"), "{reason}");
        assert!(reason.contains("before normalisation"), "{reason}");
    }
    let faint = TestFile::new(SHAPE, LPS).floats(&filled(SHAPE, |x, y, z| 0.4 * lesion(x, y, z)));
    let reason_faint = reason(&image(), &faint);
    assert!(
        reason_faint
            .starts_with("s_seg.nii: 3 of the 3 voxels that are not 0 hold no whole number"),
        "{reason_faint}"
    );
    assert_eq!(
        reason(&image(), &image()),
        "s_seg.nii: its voxels are those of s_flair.nii; give the lesion mask"
    );
    let spike = TestFile::new(SHAPE, LPS).floats(&filled(SHAPE, |x, y, z| {
        if (x, y, z) == (1, 2, 3) {
            3.4e38
        } else {
            head(x, y, z) / 400.0
        }
    }));
    // One voxel of 90 is over the percentile: the percentile itself is its.
    let reason_spike = reason(&spike, &mask());
    assert!(
        reason_spike.starts_with("s_flair.nii: its 99th percentile (3.74"),
        "{reason_spike}"
    );
    assert!(
        reason_spike.contains("only 1 of 90 voxels above 0 reach a hundredth of it"),
        "{reason_spike}"
    );
}

#[test]
fn lesions_that_no_stored_slice_shows_are_told() {
    let beyond = TestFile::new(SHAPE, LPS).floats(&filled(SHAPE, |x, y, z| {
        lesion(x, y, z) + f32::from(u8::from((z == 0 || z == 6) && x < 2 && y == 0))
    }));
    let data = converted(&image(), &beyond).unwrap();
    assert_eq!(data.label, [0, 1, 0]);
    assert_eq!(
        data.notices,
        [
            "s_seg.nii: lesion slices left out, since the images are empty there: 2 (4 voxels, in slices 0 to 6 from 0); \
             slices 2 to 4 are kept; is the mask at its place?"
        ]
    );
    let speck = TestFile::new(SHAPE, LPS).floats(&filled(SHAPE, |x, y, z| {
        f32::from(u8::from((x, y, z) == (0, 0, 3)))
    }));
    let data = converted_at(2, &image(), &speck).unwrap();
    assert_eq!(data.label, [0, 0, 0]);
    assert_eq!(
        data.notices,
        [
            "s_seg.nii: its lesion (slices: 1, voxels: 1) is too small for 2 x 2 pixels and vanishes: the subject counts as \
             healthy; preprocess with a larger --size"
        ]
    );
}
