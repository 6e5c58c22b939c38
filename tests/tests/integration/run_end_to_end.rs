//! One command from slices to a table; the table is whole, counted and the same however it was computed.

use anofpdm_common::record::Record;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::wire;
use anofpdm_tests::fixture::{Fixture, SPEC};
use serde_json::Value;

#[test]
fn a_run_makes_a_whole_table_and_counts_what_it_computes() {
    let fixture = Fixture::new();
    let plan: Value =
        serde_json::from_str(&fixture.succeeds("anofpdm", &["plan", "tiny.toml", "--json"]))
            .unwrap();
    let printed = fixture.succeeds(
        "anofpdm",
        &["run", "tiny.toml", "--dir", "one", "--workers", "1"],
    );
    assert!(printed.contains("anofpdm-ddim-ste"), "{printed}");

    let summary = fixture.summary("one");
    // 2 methods of one encoding and 1 of the other, 2 strengths, 2 seeds, 18 slices.
    assert_eq!(summary["coverage"]["planned"], 3 * 2 * 2 * 18);
    assert_eq!(
        summary["coverage"]["scored"],
        summary["coverage"]["planned"]
    );
    assert_eq!(summary["coverage"]["conflicts"], 0);
    assert_eq!(
        summary["cost"]["network_evaluations"], plan["network_evaluations"]["total"],
        "the run computes what the plan says"
    );
    assert_eq!(
        summary["cost"]["padding"],
        plan["network_evaluations"]["padding"]
    );
    // Two evaluations a slice-step, whatever the number of strengths and methods.
    assert_eq!(
        summary["cost"]["by_stage"]["score"],
        2 * 8 * 18 * 2 * 2,
        "2 a step x 8 steps x 18 slices x 2 encodings x 2 seeds"
    );

    let rows = summary["rows"].as_array().unwrap();
    assert_eq!(
        rows.len(),
        2 * (3 * 2 + 3),
        "two set-ups, methods x strengths and three trivial rows"
    );
    for row in rows {
        let trivial = row["guidance"].is_null();
        let dice = row["dice"]["mean"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&dice), "{row}");
        assert_eq!(
            row["dice"]["per_seed"].as_array().unwrap().len(),
            if trivial { 1 } else { 2 }
        );
        assert!(row["auprc"]["mean"].is_number(), "{row}");
    }

    // Again: nothing is computed, the answer stays; and without workers from the records alone.
    let again = fixture.succeeds(
        "anofpdm",
        &["run", "tiny.toml", "--dir", "one", "--workers", "1"],
    );
    assert_eq!(again.lines().next(), printed.lines().next());
    assert_eq!(
        fixture.summary("one")["cost"]["network_evaluations"],
        summary["cost"]["network_evaluations"]
    );
    let rows = summary["rows"].clone();
    fixture.succeeds("anofpdm", &["report", "one"]);
    assert_eq!(fixture.summary("one")["rows"], rows);
}

#[test]
fn one_worker_and_four_give_the_same_fingerprint() {
    let fixture = Fixture::new();
    for (run, workers) in [("one", "1"), ("four", "4")] {
        fixture.succeeds(
            "anofpdm",
            &["run", "tiny.toml", "--dir", run, "--workers", workers],
        );
    }
    let (one, four) = (fixture.summary("one"), fixture.summary("four"));
    assert_eq!(one["fingerprint"], four["fingerprint"]);
    assert_eq!(one["rows"], four["rows"]);
    assert_eq!(
        one["cost"]["network_evaluations"],
        four["cost"]["network_evaluations"]
    );

    // A cell's bits do not depend on which other cells ran, nor on how batches are cut into shards: with the trained
    // weights given, a run of one method and one strength repeats its rows.
    let weights = fixture.weights("one");
    let narrow = SPEC
        .replace("name = \"tiny\"", "name = \"narrow\"")
        .replace(
            "[model.guided]\n",
            &format!("[model.guided]\ncheckpoint = \"{}\"\n", weights.display()),
        )
        .replace(
            "\"anofpdm-ddim\", \"anofpdm-ddim-ste\", \"anofpdm-ddpm\"",
            "\"anofpdm-ddim\"",
        )
        .replace("guidance = [1, 3]", "guidance = [3]")
        .replace("shard_slices = 4", "shard_slices = 12");
    fixture.write("narrow.toml", &narrow);
    fixture.succeeds(
        "anofpdm",
        &["run", "narrow.toml", "--dir", "narrow", "--workers", "2"],
    );
    let narrow = fixture.summary("narrow");
    let row = |summary: &Value, setup: &str| {
        summary["rows"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| {
                row["method"] == "anofpdm-ddim" && row["guidance"] == 3.0 && row["setup"] == setup
            })
            .unwrap()
            .clone()
    };
    for setup in ["mixed", "unhealthy"] {
        assert_eq!(row(&one, setup), row(&narrow, setup));
    }
}

