//! What the programs log says what it is about: run, worker, shard, epoch.

use anofpdm_tests::fake::faults;
use anofpdm_tests::fixture::Fixture;
use serde_json::Value;

#[test]
fn a_failure_is_found_by_run_shard_and_epoch_in_the_logs_of_both_programs() {
    let fixture = Fixture::new().with_fake_workers();
    let output = fixture
        .command(
            "anofpdm",
            &["run", "tiny.toml", "--dir", "r", "--workers", "1"],
        )
        .env(faults::ENVIRONMENT, "seed=3,error=0.3")
        .env("ANOFPDM_LOG_FORMAT", "json")
        .output()
        .unwrap();
    let coordinator = lines(&String::from_utf8(output.stderr).unwrap());
    // Whether the run gets to its end is another matter: that something failed is what this is about.
    let failed = coordinator
        .iter()
        .find(|line| line["fields"]["again"].is_boolean())
        .unwrap_or_else(|| panic!("nothing failed: {coordinator:#?}"));
    let run = in_spans(failed, "run");
    assert!(run.as_str().unwrap().starts_with("tiny-"), "{failed}");
    let (shard, epoch) = (&failed["fields"]["shard"], &failed["fields"]["epoch"]);
    assert!(shard.is_u64() && epoch.is_u64(), "{failed}");

    let logs: Vec<Value> = std::fs::read_dir(fixture.path().join("r/logs"))
        .unwrap()
        .flat_map(|log| lines(&std::fs::read_to_string(log.unwrap().path()).unwrap()))
        .collect();
    let told = logs
        .iter()
        .find(|line| line["level"] == "ERROR" && in_spans(line, "shard") == *shard)
        .unwrap_or_else(|| panic!("no worker tells of shard {shard}: {logs:#?}"));
    assert_eq!(in_spans(told, "run"), run, "{told}");
    assert_eq!(in_spans(told, "epoch"), *epoch, "{told}");
    assert_eq!(
        in_spans(told, "worker"),
        failed["fields"]["worker"],
        "{told}"
    );
}

/// The objects of a log; what a program says before its log is set up is none.
fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// A field of one of the spans around a line.
fn in_spans(line: &Value, field: &str) -> Value {
    let spans = line["spans"].as_array().cloned().unwrap_or_default();
    spans
        .iter()
        .find_map(|span| span.get(field).cloned())
        .unwrap_or(Value::Null)
}
