//! Claims of baselines: overlaps at every threshold, and a mask.

use super::*;

/// The bench with AnoDDPM in place of AnoFPDM: overlaps at two thresholds and a mask, at noise scale 2.
fn restored_bench() -> Bench {
    let mut bench = Bench::new();
    let plan = &mut bench.plan;
    plan.trajectories = vec![Trajectory::Restoration(RestorationWalk {
        baseline: Baseline::AnoddpmGaussian,
        sampler: Sampler::Ancestral,
        clip: Clip::Fixed,
        diffusion_steps: 1000,
        networks: vec![0],
        seed: Some(0),
    })];
    let cell = |output| Cell {
        trajectory: 0,
        guidance: 0.0,
        output,
    };
    plan.cells = vec![
        cell(CellOutput::Overlaps {
            noise_scale: 2,
            thresholds: vec![0.25, 0.5],
        }),
        cell(CellOutput::Restored {
            noise_scale: 2,
            postprocessing: Postprocessing::Common { threshold: 0.25 },
        }),
    ];
    let whole = Plan::Forward(plan.clone());
    let digest = bench.artifacts.put(&whole.to_json("run").unwrap()).unwrap();
    bench.current = Current::Forward(digest, Box::new(bench.plan.clone()), SIZE);
    bench.job.plan = digest;
    // Two steps back for each of three slices, and of one of padding: both cells share them.
    bench.completion.evaluations = 3 * 2;
    bench.completion.padding = 2;
    bench.entries.clear();
    for (batch, slices) in [(1, 2), (2, 1)] {
        for (cell, record) in [
            (0, Record::Overlaps(vec![overlaps(2); slices])),
            (1, Record::Restored(vec![restored(0.25); slices])),
        ] {
            let key = bench.plan.record_key(batch, cell).unwrap();
            let record = bench.store(&record);
            bench.entries.push((key, record));
        }
    }
    bench
}

fn overlaps(thresholds: usize) -> ThresholdOverlaps {
    ThresholdOverlaps {
        pixels: (SIZE * SIZE) as u32,
        truth: 1,
        at: [(4, 1), (2, 1), (1, 0)][..thresholds].to_vec(),
    }
}

fn restored(threshold: f32) -> RestoredScore {
    RestoredScore {
        overlap: score().overlap,
        threshold,
        run: vec![2, 5, 8],
    }
}

#[test]
fn an_honest_claim_of_a_baseline_is_accepted() {
    let bench = restored_bench();
    assert_eq!(bench.claim().unwrap(), bench.entries);
}

#[test]
fn records_of_a_baseline_must_look_as_asked() {
    let wrong = [
        (0, Record::Overlaps(vec![overlaps(1); 2])),
        (0, Record::Overlaps(vec![overlaps(3); 2])),
        (0, Record::Overlaps(vec![overlaps(2); 1])),
        (0, Record::Restored(vec![restored(0.25); 2])),
        (1, Record::Restored(vec![restored(0.5); 2])),
        (1, Record::Masks(vec![score(); 2])),
        (1, Record::Restored(vec![restored(0.25); 3])),
    ];
    for (cell, record) in wrong {
        let mut bench = restored_bench();
        bench.entries[cell].1 = bench.store(&record);
        let rejection = bench.rejection();
        // One that is longer than such a record can be is not even read.
        assert!(
            matches!(
                rejection,
                Rejection::Impossible { .. }
                    | Rejection::Record(RecordError::Artifact(ArtifactError::TooLarge { .. }))
            ),
            "cell {cell}, {record:?}: {rejection}"
        );
    }
    let mut bench = restored_bench();
    bench.completion.evaluations += 1;
    assert!(matches!(bench.rejection(), Rejection::Cost { .. }));
}
