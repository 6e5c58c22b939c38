//! `anofpdm-worker predict` of baselines: the masks that the records counted.

use anofpdm_tests::fixture::Fixture;
use serde_json::Value;

/// One that diffuses and comes back, one that is guided, one that compares steps.
const METHODS: [&str; 3] = ["anoddpm-gaussian", "ddim-clf-free", "andi"];

fn spec() -> String {
    let network = |name: &str| {
        format!(
            "[model.{name}]\nchannels = 32\nchannel_mult = [1]\nres_blocks = 1\nattention = []\nheads = 2\n\
             [model.{name}.train]\nsteps = 6\nbatch = 4\nlearning_rate = 1e-3\nema = 0.5\n"
        )
    };
    let networks = [
        "guided",
        "healthy-gaussian",
        "healthy-simplex",
        "conditional",
    ]
    .map(network);
    format!(
        "name = \"baselines\"\n[data]\nstore = \"store\"\nscored = [\"flair\", \"t2\"]\nvalidation_slices = 12\n\
         test_slices = 18\n{}[score]\nsteps = 4\nrespacing = 20\nmethods = {METHODS:?}\nguidance = [3]\nseeds = [4, 7]\n\
         component_area = 1\n",
        networks.concat()
    )
}

#[test]
fn masks_of_baselines_are_those_of_the_records() {
    let fixture = Fixture::new();
    fixture.write("baselines.toml", &spec());
    let run = ["run", "baselines.toml", "--dir", "run", "--workers", "1"];
    fixture.succeeds("anofpdm", &run);
    let csv = std::fs::read_to_string(fixture.path().join("run/report/slices.csv")).unwrap();
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let column = |name: &str| names.iter().position(|found| *found == name).unwrap();
    let [by, subject, slice, seed, predicted] =
        ["method", "subject", "slice", "seed", "predicted"].map(column);
    let mut marked = 0;
    for method in METHODS {
        // Of one that draws no noise the records stand for all seeds.
        let seeds: std::collections::BTreeSet<&str> = rows
            .iter()
            .filter(|row| row[by] == method)
            .map(|row| row[seed])
            .collect();
        let last = *seeds.last().unwrap();
        let out = format!("out-{method}");
        let mut predict = vec![
            "predict", "--run", "run", "--store", "store", "--out", &out, "--method", method,
        ];
        if !last.is_empty() {
            predict.extend(["--seed", last]);
        }
        fixture.succeeds("anofpdm-worker", &predict);
        let mut compared = 0;
        let text = |value: &Value| value.to_string();
        for row in rows
            .iter()
            .filter(|row| row[by] == method && row[seed] == last)
        {
            let path = fixture.path().join(format!("{out}/{}.json", row[subject]));
            let result: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let slices = result["slices"].as_array().unwrap();
            let found = slices
                .iter()
                .find(|found| text(&found["slice"]) == row[slice])
                .unwrap();
            assert_eq!(
                text(&found["mask_pixels"]),
                row[predicted],
                "{method}, slice {} of {}",
                row[slice],
                row[subject]
            );
            marked += row[predicted].parse::<u64>().unwrap();
            compared += 1;
        }
        assert_eq!(compared, 18, "{method}");
    }
    assert!(marked > 0, "every mask is empty: nothing was compared");
}
