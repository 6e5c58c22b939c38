use super::*;

#[test]
fn a_method_must_beat_the_best_trivial_row_on_the_same_patients() {
    let mut fixture = Fixture::new();
    let check = fixture.check("beats-trivial-mixed");
    assert_eq!(check.state, State::Ok);
    assert!(
        check.text.contains("10.0 [10.0, 10.0]") && check.text.contains("all-empty 60.0"),
        "{}",
        check.text
    );
    // Half of the patients gain much, half lose nearly as much.
    for (patient, (sum, _)) in &mut fixture.methods[0].rows[0].dice {
        *sum = if patient % 2 == 0 { 1.0 } else { 0.3 };
    }
    assert_eq!(fixture.check("beats-trivial-mixed").state, State::Look);
    fixture.methods[0].rows[1].row.dice = value(0.6, None);
    fixture.methods[0].rows[1].dice = fixture.trivial[1].dice.clone();
    let check = fixture.check("beats-trivial-unhealthy");
    assert_eq!((check.state, check.value), (State::No, Some(0.0)));
    assert!(check.text.contains("0.0 [0.0, 0.0]"), "{}", check.text);
    // One patient: no interval.
    for rows in [&mut fixture.methods[0].rows, &mut fixture.trivial] {
        for measured in rows {
            measured.dice.retain(|patient, _| *patient == 0);
        }
    }
    let check = fixture.check("beats-trivial-mixed");
    assert_eq!(check.state, State::Look);
    assert!(check.text.contains("without an interval"), "{}", check.text);
}

#[test]
fn a_method_with_pixel_labels_is_named_and_does_not_stand_for_the_others() {
    let mut fixture = Fixture::new();
    let tuned = Fixture::new().methods.swap_remove(0);
    fixture.methods.push(tuned);
    for measured in &mut fixture.methods[1].rows {
        measured.row.method = "andi".to_owned();
        measured.row.guidance = None;
        measured.row.pixel_labels = true;
        measured.row.dice = value(0.95, None);
    }
    assert_eq!(fixture.failing(), ["pixel-labels"]);
    let check = fixture.check("pixel-labels");
    assert!(
        check.value == Some(1.0) && check.text.contains("(andi)"),
        "{}",
        check.text
    );
    assert!(
        fixture
            .check("beats-trivial-mixed")
            .text
            .contains("anofpdm-ddim w = 8 is 70.0")
    );
}
