mod exhibits;

use super::*;
use crate::method::MapKind;
use crate::record::RatedScore;
use crate::wire;

const STEPS: u32 = 3;
const MODALITIES: usize = 2;
const SEQUENCE: usize = STEPS as usize * MODALITIES;
const PIXELS: usize = 16;

/// Makes a good value bad.
type Spoil<T> = fn(&mut T);

fn mask(figures: FigureSpec) -> CellOutput {
    CellOutput::Mask {
        map: MapKind::Aam,
        max_divergence: vec![1.0; MODALITIES],
        figures,
        mse_ratio: false,
        scores: RunDetail::Exact,
    }
}

/// As [`mask`], with the ratio beside the cosine.
fn rated(figures: FigureSpec) -> CellOutput {
    match mask(figures) {
        CellOutput::Mask {
            map,
            max_divergence,
            figures,
            ..
        } => CellOutput::Mask {
            map,
            max_divergence,
            figures,
            mse_ratio: true,
            scores: RunDetail::Exact,
        },
        other => other,
    }
}

fn rated_score(with_figures: bool) -> RatedScore {
    RatedScore {
        score: score(with_figures),
        mse_ratio: 1.25,
    }
}

fn all_figures() -> FigureSpec {
    FigureSpec {
        traces: true,
        end_step_ratios: vec![0.5, 1.0],
        fixed_thresholds: vec![0.1, 0.2, 0.3],
    }
}

const fn slice(position: u32) -> SliceRef {
    SliceRef {
        subject: 0,
        position,
    }
}

const SLICES: [SliceRef; 2] = [slice(4), slice(1)];

static NO_EXHIBITS: ExhibitPlan = ExhibitPlan {
    maps: Vec::new(),
    sequences: Vec::new(),
    steps: Vec::new(),
    step_indices: Vec::new(),
};

fn shape(output: &CellOutput) -> RecordShape<'_> {
    RecordShape {
        slices: &SLICES,
        exhibits: &NO_EXHIBITS,
        steps: STEPS,
        modalities: MODALITIES,
        pixels: PIXELS,
        output,
    }
}

fn trace() -> SliceTrace {
    SliceTrace {
        divergence: vec![0.1; SEQUENCE],
        mse_h: vec![0.2; SEQUENCE],
        mse_null: vec![0.0; SEQUENCE],
    }
}

fn overlap() -> Overlap {
    Overlap {
        pixels: PIXELS as u32,
        predicted: 4,
        truth: 3,
        intersection: 2,
    }
}

/// Three anomalous pixels, thirteen others.
fn run() -> Vec<u32> {
    (0..16).map(|key| key << 1 | u32::from(key < 3)).collect()
}

fn packed(run: &[u32]) -> PackedRun {
    PackedRun::new(run, RunDetail::Exact)
}

/// Four pixels.
fn mask_runs() -> MaskRuns {
    MaskRuns::new(&[0, 0, 1, 1, 0, 1, 0, 1])
}

fn score(with_figures: bool) -> SliceScore {
    let decision = ModalityDecision {
        end_step: 2,
        divergence: 0.5,
        level_index: 100,
        defined: true,
    };
    let figures = SliceFigures {
        traces: Some(FigureTraces {
            trace: trace(),
            inside: vec![f32::NAN; SEQUENCE],
            outside: vec![1.0; SEQUENCE],
        }),
        end_step_ratios: vec![overlap(); 2],
        fixed_thresholds: vec![overlap(); 3],
    };
    SliceScore {
        overlap: overlap(),
        cosine: 0.9,
        q_star: 0.3,
        modalities: vec![decision; MODALITIES],
        run: packed(&run()),
        mask: mask_runs(),
        figures: with_figures.then(|| Box::new(figures)),
    }
}

fn overlaps() -> (CellOutput, ThresholdOverlaps) {
    let output = CellOutput::Overlaps {
        noise_scale: 2,
        thresholds: vec![0.1, 0.2, 0.3],
    };
    let slice = ThresholdOverlaps {
        pixels: PIXELS as u32,
        truth: 3,
        at: vec![(9, 3), (4, 2), (0, 0)],
    };
    (output, slice)
}

fn restored(postprocessing: Postprocessing) -> (CellOutput, RestoredScore) {
    let output = CellOutput::Restored {
        noise_scale: 2,
        postprocessing,
        scores: RunDetail::Exact,
    };
    let score = RestoredScore {
        overlap: overlap(),
        threshold: 0.25,
        run: packed(&run()),
        mask: mask_runs(),
    };
    (output, score)
}

const COMMON: Postprocessing = Postprocessing::Common { threshold: 0.25 };

