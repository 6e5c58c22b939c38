use super::*;

#[test]
fn a_decision_at_the_base_rate_is_worth_nothing() {
    let mut fixture = Fixture::new();
    fixture.classification[0] = classification(SliceScore::Cosine, 0.47, [0.28, 0.58], 0.73);
    assert_eq!(fixture.failing(), ["accuracy", "auroc", "position"]);
    let accuracy = fixture.check("accuracy");
    assert_eq!((accuracy.state, accuracy.value), (State::No, Some(0.0)));
    assert!(
        accuracy
            .text
            .contains("ddim w = 8: 73.0 %, base rate 73.0 %"),
        "{}",
        accuracy.text
    );
    let auroc = fixture.check("auroc");
    assert_eq!(auroc.state, State::No);
    assert!(auroc.text.contains("0.47 [0.28, 0.58]"), "{}", auroc.text);
    assert!(!auroc.text.contains("mse-ratio"));
    // A little above both.
    fixture.classification[0] = classification(SliceScore::Cosine, 0.55, [0.45, 0.65], 0.74);
    assert_eq!(fixture.check("accuracy").state, State::Look);
    assert_eq!(fixture.check("auroc").state, State::Look);
    // Of two strengths one that is good.
    fixture.classification.push(Classification {
        guidance: Some(2.0),
        ..classification(SliceScore::Cosine, 0.9, [0.8, 0.95], 0.85)
    });
    assert_eq!(fixture.check("accuracy").state, State::Look);
}

#[test]
fn the_other_number_is_named_where_it_is_better() {
    let mut fixture = Fixture::new();
    fixture.classification[0] = classification(SliceScore::Cosine, 0.45, [0.3, 0.6], 0.74);
    for (score, area) in [(SliceScore::Cosine, 0.41), (SliceScore::MseRatio, 0.92)] {
        fixture.classification.push(Classification {
            split: Split::Validation,
            ..classification(score, area, [0.0, 1.0], 0.73)
        });
    }
    let text = fixture.check("auroc").text;
    assert!(
        text.contains(
            "has 0.92 where the cosine has 0.41 (ddim w = 8): [score] decision = \"mse-ratio\""
        ),
        "{text}"
    );
}

#[test]
fn slices_of_one_kind_have_no_area_to_judge() {
    let mut fixture = Fixture::new();
    fixture.classification[0].auroc = Value::over_seeds(vec![None], None);
    let check = fixture.check("auroc");
    assert_eq!((check.state, check.value), (State::Look, None));
    assert!(check.text.contains("undefined"));
}

#[test]
fn a_strength_at_the_edge_or_chosen_by_a_slice() {
    let mut fixture = Fixture::new();
    fixture.calibration = BTreeMap::from([(Encoding::Ddim, calibration([84, 70, 83]))]);
    assert_eq!(fixture.failing(), ["guidance-edge", "guidance-margin"]);
    let edge = fixture.check("guidance-edge");
    assert_eq!(edge.value, Some(2.0));
    assert!(
        edge.text.contains("ddim: w = 2, the smallest of 3"),
        "{}",
        edge.text
    );
    let margin = fixture.check("guidance-margin");
    assert_eq!(margin.value, Some(1.0));
    assert!(
        margin.text.contains("ddim: w = 2 by 1 slice)"),
        "{}",
        margin.text
    );
    // A list is scored as it is: nothing was chosen.
    fixture.spec.score.guidance = anofpdm_common::spec::Guidance::List(vec![2.0]);
    assert!(
        fixture
            .all()
            .iter()
            .all(|check| !check.id.starts_with("guidance"))
    );
}