#[test]
fn figures_come_out_of_the_same_pass_and_change_no_row() {
    let fixture = Fixture::new();
    let plain = SPEC.replace("guidance = [1, 3]", "guidance = [3]");
    fixture.write("plain.toml", &plain);
    fixture.write(
        "figures.toml",
        &plain.replace(
            "[compute]",
            "[score.figures]\ntraces = true\nend_step_ratios = [0.5, 1, 2]\nfixed_thresholds = [0.05]\n[compute]",
        ),
    );
    fixture.succeeds(
        "anofpdm",
        &["run", "plain.toml", "--dir", "plain", "--workers", "1"],
    );
    fixture.succeeds(
        "anofpdm",
        &["run", "figures.toml", "--dir", "figures", "--workers", "1"],
    );
    let (plain, figures) = (fixture.summary("plain"), fixture.summary("figures"));
    assert_eq!(plain["rows"], figures["rows"]);
    assert_eq!(
        plain["cost"]["network_evaluations"],
        figures["cost"]["network_evaluations"]
    );

    let artifacts = ArtifactStore::open(&fixture.path().join("figures/records")).unwrap();
    let mut slices_with_figures = 0;
    for entry in artifacts.entries().unwrap() {
        let bytes = artifacts.get(&entry.unwrap().digest, 64 << 20).unwrap();
        let Ok(Record::Masks(scores)) = wire::decode::<Record>(&bytes) else {
            continue;
        };
        for (score, figures) in scores.iter().filter_map(|s| Some((s, s.figures.as_ref()?))) {
            slices_with_figures += 1;
            assert_eq!(figures.end_step_ratios.len(), 3);
            assert_eq!(
                figures.end_step_ratios[1], score.overlap,
                "ratio 1 is t_e itself"
            );
            assert_eq!(figures.fixed_thresholds.len(), 1);
            let traces = figures.traces.as_ref().unwrap();
            // 8 steps of 2 modalities.
            assert_eq!(traces.trace.divergence.len(), 16);
            assert_eq!(traces.inside.len(), 16);
            let healthy = score.overlap.truth == 0;
            assert!(traces.inside.iter().all(|mean| mean.is_nan() == healthy));
            assert!(traces.outside.iter().all(|mean| mean.is_finite()));
        }
    }
    // Both encodings, two seeds, 18 slices; the other maps of a pass do not repeat them.
    assert_eq!(slices_with_figures, 2 * 2 * 18);
}

#[test]
fn a_shared_cache_spares_the_second_run_and_gc_knows_what_is_used() {
    let fixture = Fixture::new();
    for run in ["first", "second"] {
        let dir = format!("runs/{run}");
        fixture.succeeds(
            "anofpdm",
            &[
                "run",
                "tiny.toml",
                "--dir",
                &dir,
                "--workers",
                "1",
                "--cache",
                "cache",
            ],
        );
    }
    let (first, second) = (
        fixture.summary("runs/first"),
        fixture.summary("runs/second"),
    );
    assert_eq!(first["fingerprint"], second["fingerprint"]);
    assert!(first["cost"]["by_stage"]["score"].as_u64().unwrap() > 0);
    assert_eq!(
        second["cost"]["by_stage"]["score"], 0,
        "every record was there"
    );
    assert_eq!(second["coverage"]["scored"], second["coverage"]["planned"]);

    let removable = || -> u64 {
        let text = fixture.succeeds("anofpdm", &["gc", "--cache", "cache", "--json"]);
        let holdings: Vec<Value> = serde_json::from_str(&text).unwrap();
        let cache = holdings.iter().find(|h| h["place"] == "cache").unwrap();
        cache["removable_files"].as_u64().unwrap()
    };
    assert_eq!(removable(), 0, "both runs share the cached records");
    std::fs::remove_dir_all(fixture.path().join("runs")).unwrap();
    assert!(removable() > 0);
    fixture.succeeds("anofpdm", &["gc", "--cache", "cache", "--delete"]);
    assert_eq!(removable(), 0);
}
