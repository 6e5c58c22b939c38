//! Bytes of records, written down from docs/formats.md: a record that is stored is read for ever.

use super::*;
use crate::wire;

const TRACES: &str = "\
    414650440100043c000000e1f916d400000000010000000000000002000000000000000000003f0000c03f0200000000\
    00000000002040000060400200000000000000000090400000b040";
const MASKS: &str = "\
    4146504401000403010000e6e18803010000000200000000000000400000000a0000000c000000070000000000403f00\
    00803e0100000000000000030000000000c03f2a010200000000000000050000000900000000400000000a0000000c00\
    0000070000000000403f0000803e0100000000000000030000000000c03f2a0102000000000000000500000009000000\
    010102000000000000000000003f0000c03f020000000000000000002040000060400200000000000000000090400000\
    b04002000000000000000000d0400000f040020000000000000000000841000018410100000000000000400000000b00\
    00000c000000080000000100000000000000400000000d0000000c00000009000000";
const OVERLAPS: &str = "\
    414650440100042c000000704d1d2d020000000100000000000000400000000c00000002000000000000001400000006\
    0000000a00000005000000";
const RESTORED: &str = "\
    41465044010004340000002a610b51030000000100000000000000400000000a0000000c000000070000000000c03e03\
    00000000000000040000000600000008000000";
const RATED_MASKS: &str = "\
    414650440100044b0000006ec24015040000000100000000000000400000000a0000000c000000070000000000403f00\
    00803e0100000000000000030000000000c03f2a0102000000000000000500000009000000000000a03f";

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
        run: vec![5, 9],
        figures,
    }
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
                run: vec![4, 6, 8],
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
    ];
    for (record, expected) in records {
        let bytes = wire::encode(&record).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(wire::decode::<Record>(&bytes).unwrap(), record);
    }
}
