//! Runs made of a few slices, whose numbers can be formed by hand.

use std::fs;
use std::path::{Path, PathBuf};

use anofpdm_common::ids::Digest;
use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::metrics::{Localization, Overlap};

use super::pictures::Pictured;
use super::*;
use crate::report::data::{Data, list_digest};
use crate::report::slices::{CellSlice, CellSlices, SliceName, SliceTable, SlicesOfCell};
use crate::report::statistics::{Metric, PatientResult, PatientRow};
use crate::report::summary::{Summary, Value};
use crate::report::tests::{SPEC, row, summary};
use crate::report::tidy;

fn compare(paths: &[PathBuf], intersect: bool, most: usize) -> Result<Compared, CompareError> {
    Runs::open(paths)?.compare(intersect, most)
}

const METHOD: &str = "anofpdm-ddim";

/// Patient, slice, lesion pixels; mask and common pixels, called unhealthy.
pub(super) type Slice = (&'static str, i64, u32, u32, u32, bool);

/// Three patients; DICE 0.5, 1 (called healthy), 1 and 0, near enough.
pub(super) const BEFORE: [Slice; 4] = [
    ("p", 1, 8, 8, 4, true),
    ("p", 2, 0, 5, 0, false),
    ("q", 1, 6, 6, 6, true),
    ("r", 3, 4, 4, 0, true),
];
/// The same slices in another order; patient r is found by half.
pub(super) const AFTER: [Slice; 4] = [
    ("r", 3, 4, 4, 2, true),
    ("p", 1, 8, 8, 4, true),
    ("p", 2, 0, 5, 0, false),
    ("q", 1, 6, 6, 6, true),
];

pub(super) struct Made {
    name: &'static str,
    slices: Vec<Slice>,
    store: &'static [u8],
    guidance: f64,
}

impl Made {
    pub(super) fn of(name: &'static str, slices: &[Slice]) -> Self {
        Self {
            name,
            slices: slices.to_vec(),
            store: b"store",
            guidance: 2.0,
        }
    }

    fn table(&self) -> SliceTable {
        let names = self.slices.iter();
        let names = names.map(|(patient, slice, truth, ..)| SliceName {
            patient: (*patient).to_owned(),
            subject: format!("{patient}, \"1\""),
            slice: *slice,
            unhealthy: *truth > 0,
            brain_area: 50,
        });
        let slices = self.slices.iter();
        let slices = slices.map(|(_, _, truth, predicted, intersection, called)| CellSlice {
            called_unhealthy: *called,
            overlap: Overlap {
                pixels: 1024,
                predicted: *predicted,
                truth: *truth,
                intersection: *intersection,
            },
            localization: Localization::default(),
            average_precision: None,
            cosine: None,
            q_star: None,
            modalities: Box::new([]),
        });
        SliceTable {
            modalities: Vec::new(),
            slices: names.collect(),
            cells: vec![SlicesOfCell {
                method: METHOD.to_owned(),
                guidance: Some(self.guidance),
                cell: CellSlices {
                    seed: Some(0),
                    slices: slices.collect(),
                },
            }],
        }
    }

    /// Mean DICE of the set-up, without the library's help.
    fn dice(&self, setup: Setup) -> f64 {
        let each =
            self.slices
                .iter()
                .filter_map(|(_, _, truth, predicted, intersection, called)| {
                    let (predicted, intersection) = match setup {
                        Setup::Mixed if !called => (0, 0),
                        _ => (*predicted, *intersection),
                    };
                    let sum = f64::from(predicted + truth) + 1e-6;
                    (setup == Setup::Mixed || *truth > 0)
                        .then_some((2.0 * f64::from(intersection) + 1e-6) / sum)
                });
        let each: Vec<f64> = each.collect();
        each.iter().sum::<f64>() / each.len() as f64
    }

    /// AUPRC of the patients with a lesion in the unhealthy set-up: a hundredth of the mask's pixels.
    fn per_patient(&self) -> Vec<PatientResult> {
        let with_lesion = self.slices.iter().filter(|(_, _, truth, ..)| *truth > 0);
        let results = with_lesion.map(|(patient, _, _, predicted, common, _)| PatientResult {
            patient: (*patient).to_owned(),
            setup: Setup::Unhealthy,
            slices: 1,
            truth: 1,
            whole: false,
            rows: vec![PatientRow {
                method: METHOD.to_owned(),
                guidance: Some(self.guidance),
                dice: 0.5,
                iou: 0.5,
                auprc: Some(f64::from(*predicted + 10 * *common) / 100.0),
                predicted: 1.0,
            }],
        });
        results.collect()
    }

    fn summary(&self) -> Summary {
        let table = self.table();
        let rows = Setup::ALL.into_iter().flat_map(|setup| {
            let mut scored = row(METHOD, setup, 0.5, &[0]);
            scored.guidance = Some(self.guidance);
            scored.dice = Value::over_seeds(vec![Some(self.dice(setup))], Some([0.1, 0.9]));
            [scored, row("all-empty", setup, 0.25, &[])]
        });
        Summary {
            run: self.name.to_owned(),
            fingerprint: Digest::of(self.name.as_bytes()),
            rows: rows.collect(),
            per_patient: self.per_patient(),
            data: Some(Data {
                store: Digest::of(self.store),
                modalities: vec!["flair".to_owned()],
                scored: vec!["flair".to_owned()],
                size: 32,
                test_list: list_digest(&table.slices),
                splits: Vec::new(),
            }),
            slices: table,
            ..summary()
        }
    }

    /// A run folder below `root`.
    pub(super) fn write(&self, root: &Path) -> PathBuf {
        let run = root.join(self.name);
        fs::create_dir_all(run.join("report")).unwrap();
        let spec = SPEC.replace(
            "steps = 1600",
            &format!("steps = {}", 1600 + self.slices.len()),
        );
        fs::write(run.join("spec.toml"), spec).unwrap();
        let summary = self.summary();
        let json = serde_json::to_string(&summary).unwrap();
        fs::write(run.join("report/summary.json"), json).unwrap();
        let mut csv = Vec::new();
        tidy::slices(&summary.slices, &mut csv).unwrap();
        fs::write(run.join("report/slices.csv"), csv).unwrap();
        run
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5
}

#[test]
fn runs_of_the_same_slices_are_compared_patient_by_patient() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (Made::of("before", &BEFORE), Made::of("after", &AFTER));
    let paths = [before.write(dir.path()), after.write(dir.path())];
    let found = compare(&paths, false, 10).unwrap();
    let slices = &found.slices;
    assert_eq!(
        (slices.compared, slices.unhealthy, slices.patients),
        (4, 3, 3)
    );
    assert!(
        !slices.intersected && found.notes.is_empty(),
        "{:?}",
        found.notes
    );
    assert!(found.facts.is_empty() && found.spec.is_empty());
    let mixed = &found.rows[0];
    assert_eq!((mixed.method.as_str(), mixed.setup), (METHOD, Setup::Mixed));
    for (value, made) in mixed.dice.iter().zip([&before, &after]) {
        let value = value.as_ref().unwrap();
        assert!(near(value.mean.unwrap(), made.dice(Setup::Mixed)));
        // The report's, not one formed anew.
        assert_eq!(value.ci95, Some([0.1, 0.9]));
    }
    assert!(mixed.auprc.iter().all(Option::is_some));
    // Means over patients: (0.75, 1, 0) and (0.75, 1, 0.5); over slices a fourth of 0.5.
    let [mixed, unhealthy, auprc] = &found.paired[..] else {
        panic!("{:?}", found.paired);
    };
    let [pair] = &mixed.comparisons[..] else {
        panic!("{mixed:?}");
    };
    assert_eq!(
        (pair.first_run.as_str(), pair.second_run.as_str()),
        ("B", "A")
    );
    let one = &pair.comparison;
    assert!(near(one.difference.unwrap(), 0.125) && near(one.patient_difference, 0.5 / 3.0));
    assert_eq!((one.better, one.worse, one.equal), (1, 0, 2));
    let [low, high] = one.ci95.unwrap();
    assert!(near(low, 0.0) && high > 0.25 && high <= 0.5 + 1e-5);
    assert!(mixed.note.is_some() && mixed.smallest_p == 0.25);
    assert!(near(
        unhealthy.comparisons[0].comparison.difference.unwrap(),
        0.5 / 3.0
    ));
    // Of patients as the reports have it: r alone differs, by the 2 pixels more that are found.
    assert_eq!(
        (auprc.setup, auprc.metric),
        (Setup::Unhealthy, Metric::Auprc)
    );
    let one = &auprc.comparisons[0].comparison;
    assert_eq!((auprc.patients, one.better, one.equal), (3, 1, 2));
    assert!(near(one.patient_difference, 0.2 / 3.0));
    // Of all pixels together: the tables', without an interval.
    assert_eq!((one.difference, one.ci95), (Some(0.0), None));
    let [changed, same] = &found.changed[..] else {
        panic!("{:?}", found.changed);
    };
    assert_eq!(
        (changed.setup, same.setup),
        (Setup::Mixed, Setup::Unhealthy)
    );
    assert_eq!(changed.subject, same.subject);
    assert_eq!(
        (changed.patient.as_str(), changed.slice, changed.truth),
        ("r", 3, 4)
    );
    assert!(near(changed.change(), 0.5));
    // A report folder and its summary are the run's, too.
    let report = paths[0].join("report");
    let same = [report.clone(), report.join("summary.json")];
    let found = compare(&same, false, 10).unwrap();
    assert!(found.notes[0].contains("same fingerprint") && found.changed.is_empty());
}

/// Where a slice is called healthy mixed has nothing of its mask, and what became of the mask is still told.
#[test]
fn masks_of_what_is_called_healthy_are_compared_too() {
    let dir = tempfile::tempdir().unwrap();
    let called = |common: u32, unhealthy: bool| {
        [
            ("p", 1, 8, 8, common, true),
            ("q", 1, 6, 6, common, unhealthy),
        ]
    };
    let runs = [
        Made::of("before", &called(2, false)),
        Made::of("after", &called(6, false)),
    ];
    let paths = runs.map(|run| run.write(dir.path()));
    let found = compare(&paths, false, 10).unwrap();
    let changed = found.changed.iter();
    let changed: Vec<(&str, Setup)> = changed.map(|one| (&*one.patient, one.setup)).collect();
    assert_eq!(
        changed,
        [
            ("p", Setup::Mixed),
            ("q", Setup::Unhealthy),
            ("p", Setup::Unhealthy)
        ]
    );
}

#[test]
fn other_slices_are_refused_or_those_that_all_have_counted_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut after = Made::of("after", &AFTER[..3]);
    // Another strength of the same method is the same row.
    after.guidance = 8.0;
    let paths = [
        Made::of("before", &BEFORE).write(dir.path()),
        after.write(dir.path()),
    ];
    let refused = compare(&paths, false, 10).unwrap_err();
    assert!(refused.is_misfit());
    let refused = refused.to_string();
    assert!(
        refused.contains("1 only in the first, 0 only in the second"),
        "{refused}"
    );
    let found = compare(&paths, true, 10).unwrap();
    assert_eq!((found.slices.compared, &found.slices.of), (3, &vec![4, 3]));
    assert!(found.paired.iter().all(|one| one.metric == Metric::Dice));
    assert_eq!(
        found.rows.len(),
        2,
        "the trivial row cannot be counted anew"
    );
    let dice: Vec<f64> = found.rows[0]
        .dice
        .iter()
        .map(|v| v.as_ref().unwrap().mean.unwrap())
        .collect();
    assert!(near(dice[0], 0.5) && near(dice[1], 2.0 / 3.0), "{dice:?}");
    assert_eq!(found.rows[0].guidance, [Some(2.0), Some(8.0)]);
    assert!(found.rows[0].auprc.iter().all(Option::is_none));
    assert!(
        found.notes[0].contains("3 slices (2 with a lesion) of 2 patients"),
        "{:?}",
        found.notes
    );
    assert!(
        found
            .spec
            .iter()
            .any(|key| key.key.ends_with("train.steps")),
        "{:?}",
        found.spec
    );
    assert!(found.spec.iter().all(|key| key.key != "name"));

    let mut elsewhere = Made::of("elsewhere", &BEFORE);
    elsewhere.store = b"other";
    let paths = [paths[0].clone(), elsewhere.write(dir.path())];
    let refused = compare(&paths, false, 10).unwrap_err().to_string();
    assert!(
        refused.contains("other slice stores") && refused.contains("--intersect"),
        "{refused}"
    );
    let found = compare(&paths, true, 10).unwrap();
    assert!(found.slices.intersected && found.slices.compared == 4);
    assert_eq!(found.facts[0].key, "store");

    let mut healed = BEFORE;
    healed[2].2 = 0;
    healed[2].4 = 0;
    let paths = [
        paths[1].clone(),
        Made::of("healed", &healed).write(dir.path()),
    ];
    let refused = compare(&paths, true, 10).unwrap_err().to_string();
    assert!(
        refused.contains("1 of 4 common slices have a lesion in one run"),
        "{refused}"
    );
    let strangers = Made::of("strangers", &[("x", 1, 8, 8, 4, true)]).write(dir.path());
    let refused = compare(&[paths[0].clone(), strangers], true, 10).unwrap_err();
    assert!(matches!(refused, CompareError::NothingCommon));
}

