use super::*;

#[test]
fn a_walk_that_is_cut_off_and_a_threshold_that_loses_the_map() {
    let mut fixture = Fixture::new();
    let mut tally = Tally::default();
    for _ in 0..10 {
        tally.add(&slice(0, 4, 29, 2.0), 29, &[1.0]);
    }
    fixture.methods[0].tally = tally;
    for measured in &mut fixture.methods[0].rows {
        measured.row.best_dice = Some(BestDice {
            mean: 0.9,
            threshold: Some(0.67),
            pooled: 0.79,
        });
    }
    assert_eq!(
        fixture.failing(),
        ["end-step", "divergence", "empty-masks", "threshold"]
    );
    assert_eq!(fixture.check("end-step").value, Some(1.0));
    let empty = fixture.check("empty-masks");
    assert_eq!(empty.state, State::No);
    // Level 0.90: a tenth of the slice lies above its own quantile.
    assert!(
        empty.text.contains("quantile_of = \"filtered\"") && empty.text.contains("about 10.0 %"),
        "{}",
        empty.text
    );
    let threshold = fixture.check("threshold");
    assert!((threshold.value.unwrap() - 0.2).abs() < 1e-12);
    assert!(
        threshold
            .text
            .contains("DICE 70.0, best 90.0 at 0.670 where the median Q* is 1.480"),
        "{}",
        threshold.text
    );
    // A map at chance is best where the whole brain is called anomalous: that is not the threshold's fault.
    fixture.trivial.extend(Setup::ALL.map(|setup| Measured {
        row: row("all-brain", None, setup, 0.8),
        dice: PatientSums::new(),
        patients: PatientNumbers::default(),
        draws: Draws::default(),
    }));
    let threshold = fixture.check("threshold");
    assert_eq!(threshold.state, State::Ok);
    assert!(
        threshold.text.contains("the whole brain: 80.0"),
        "{}",
        threshold.text
    );
    fixture.spec.score.quantile_of = anofpdm_common::anofpdm::QuantileOf::Filtered;
    assert!(!fixture.check("empty-masks").text.contains("quantile_of"));
}