#[test]
fn no_record_is_larger_than_said() {
    let (grid, slice) = overlaps();
    let (common, baseline) = restored(COMMON);
    for (output, record) in [
        (grid, Record::Overlaps(vec![slice; 2])),
        (common, Record::Restored(vec![baseline; 2])),
        (CellOutput::Traces, Record::Traces(vec![trace(); 2])),
        (
            mask(FigureSpec::default()),
            Record::Masks(vec![score(false); 2]),
        ),
        (mask(all_figures()), Record::Masks(vec![score(true); 2])),
        (
            rated(FigureSpec::default()),
            Record::RatedMasks(vec![rated_score(false); 2]),
        ),
        (
            rated(all_figures()),
            Record::RatedMasks(vec![rated_score(true); 2]),
        ),
    ] {
        let shape = shape(&output);
        shape.check(&record).unwrap();
        let bytes = wire::encode(&record).unwrap();
        let (bytes, largest) = (bytes.len() as u64, shape.largest());
        assert!(bytes <= largest, "{output:?}: {bytes} of {largest}");
        // Packed lists are as long as their content asks; everything else is as long as it gets.
        let slack = match record {
            Record::Traces(_) | Record::Overlaps(_) => 0,
            _ => 2 * 6 * PIXELS as u64,
        };
        assert!(bytes + slack >= largest, "{output:?}: {bytes} of {largest}");
    }
}

/// Scores and masks that pack worst.
#[test]
fn packed_lists_are_no_larger_than_said() {
    let scores: Vec<u32> = (1..=16)
        .map(|step| (step << 27 | 0x0400_0000) & !1)
        .collect();
    let checkered: Vec<u8> = (0..16).map(|pixel| (pixel + 1) % 2).collect();
    let slice = SliceScore {
        overlap: Overlap {
            predicted: 8,
            truth: 0,
            intersection: 0,
            ..overlap()
        },
        run: packed(&scores),
        mask: MaskRuns::new(&checkered),
        ..score(false)
    };
    let output = mask(FigureSpec::default());
    let record = Record::Masks(vec![slice; 2]);
    shape(&output).check(&record).unwrap();
    let bytes = wire::encode(&record).unwrap().len() as u64;
    assert!(bytes <= shape(&output).largest());
}

#[test]
fn an_undefined_map_has_no_threshold_and_no_mask() {
    let output = mask(FigureSpec::default());
    let mut slice = score(false);
    slice.modalities[1].defined = false;
    let refused = shape(&output).check(&Record::Masks(vec![slice.clone(); 2]));
    assert!(refused.unwrap_err().contains("threshold"));
    slice.q_star = f32::NAN;
    slice.overlap.predicted = 0;
    slice.overlap.intersection = 0;
    slice.mask = MaskRuns::default();
    let record = Record::Masks(vec![slice; 2]);
    assert_eq!(shape(&output).check(&record), Ok(()));
}

#[test]
fn impossible_traces_are_refused() {
    let spoil: [Spoil<SliceTrace>; 5] = [
        |t| t.divergence.truncate(5),
        |t| t.mse_h.push(0.0),
        |t| t.mse_null[0] = -0.1,
        |t| t.mse_h[5] = f32::NAN,
        |t| t.divergence[0] = f32::INFINITY,
    ];
    for (index, spoil) in spoil.into_iter().enumerate() {
        let mut bad = trace();
        spoil(&mut bad);
        let record = Record::Traces(vec![trace(), bad]);
        assert!(
            shape(&CellOutput::Traces).check(&record).is_err(),
            "{index}"
        );
    }
    let masks = Record::Masks(vec![score(false); 2]);
    assert!(shape(&CellOutput::Traces).check(&masks).is_err());
    let one = Record::Traces(vec![trace()]);
    assert!(shape(&CellOutput::Traces).check(&one).is_err());
}

#[test]
fn impossible_scores_are_refused() {
    let spoil: [(&str, Spoil<SliceScore>); 21] = [
        ("pixels", |s| s.overlap.pixels = 17),
        ("counts", |s| s.overlap.intersection = 4),
        ("more than all pixels", |s| s.overlap.predicted = 17),
        ("cosine", |s| s.cosine = f32::NAN),
        ("cosine above one", |s| s.cosine = 1.1),
        ("threshold", |s| s.q_star = f32::NAN),
        ("negative threshold", |s| s.q_star = -1.0),
        ("no decision", |s| s.modalities.truncate(1)),
        ("end step", |s| s.modalities[0].end_step = STEPS),
        ("level", |s| s.modalities[1].level_index = 101),
        ("divergence", |s| s.modalities[1].divergence = f32::NAN),
        ("long run", |s| {
            s.run = packed(&[run(), vec![u32::MAX >> 2]].concat());
        }),
        ("score that is not finite", |s| {
            s.run = packed(&[&run()[..15], &[u32::MAX]].concat());
        }),
        ("more anomalous than there are", |s| {
            s.run = packed(&[&run()[..15], &[31]].concat());
        }),
        ("more healthy than there are", |s| {
            s.run = packed(&run().iter().map(|key| key & !1).collect::<Vec<_>>());
        }),
        ("scores of less detail", |s| {
            s.run = PackedRun::new(&run(), RunDetail::Histogram);
        }),
        ("a mask of other pixels", |s| {
            s.mask = MaskRuns::new(&[1, 1, 1])
        }),
        ("a mask beyond the slice", |s| {
            s.mask = MaskRuns::new(&[[0_u8; 16].as_slice(), &[1; 4]].concat());
        }),
        ("figures", |s| s.figures = score(true).figures),
        ("truth", |s| s.overlap.truth = 1),
        ("truth above all pixels", |s| s.overlap.truth = u32::MAX),
    ];
    let output = mask(FigureSpec::default());
    for (what, spoil) in spoil {
        let mut bad = score(false);
        spoil(&mut bad);
        let record = Record::Masks(vec![score(false), bad]);
        assert!(shape(&output).check(&record).is_err(), "{what}");
    }
}

