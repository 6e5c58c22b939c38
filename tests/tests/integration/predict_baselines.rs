//! `anofpdm-worker predict` of baselines: the masks that the records counted.

use anofpdm_tests::fixture::Fixture;

use crate::predict::{of_table, pixels};

/// One that diffuses and comes back, one that is guided and draws no noise, one that compares steps: method, strength and
/// seed in the table, where they have one.
const ROWS: [[&str; 3]; 3] = [
    ["anoddpm-gaussian", "", "7"],
    ["ddim-clf-free", "2", ""],
    ["andi", "", "7"],
];

fn spec() -> String {
    let network = |name: &str| {
        format!(
            "[model.{name}]\nchannels = 32\nchannel_mult = [1]\nres_blocks = 1\nattention = []\nheads = 2\n\
             [model.{name}.train]\nsteps = 6\nbatch = 4\nlearning_rate = 1e-3\nema = 0.5\n"
        )
    };
    let networks = ["guided", "healthy-gaussian"].map(network).concat();
    let methods = ROWS.map(|[method, ..]| method);
    format!(
        "name = \"baselines\"\n[data]\nstore = \"store\"\nscored = [\"flair\", \"t2\"]\nvalidation_slices = 12\n\
         test_slices = 18\n{networks}[score]\nsteps = 4\nrespacing = 20\nmethods = {methods:?}\nguidance = [3]\n\
         seeds = [4, 7]\ncomponent_area = 1\n[score.baseline.ddim-clf-free]\nstrength = [2]\n"
    )
}

#[test]
fn masks_of_baselines_are_those_of_the_records() {
    let fixture = Fixture::new();
    fixture.write("baselines.toml", &spec());
    let run = ["run", "baselines.toml", "--dir", "run", "--workers", "1"];
    fixture.succeeds("anofpdm", &run);
    let csv = std::fs::read_to_string(fixture.path().join("run/report/slices.csv")).unwrap();
    let mut marked = 0;
    for [method, strength, seed] in ROWS {
        let out = format!("out-{method}");
        let mut predict = vec![
            "predict", "--run", "run", "--store", "store", "--out", &out, "--method", method,
        ];
        if !seed.is_empty() {
            predict.extend(["--seed", seed]);
        }
        fixture.succeeds("anofpdm-worker", &predict);
        let counted = of_table(&csv, method, strength, seed);
        assert_eq!(counted.len(), 18, "{method}");
        for ((subject, place), [predicted, ..]) in counted {
            let found = pixels(&fixture, &out, &subject, place);
            assert_eq!(found, predicted, "{method}, slice {place} of {subject}");
            marked += predicted;
        }
    }
    assert!(marked > 0, "every mask is empty: nothing was compared");
}
