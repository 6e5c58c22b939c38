use std::fs;

use proptest::prelude::*;

use super::*;

fn sizes(splits: &[Split]) -> [usize; 3] {
    Split::ALL.map(|split| splits.iter().filter(|s| **s == split).count())
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("s{i:04}")).collect()
}

fn alone(names: &[String]) -> Vec<Member<'_>> {
    names.iter().map(|name| Member::alone(name)).collect()
}

fn draw(source: &str, members: &[Member<'_>], seed: u64) -> Vec<Split> {
    assign(source, Path::new(""), members, seed).unwrap()
}

proptest! {
    #[test]
    fn three_patients_or_more_leave_no_split_empty(n in 3_usize..400, seed: u64) {
        let names = names(n);
        let splits = draw("75/5/20", &alone(&names), seed);
        prop_assert!(sizes(&splits).iter().all(|size| *size > 0));
        prop_assert_eq!(splits.len(), n);
    }

    /// Whoever has how many scans, and in whatever order they come: all of a patient's go to one split, and the
    /// patients are dealt as if each had one.
    #[test]
    fn scans_of_a_patient_stay_together(
        scans in prop::collection::vec(1_usize..5, 3..60),
        seed: u64,
        reference: bool,
        turn in 0_usize..100,
    ) {
        let source = if reference { "reference" } else { "60/20/20" };
        let ids: Vec<(String, String)> = scans
            .iter()
            .enumerate()
            .flat_map(|(patient, count)| {
                (0..*count).map(move |scan| {
                    (format!("p{patient:03}_ses-{scan}"), format!("p{patient:03}"))
                })
            })
            .collect();
        let mut members: Vec<Member<'_>> =
            ids.iter().map(|(id, patient)| Member { id, patient }).collect();
        let turn = turn % members.len();
        members.rotate_left(turn);
        let splits = draw(source, &members, seed);
        let patients: Vec<String> = (0..scans.len()).map(|patient| format!("p{patient:03}")).collect();
        let whole = draw(source, &alone(&patients), seed);
        for (member, split) in members.iter().zip(splits) {
            let place = patients.iter().position(|patient| patient == member.patient).unwrap();
            prop_assert_eq!(split, whole[place]);
        }
    }
}

/// As versions without patients dealt them: a set of one scan a patient keeps its split for ever.
#[test]
fn splits_of_single_scans_are_those_of_earlier_versions() {
    let letters = |source: &str, seed| -> String {
        let names = names(12);
        let letter = |split: &Split| match split {
            Split::Train => 't',
            Split::Validation => 'v',
            Split::Test => 'e',
        };
        draw(source, &alone(&names), seed)
            .iter()
            .map(letter)
            .collect()
    };
    assert_eq!(letters("75/5/20", 0), "etttttetvtte");
    assert_eq!(letters("50/25/25", 7), "ettetvvtvtte");
    assert_eq!(letters("reference", 0), "etttttettett");
}

#[test]
fn ratios_are_kept_and_the_order_of_names_does_not_matter() {
    let names = names(100);
    let mut ids = alone(&names);
    let forward = draw("75/5/20", &ids, 3);
    assert_eq!(sizes(&forward), [75, 5, 20]);
    ids.reverse();
    let mut backward = draw("75/5/20", &ids, 3);
    backward.reverse();
    assert_eq!(forward, backward);
    assert_ne!(forward, draw("75/5/20", &alone(&names), 4));
    assert_eq!(sizes(&draw("0/0/100", &ids, 0)), [0, 0, 100]);
    assert_eq!(sizes(&draw("60/40/0", &ids, 0)), [60, 40, 0]);
}

#[test]
fn two_patients_are_dealt_as_far_as_they_go() {
    let names = names(2);
    assert_eq!(draw("75/5/20", &alone(&names), 0).len(), 2);
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn assign(
        &self,
        name: &str,
        text: &str,
        members: &[Member<'_>],
    ) -> Result<Vec<Split>, SplitError> {
        fs::write(self.0.path().join(name), text).unwrap();
        assign(name, self.0.path(), members, 0)
    }
}

const fn scan<'a>(id: &'a str, patient: &'a str) -> Member<'a> {
    Member { id, patient }
}

#[test]
fn files_name_every_subject() {
    let files = Files::new();
    let members = [Member::alone("x"), Member::alone("y")];
    for (name, text) in [
        (
            "a.json",
            "{\"x\": \"test\", \"y\": \"train\", \"unused\": \"train\"}",
        ),
        ("b.JSON", "\u{feff}{\"x\": \"test\", \"y\": \"train\"}"),
        ("a.csv", "subject,split\nx,test\ny, train\n"),
        (
            "b.csv",
            "\u{feff}\"patient\",\"split\"\r\n\"x\",\"test\"\r\ny,train\r\n,\r\n",
        ),
    ] {
        let splits = files.assign(name, text, &members).unwrap();
        assert_eq!(splits, [Split::Test, Split::Train], "{name}");
        assert!(matches!(
            assign(name, files.0.path(), &[Member::alone("zzz")], 0),
            Err(SplitError::Missing { .. })
        ));
    }
}

#[test]
fn files_that_hold_no_split_are_refused() {
    let files = Files::new();
    for (name, text, words) in [
        (
            "a.csv",
            "subject,split\nx,exam\n",
            "line 2: 'exam' is no split",
        ),
        (
            "b.csv",
            "subject,split\nx,test\nx,train\n",
            "names 'x' twice",
        ),
        (
            "c.csv",
            "subject,split\nx,test\nx,test\n",
            "names 'x' twice",
        ),
        ("d.csv", "subject,split\nx,test,1\n", "line 2 has 3 fields"),
        ("e.csv", "subject;split\nx;test\n", "header"),
        ("f.csv", "subject,split\n", "names nobody"),
        ("g.csv", "", "header"),
        (
            "a.json",
            "{\"x\": \"train\", \"x\": \"test\"}",
            "names 'x' twice",
        ),
        ("b.json", "{\"x\": \"exam\"}", "exam"),
        (
            "c.json",
            "[\"x\"]",
            "an object of subjects and their splits",
        ),
        ("d.json", "{\"x\": \"test\"} more", "trailing"),
        ("e.json", "{}", "names nobody"),
    ] {
        let error = files.assign(name, text, &[Member::alone("x")]).unwrap_err();
        assert!(matches!(error, SplitError::File { .. }), "{name}: {error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    fs::write(
        files.0.path().join("latin.csv"),
        b"subject,split\nM\xfcller,test\n",
    )
    .unwrap();
    let latin = SplitSource::read("latin.csv", files.0.path()).unwrap_err();
    assert!(latin.to_string().contains("not UTF-8"), "{latin}");
    for source in ["none.json", "75/5", "70/5/20", "a/b/c", "", "75/5/20/0"] {
        assert!(
            matches!(
                assign(source, files.0.path(), &[Member::alone("x")], 0),
                Err(SplitError::Unknown(_))
            ),
            "{source}"
        );
    }
}

#[test]
fn files_name_patients_or_their_scans() {
    let files = Files::new();
    let members = [
        scan("sub-1", "sub-1"),
        scan("sub-1_ses-2", "sub-1"),
        scan("sub-2_ses-1", "sub-2"),
        scan("sub-2_ses-2", "sub-2"),
    ];
    let expected = [Split::Train, Split::Train, Split::Test, Split::Test];
    for text in [
        "patient,split\nsub-1,train\nsub-2,test\n",
        "subject,split\nsub-1_ses-2,train\nsub-2_ses-1,test\n",
        "subject,split\nsub-1,train\nsub-1_ses-2,train\nsub-2,test\nsub-2_ses-2,test\n",
    ] {
        assert_eq!(
            files.assign("a.csv", text, &members).unwrap(),
            expected,
            "{text}"
        );
    }
    for (text, words) in [
        (
            "subject,split\nsub-1,train\nsub-1_ses-2,test\nsub-2,test\n",
            "puts 'sub-1' into train and 'sub-1_ses-2' into test, and both are of patient 'sub-1'; all scans of a \
             patient go into one split",
        ),
        (
            "subject,split\nsub-1,train\nsub-2,test\nsub-2_ses-2,validation\n",
            "patient 'sub-2'",
        ),
    ] {
        let error = files.assign("b.csv", text, &members).unwrap_err();
        assert!(matches!(error, SplitError::Apart { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn names_that_nobody_has_are_told_with_the_nearest() {
    let files = Files::new();
    let members = [Member::alone("patient-01"), Member::alone("patient-02")];
    let error = files
        .assign(
            "a.csv",
            "subject,split\npatient-01,train\npatient-O2,test\n",
            &members,
        )
        .unwrap_err();
    assert!(
        error.to_string().ends_with(
            "a.csv: names neither subject 'patient-02' nor its patient; it names 'patient-O2', which is no subject"
        ),
        "{error}"
    );
    let text = "subject,split\npatient-01,train\npatient-02,test\npatient-03,test\nq,train\n";
    fs::write(files.0.path().join("b.csv"), text).unwrap();
    let source = SplitSource::read("b.csv", files.0.path()).unwrap();
    assert_eq!(
        source.assign(&members, 0).unwrap(),
        [Split::Train, Split::Test]
    );
    let told = source.strangers(&members).unwrap();
    assert!(
        told.ends_with(
            "b.csv: names 'patient-03' (did you mean 'patient-01'?), 'q', which are no subjects here"
        ),
        "{told}"
    );
    assert_eq!(SplitSource::Reference.strangers(&members), None);
}