#[test]
fn a_ratio_is_there_where_it_was_asked_for_and_nowhere_else() {
    let (plain, with_ratio) = (mask(FigureSpec::default()), rated(FigureSpec::default()));
    let masks = Record::Masks(vec![score(false); 2]);
    let ratios = |ratio: f32| {
        let mut slice = rated_score(false);
        slice.mse_ratio = ratio;
        Record::RatedMasks(vec![rated_score(false), slice])
    };
    assert_eq!(shape(&with_ratio).check(&ratios(f32::MAX)), Ok(()));
    assert!(shape(&plain).check(&ratios(1.0)).is_err());
    assert!(shape(&with_ratio).check(&masks).is_err());
    for impossible in [f32::NAN, f32::INFINITY, -0.5] {
        assert!(shape(&with_ratio).check(&ratios(impossible)).is_err());
    }
}

#[test]
fn impossible_figures_are_refused() {
    let spoil: [(&str, Spoil<SliceFigures>); 7] = [
        ("no traces", |f| f.traces = None),
        ("ratio missing", |f| f.end_step_ratios.truncate(1)),
        ("threshold too many", |f| f.fixed_thresholds.push(overlap())),
        ("counts", |f| f.fixed_thresholds[0].intersection = 9),
        ("pixels", |f| f.end_step_ratios[0].pixels = 15),
        ("another truth", |f| f.end_step_ratios[0].truth = 4),
        ("infinite", |f| {
            if let Some(traces) = &mut f.traces {
                traces.outside[0] = f32::INFINITY;
            }
        }),
    ];
    let output = mask(all_figures());
    for (what, spoil) in spoil {
        let mut bad = score(true);
        if let Some(figures) = &mut bad.figures {
            spoil(figures);
        }
        let record = Record::Masks(vec![score(true), bad]);
        assert!(shape(&output).check(&record).is_err(), "{what}");
    }
    let without = Record::Masks(vec![score(false); 2]);
    assert!(shape(&output).check(&without).is_err());
}

#[test]
fn impossible_restorations_are_refused() {
    let (output, good) = overlaps();
    let spoil: [(&str, Spoil<ThresholdOverlaps>); 4] = [
        ("pixels", |s| s.pixels = 17),
        ("a threshold too few", |s| s.at.truncate(2)),
        ("counts", |s| s.at[1].1 = 5),
        ("truth", |s| s.truth = 2),
    ];
    for (what, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        let record = Record::Overlaps(vec![good.clone(), bad]);
        assert!(shape(&output).check(&record).is_err(), "{what}");
    }
    let (output, good) = restored(COMMON);
    let spoil: [(&str, Spoil<RestoredScore>); 4] = [
        ("counts", |s| s.overlap.intersection = 4),
        ("another threshold", |s| s.threshold = 0.5),
        ("no mask", |s| s.mask = MaskRuns::default()),
        ("truth", |s| s.overlap.truth = 1),
    ];
    for (what, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        let record = Record::Restored(vec![good.clone(), bad]);
        assert!(shape(&output).check(&record).is_err(), "{what}");
    }
    // A rule of its own may find any threshold, but it finds one.
    let (output, mut found) = restored(Postprocessing::Native);
    found.threshold = 0.5;
    let record = Record::Restored(vec![found.clone(); 2]);
    assert_eq!(shape(&output).check(&record), Ok(()));
    found.threshold = f32::NAN;
    let record = Record::Restored(vec![found; 2]);
    assert!(shape(&output).check(&record).is_err());
}

#[test]
fn candidates_have_an_overlap_and_what_decides() {
    let output = CellOutput::Candidate {
        max_divergence: vec![1.0; MODALITIES],
    };
    let good = CandidateScore {
        overlap: overlap(),
        cosine: 0.5,
        mse_ratio: 1.0,
    };
    let shape = shape(&output);
    let record = Record::Candidates(vec![good; 2]);
    assert_eq!(shape.check(&record), Ok(()));
    assert_eq!(wire::encode(&record).unwrap().len() as u64, shape.largest());
    for bad in [
        CandidateScore {
            cosine: 1.5,
            ..good
        },
        CandidateScore {
            mse_ratio: f32::NAN,
            ..good
        },
        CandidateScore {
            overlap: Overlap {
                pixels: 3,
                ..overlap()
            },
            ..good
        },
    ] {
        assert!(shape.check(&Record::Candidates(vec![good, bad])).is_err());
    }
}
