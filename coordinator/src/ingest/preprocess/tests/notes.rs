//! What a call says of a set as a whole, and says again.

use super::*;

const IDENTITY: [[f32; 4]; 3] = [
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 0.0],
];

fn write_subject(set: &Set, id: &str, affine: [[f32; 4]; 3]) {
    for name in ["flair", "t2"] {
        write_volume(&set.file(id, name), SHAPE, affine, value);
    }
    write_volume(&set.file(id, "seg"), SHAPE, affine, lesion);
}

/// The same brain with its affine and with numpy.eye(4): which way the second faces cannot be told.
#[test]
fn an_identity_beside_affines_is_skipped_and_alone_is_taken_as_it_is() {
    let set = Set::new(&["a", "b"]);
    write_subject(&set, "c", IDENTITY);
    let report = set.run().unwrap();
    let skipped = &report.store.manifest().skipped;
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].id, "c");
    assert_eq!(
        skipped[0].reason,
        "c_flair.nii.gz: its affine is the identity, which programs write that know no orientation, and 2 other subjects \
         state theirs (e.g. a_flair.nii.gz): it may face another way than they do; save it with the affine of the scan that \
         it came from"
    );
    assert!(report.notes.is_empty(), "{:?}", report.notes);

    for id in ["a", "b"] {
        write_subject(&set, id, IDENTITY);
    }
    let report = set.run().unwrap();
    assert!(report.store.manifest().skipped.is_empty());
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
    assert!(report.notes[1].starts_with("2 subjects were converted again: "));
    assert!(
        report.notes[0].starts_with("no volume of this set tells which way its axes run"),
        "{:?}",
        report.notes
    );
    // As it is: the first stored pixel is the first voxel, as in a BraTS volume.
    let other = Set::new(&["a"]);
    let straight = other.run().unwrap();
    let first = |report: &Report| {
        let mut slice = Vec::new();
        let subject = report.store.images().subject("a").unwrap();
        subject.read_slice(0, &mut slice).unwrap();
        slice
    };
    assert_eq!(first(&report), first(&straight));
}

#[test]
fn a_kept_subject_is_warned_of_again() {
    let set = Set::new(&["a", "b"]);
    write_volume(&set.file("b", "seg"), SHAPE, LPS, |x, y, z| {
        lesion(x, y, z) + f32::from(u8::from(z == 0 && x == 1))
    });
    let first = set.run().unwrap();
    assert_eq!((first.converted, first.notes.len()), (2, 1));
    assert!(
        first.notes[0].starts_with("b: b_seg.nii.gz: lesion slices left out, since the images are empty there: 1 (10 voxels, in slices 0 to 0"),
        "{:?}",
        first.notes
    );
    let second = set.run().unwrap();
    assert_eq!((second.kept, &second.notes), (2, &first.notes));
}
