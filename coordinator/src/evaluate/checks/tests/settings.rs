use super::*;

#[test]
fn settings_made_for_other_data() {
    let mut fixture = Fixture::new();
    fixture.size = 48;
    let train = fixture
        .spec
        .model
        .get_mut("guided")
        .unwrap()
        .train
        .as_mut()
        .unwrap();
    train.ema = 0.9999;
    assert_eq!(fixture.failing(), ["ema", "component-area", "median"]);
    let area = fixture.check("component-area");
    assert!((area.value.unwrap() - 40.0 / 2304.0).abs() < 1e-12);
    assert!(area.text.contains("component_area = 6 is"), "{}", area.text);
    assert!(
        fixture.check("median").text.contains("10.4 %"),
        "{}",
        fixture.check("median").text
    );
    assert!(
        fixture
            .check("ema")
            .text
            .starts_with("[model.guided.train]: 800 steps are fewer")
    );
    assert!((fixture.check("ema").value.unwrap() - 800.0 * 1e-4 / 3.0).abs() < 1e-9);
    fixture.size = 64;
    assert_eq!(fixture.check("median").state, State::Ok);
    fixture.spec.model.get_mut("guided").unwrap().checkpoint =
        Some("w.safetensors".parse().unwrap());
    assert_eq!(
        (fixture.check("ema").state, fixture.check("ema").value),
        (State::Ok, None)
    );
}
