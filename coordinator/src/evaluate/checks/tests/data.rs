use super::*;

#[test]
fn records_that_are_missing_or_disagree() {
    let mut fixture = Fixture::new();
    fixture.coverage.conflicts = 3;
    fixture.audits.distrusted = vec!["node7".to_owned()];
    let check = fixture.check("coverage");
    assert_eq!(check.state, State::Look);
    assert!(
        check.text.contains("3 of them") && check.text.contains("node7"),
        "{}",
        check.text
    );
    fixture.coverage.scored = 100;
    let check = fixture.check("coverage");
    assert_eq!((check.state, check.value), (State::No, Some(100.0 / 144.0)));
}

#[test]
fn patients_for_an_interval_and_for_a_test() {
    let with = |patients: u32| {
        let mut fixture = Fixture::new();
        for slice in &mut fixture.test {
            slice.patient %= patients;
        }
        fixture.check("patients")
    };
    let state = |patients| with(patients).state;
    assert_eq!(
        [1, 4, 5, 9, 10].map(state),
        [State::No, State::No, State::Look, State::Look, State::Ok]
    );
    assert!(
        with(1)
            .text
            .starts_with("1 test patient: no interval can be formed")
    );
    assert_eq!(with(4).value, Some(4.0));
}

#[test]
fn fewer_slices_and_seeds_than_a_table_needs() {
    let mut fixture = Fixture::new();
    fixture.spec.data.test_slices = 96;
    fixture.spec.score.seeds = vec![0];
    assert_eq!(fixture.failing(), ["slices", "seeds"]);
    let check = fixture.check("slices");
    assert_eq!(check.value, Some(0.5));
    assert!(
        check
            .text
            .starts_with("48 of 96 test slices that were asked for are there")
    );
}
