//! Claims of baselines: overlaps at every threshold, and a mask.

use super::*;

/// The fixture with AnoDDPM in place of AnoFPDM: overlaps at two thresholds and a mask, at noise scale 2.
fn restored_fixture() -> Fixture {
    let mut fixture = Fixture::new();
    let plan = &mut fixture.plan;
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
            scores: RunDetail::Exact,
        }),
    ];
    let whole = Plan::Forward(plan.clone());
    let digest = fixture
        .artifacts
        .put(&whole.to_json("run").unwrap())
        .unwrap();
    fixture.active = active(digest, &fixture.plan);
    fixture.job.plan = digest;
    // Two steps back for each of three slices, and of one of padding: both cells share them.
    fixture.completion.evaluations = 3 * 2;
    fixture.completion.padding = 2;
    fixture.entries.clear();
    for (batch, slices) in [(1, 2), (2, 1)] {
        for (cell, record) in [
            (0, Record::Overlaps(vec![overlaps(2); slices])),
            (1, Record::Restored(vec![restored(0.25); slices])),
        ] {
            let key = fixture.plan.record_key(batch, cell).unwrap();
            let record = fixture.store(&record);
            fixture.entries.push((key, record));
        }
    }
    fixture
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
        run: score().run,
        mask: score().mask,
    }
}

#[test]
fn an_honest_claim_of_a_baseline_is_accepted() {
    let fixture = restored_fixture();
    assert_eq!(fixture.claim().unwrap(), fixture.entries);
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
        let mut fixture = restored_fixture();
        fixture.entries[cell].1 = fixture.store(&record);
        let rejection = fixture.rejection();
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
    let mut fixture = restored_fixture();
    fixture.completion.evaluations += 1;
    assert!(matches!(fixture.rejection(), Rejection::Cost { .. }));
}
