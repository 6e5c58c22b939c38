//! Bytes of records, written down from docs/formats.md: a record that is stored is read for ever.

use super::*;
use crate::metrics::RunDetail;
use crate::wire;

const TRACES: &str = "\
    414650440200043c00000048d3a59800000000010000000000000002000000000000000000003f0000c03f0200000000\
    00000000002040000060400200000000000000000090400000b040";
const MASKS: &str = "\
    414650440200041b010000c19a8a7d010000000200000000000000400000000a0000000c000000070000000000403f00\
    00803e0100000000000000030000000000c03f2a01000000000200000002000000000000000a08020000000000000005\
    0a00400000000a0000000c000000070000000000403f0000803e0100000000000000030000000000c03f2a0100000000\
    0200000002000000000000000a080200000000000000050a010102000000000000000000003f0000c03f020000000000\
    000000002040000060400200000000000000000090400000b04002000000000000000000d0400000f040020000000000\
    000000000841000018410100000000000000400000000b0000000c000000080000000100000000000000400000000d00\
    00000c00000009000000";
const OVERLAPS: &str = "\
    414650440200042c000000845f2fa8020000000100000000000000400000000c00000002000000000000001400000006\
    0000000a00000005000000";
const RESTORED: &str = "\
    414650440200043d000000dc2224af030000000100000000000000400000000a0000000c000000070000000000c03e00\
    0000000300000003000000000000000804040200000000000000050a";
const RATED_MASKS: &str = "\
    414650440200045700000070015394040000000100000000000000400000000a0000000c000000070000000000403f00\
    00803e0100000000000000030000000000c03f2a01000000000200000002000000000000000a08020000000000000005\
    0a000000a03f";
const CANDIDATES: &str = "\
    4146504402000424000000959d8db7050000000100000000000000400000000a0000000c000000070000000000403f00\
    00a03f";
const EXHIBITS: &str = "\
    4146504402000460000000f41cf01b060000000200000000000000000101000000000000003f00000040020000000000\
    00000000ffff000100000000000000070000000100000000000000000000000100000000000000000001000000000000\
    000000000001000000000000000000";

const OVERLAP: Overlap = Overlap {
    pixels: 64,
    predicted: 10,
    truth: 12,
    intersection: 7,
};

fn trace() -> SliceTrace {
    SliceTrace {
        divergence: vec![0.5, 1.5],
        mse_h: vec![2.5, 3.5],
        mse_null: vec![4.5, 5.5],
    }
}

fn score(figures: Option<Box<SliceFigures>>) -> SliceScore {
    SliceScore {
        overlap: OVERLAP,
        cosine: 0.75,
        q_star: 0.25,
        modalities: vec![ModalityDecision {
            end_step: 3,
            divergence: 1.5,
            level_index: 42,
            defined: true,
        }],
        run: run(&[5, 9]),
        mask: mask(),
        figures,
    }
}

fn run(keys: &[u32]) -> PackedRun {
    PackedRun::new(keys, RunDetail::Exact)
}

fn flat() -> KeptMap {
    KeptMap {
        scale: MapScale::Linear,
        low: 0.0,
        high: 0.0,
        levels: vec![0],
    }
}

/// Ten pixels.
fn mask() -> MaskRuns {
    MaskRuns::new(&[[0_u8; 5].as_slice(), &[1; 10]].concat())
}

fn figures() -> SliceFigures {
    let at = |predicted, intersection| Overlap {
        predicted,
        intersection,
        ..OVERLAP
    };
    SliceFigures {
        traces: Some(FigureTraces {
            trace: trace(),
            inside: vec![6.5, 7.5],
            outside: vec![8.5, 9.5],
        }),
        end_step_ratios: vec![at(11, 8)],
        fixed_thresholds: vec![at(13, 9)],
    }
}

#[test]
fn bytes_of_records_do_not_move() {
    let records = [
        (Record::Traces(vec![trace()]), TRACES),
        (
            Record::Masks(vec![score(None), score(Some(Box::new(figures())))]),
            MASKS,
        ),
        (
            Record::Overlaps(vec![ThresholdOverlaps {
                pixels: 64,
                truth: 12,
                at: vec![(20, 6), (10, 5)],
            }]),
            OVERLAPS,
        ),
        (
            Record::Restored(vec![RestoredScore {
                overlap: OVERLAP,
                threshold: 0.375,
                run: run(&[4, 6, 8]),
                mask: mask(),
            }]),
            RESTORED,
        ),
        (
            Record::RatedMasks(vec![RatedScore {
                score: score(None),
                mse_ratio: 1.25,
            }]),
            RATED_MASKS,
        ),
        (
            Record::Candidates(vec![CandidateScore {
                overlap: OVERLAP,
                cosine: 0.75,
                mse_ratio: 1.25,
            }]),
            CANDIDATES,
        ),
        (
            Record::Exhibits(vec![
                None,
                Some(Box::new(Exhibit {
                    map: Some(KeptMap {
                        scale: MapScale::Logarithmic,
                        low: 0.5,
                        high: 2.0,
                        levels: vec![0, 65_535],
                    }),
                    sequences: None,
                    steps: vec![StepMaps {
                        step: 7,
                        squared_error: flat(),
                        gradient: flat(),
                    }],
                })),
            ]),
            EXHIBITS,
        ),
    ];
    for (record, expected) in records {
        let bytes = wire::encode(&record).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(wire::decode::<Record>(&bytes).unwrap(), record);
    }
}