#[test]
fn what_is_no_report_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let good = Made::of("good", &BEFORE).write(dir.path());
    let refused = |path: &Path| {
        let paths = [good.clone(), path.to_path_buf()];
        compare(&paths, false, 10).unwrap_err().to_string()
    };
    assert!(refused(&dir.path().join("nothing")).contains("holds no run"));
    let made = |name| Made::of(name, &AFTER).write(dir.path());
    let bare = made("bare");
    fs::remove_file(bare.join("report/summary.json")).unwrap();
    let message = refused(&bare);
    assert!(
        message.contains("no report yet: `anofpdm report "),
        "{message}"
    );
    let broken = made("broken");
    fs::write(broken.join("report/summary.json"), "{\"run\": 3}").unwrap();
    assert!(refused(&broken).contains("not the summary of a run"));
    let old = made("old");
    let mut summary = Made::of("old", &AFTER).summary();
    summary.data = None;
    fs::write(
        old.join("report/summary.json"),
        serde_json::to_string(&summary).unwrap(),
    )
    .unwrap();
    assert!(refused(&old).contains("of an earlier version"));

    let csv = |run: &Path| fs::read_to_string(run.join("report/slices.csv")).unwrap();
    for (name, edit, want) in [
        ("short", (",4,4,2,", ",4,4,1,"), "has another mixed DICE"),
        (
            "moved",
            ("r,\"r, \"\"1\"\"\",3", "r,\"r, \"\"1\"\"\",4"),
            "of other slices",
        ),
        (
            "impossible",
            (",4,4,2,", ",4,4,5,"),
            "impossible pixel counts",
        ),
        (
            "words",
            (",4,4,2,", ",four,4,2,"),
            "'four' cannot be predicted",
        ),
        ("healed", ("3,true,", "3,false,"), "which cannot be"),
        (
            "column",
            ("called_unhealthy", "called"),
            "no column called_unhealthy",
        ),
    ] {
        let run = made(name);
        let text = csv(&run);
        let edited = text.replacen(edit.0, edit.1, 1);
        assert_ne!(text, edited, "{name}");
        fs::write(run.join("report/slices.csv"), edited).unwrap();
        let message = refused(&run);
        assert!(message.contains(want), "{name}: {message}");
    }
    let cut = made("cut");
    let text = csv(&cut);
    let all: Vec<&str> = text.lines().collect();
    fs::write(cut.join("report/slices.csv"), all[..4].join("\n")).unwrap();
    assert!(refused(&cut).contains("of other slices"));
    let twice = [&all[..], &all[1..3]]
        .concat()
        .join("\n")
        .replace(",2,0,8,", ",2,1,8,");
    fs::write(cut.join("report/slices.csv"), twice).unwrap();
    let message = refused(&cut);
    assert!(
        message.contains("of other slices") || message.contains("line "),
        "{message}"
    );
}

