//! Runs whose spec says how maps become masks and by what slices are called unhealthy.

use anofpdm_common::metrics::Overlap;
use anofpdm_common::record::{RatedScore, Record};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::wire;
use anofpdm_tests::fixture::{Fixture, SPEC};
use serde_json::Value;

fn records(fixture: &Fixture, run: &str) -> Vec<Record> {
    let artifacts = ArtifactStore::open(&fixture.path().join(run).join("records")).unwrap();
    let bytes = artifacts
        .entries()
        .unwrap()
        .map(|entry| artifacts.get(&entry.unwrap().digest, 64 << 20).unwrap());
    bytes
        .filter_map(|bytes| wire::decode(&bytes).ok())
        .collect()
}

fn row<'a>(summary: &'a Value, setup: &str) -> &'a Value {
    let rows = summary["rows"].as_array().unwrap();
    let is_it = |row: &&Value| row["method"] == "anofpdm-ddim" && row["setup"] == setup;
    rows.iter().find(is_it).unwrap()
}

#[test]
fn another_way_to_the_mask_shares_the_calibration_and_decides_by_the_ratio() {
    let fixture = Fixture::new();
    let published = SPEC
        .replace(
            "\"anofpdm-ddim\", \"anofpdm-ddim-ste\", \"anofpdm-ddpm\"",
            "\"anofpdm-ddim\"",
        )
        .replace("guidance = [1, 3]", "guidance = { select = [1, 3] }")
        .replace("seeds = [0, 1]", "seeds = [0]");
    let ours = published.replace(
        "component_area = 2",
        "component_area = 2\nmedian = 3\nquantile_of = \"filtered\"\ndecision = \"mse-ratio\"",
    );
    for (name, text) in [("published", &published), ("ours", &ours)] {
        let spec = format!("{name}.toml");
        fixture.write(&spec, text);
        let run = [
            "run",
            &spec,
            "--dir",
            name,
            "--workers",
            "1",
            "--cache",
            "cache",
        ];
        fixture.succeeds("anofpdm", &run);
    }
    let (before, after) = (fixture.summary("published"), fixture.summary("ours"));
    assert_eq!(
        after["cost"]["by_stage"]["calibrate"], 0,
        "sequences have no mask: all of them were in the cache"
    );
    assert_ne!(before["fingerprint"], after["fingerprint"]);
    let plain = |record: &Record| matches!(record, Record::Masks(_));
    let rated = |record: &Record| matches!(record, Record::RatedMasks(_));
    let old = records(&fixture, "published");
    assert!(old.iter().any(plain) && !old.iter().any(rated));
    let new = records(&fixture, "ours");
    assert!(new.iter().any(rated) && !new.iter().any(plain));

    // Both decisions are calibrated whatever the spec decides by; Algorithm 2 goes by the one that decides.
    let calibration = |run: &str| -> Value {
        let path = fixture.path().join(run).join("calibration/ddim.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let strengths = calibration("ours")["strengths"].clone();
    let strengths = strengths.as_array().unwrap();
    for (one, other) in strengths
        .iter()
        .zip(calibration("published")["strengths"].as_array().unwrap())
    {
        for number in [
            "cos_threshold",
            "accuracy",
            "ratio_threshold",
            "ratio_accuracy",
            "max_divergence",
        ] {
            assert_eq!(one[number], other[number], "{number}");
        }
    }
    let best = strengths
        .iter()
        .map(|s| s["ratio_accuracy"].as_f64().unwrap());
    let best = best.fold(0.0, f64::max);
    let chosen = strengths.iter().find(|s| s["selected"] == true).unwrap();
    assert!(chosen["ratio_accuracy"].as_f64().unwrap() >= 0.99 * best);
    let threshold = chosen["ratio_threshold"].as_f64().unwrap() as f32;

    // The mixed row is what the ratios of the records and that threshold say.
    let scores: Vec<RatedScore> = new
        .into_iter()
        .filter_map(|record| match record {
            Record::RatedMasks(scores) => Some(scores),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(scores.len(), 18);
    let dice = scores.iter().map(|rated| {
        let called_unhealthy = rated.mse_ratio >= threshold;
        let overlap = rated.score.overlap;
        let empty = Overlap {
            predicted: 0,
            intersection: 0,
            ..overlap
        };
        if called_unhealthy {
            overlap.dice()
        } else {
            empty.dice()
        }
    });
    let expected = dice.sum::<f64>() / 18.0;
    let found = row(&after, "mixed")["dice"]["mean"].as_f64().unwrap();
    assert!((found - expected).abs() < 1e-12, "{found}, {expected}");

    // What a spec leaves out is written down in the run folder as what was meant.
    let normalised = std::fs::read_to_string(fixture.path().join("published/spec.toml")).unwrap();
    for line in [
        "median = 5",
        "quantile_of = \"map\"",
        "decision = \"cosine\"",
        "component_area = 2",
    ] {
        assert!(normalised.contains(line), "{line}: {normalised}");
    }
    // The component area goes with the slices where it is not given: 40 pixels of 128 x 128.
    let store = std::fs::read(fixture.path().join("store/manifest.json")).unwrap();
    let size = serde_json::from_slice::<Value>(&store).unwrap()["size"]
        .as_f64()
        .unwrap();
    fixture.write("open.toml", &published.replace("component_area = 2\n", ""));
    let plan = fixture.succeeds("anofpdm", &["plan", "open.toml", "--json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(
        plan["component_area"],
        (40.0 * (size / 128.0).powi(2)).round() as u64
    );
    let printed = fixture.succeeds("anofpdm", &["plan", "ours.toml"]);
    let said = "masks        median of 3 x 3 pixels, components of at most 2 pixels dropped\n";
    assert!(printed.contains(said), "{printed}");
}