#[test]
fn text_and_page_hold_the_numbers_and_ask_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runs = [Made::of("a<b>", &BEFORE), Made::of("after", &AFTER)];
    let paths = runs.each_ref().map(|run| run.write(dir.path()));
    let found = compare(&paths, false, 10).unwrap();
    let lines = text::lines(&found, 80).join("\n");
    assert!(
        lines.contains("B - A  anofpdm-ddim  2  12.5 [0.0, "),
        "{lines}"
    );
    assert!(lines.contains("the specs are the same"), "{lines}");
    assert!(lines.contains("too few patients to test"), "{lines}");
    assert!(
        lines.contains("0.0     50.0") || lines.contains("50.0"),
        "{lines}"
    );
    let page = page::page(&found, &Pictured::default());
    assert!(page.contains("a&lt;b&gt;") && !page.contains("a<b>"));
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
    assert!(page.contains("default-src 'none'"));
    assert!(page.contains("12.5 [0.0, ") && page.matches("<svg").count() == 2);
    assert!(page.contains("1 of 3 patients above the line"));
    let json = serde_json::to_value(&found).unwrap();
    let pair = &json["paired"][0]["comparisons"][0];
    assert_eq!(
        (&pair["first_run"], &pair["better"]),
        (&"B".into(), &1.into())
    );
}
