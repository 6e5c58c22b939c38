//! How fast the device is: `bench` and `bench-train` in processes of their own, so that their memory is theirs.

use std::time::Duration;

use anofpdm_common::network::NetworkConfig;
use anofpdm_common::spec::Precision;
use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::program::Program;
use crate::cli::selftest::setting::{Setting, paper_network, small_network};
use crate::engine::precision;

/// Whoever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(1800);

pub(super) fn scoring(setting: &Setting) -> Result<Vec<Finding>> {
    let formats = setting.precisions();
    formats
        .iter()
        .map(|format| bench(setting, "small network", &small_network(), *format, [2, 4]))
        .collect()
}

/// One slice, and as many as a run's batch has.
pub(super) fn paper(setting: &Setting) -> Result<Vec<Finding>> {
    let network = paper_network();
    let sizes: &[[u32; 2]] = if setting.device.is_cuda() {
        &[[1, 20], [33, 20]]
    } else {
        &[[1, 1]]
    };
    let mut found = Vec::new();
    for format in setting.precisions() {
        for size in sizes {
            found.push(bench(setting, "paper's network", &network, *format, *size)?);
        }
    }
    Ok(found)
}

/// Runs `bench` on slices and steps.
fn bench(
    setting: &Setting,
    name: &str,
    network: &NetworkConfig,
    format: Precision,
    [slices, steps]: [u32; 2],
) -> Result<Finding> {
    let format = precision::name_of(format);
    let [batch, steps] = [slices, steps].map(|number| number.to_string());
    let options = ["--batch", &batch, "--steps", &steps, "--precision", format];
    let report = run(setting, "bench", network, &options)?;
    judged(
        &format!("speed, {name}, {format}, {slices} slice(s)"),
        &report,
        network,
        slices,
    )
}

/// Runs a command that prints a JSON object.
fn run(
    setting: &Setting,
    command: &str,
    network: &NetworkConfig,
    options: &[&str],
) -> Result<Value> {
    let folder = setting.folder(&format!("{command}-{}", options.join("_")))?;
    let config = folder.join("network.json");
    std::fs::write(&config, serde_json::to_vec(network)?)?;
    let mut arguments: Vec<String> = vec![command.to_owned(), "--json".to_owned()];
    for (name, value) in [
        ("--config", config.display().to_string()),
        ("--device", setting.name.to_string()),
        ("--threads", setting.threads.to_string()),
    ] {
        arguments.extend([name.to_owned(), value]);
    }
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    let said = Program::start(&folder, command, &arguments)?.done(LIMIT)?;
    std::fs::remove_dir_all(&folder)?;
    serde_json::from_str(&said).with_context(|| format!("{command} has said: {said}"))
}

fn number(report: &Value, name: &str) -> Result<f64> {
    let value = report.get(name).and_then(Value::as_f64);
    value.with_context(|| format!("no {name} in {report}"))
}

/// Bytes beyond what libtorch itself holds that `plan` tells for so many slices.
#[allow(clippy::cast_precision_loss)] // gigabytes
fn planned(network: &NetworkConfig, slices: u32) -> f64 {
    network.footprint().scoring_bytes(i64::from(slices)) as f64
}

fn judged(name: &str, report: &Value, network: &NetworkConfig, slices: u32) -> Result<Finding> {
    let seconds = number(report, "seconds_per_evaluation")?;
    let share = number(report, "fraction_of_matmul")?;
    let asked = number(report, "host_share")?;
    let says = format!(
        "{seconds:.5} s an evaluation, {:.0} % of the matmul rate",
        100.0 * share
    );
    let mut finding = Finding::new(name, says)
        .figure("an evaluation", seconds, "s")
        .figure("of the measured matmul rate", share, "")
        .figure(
            "matmul rate",
            number(report, "matmul_flop_per_second")?,
            "FLOP/s",
        )
        .figure(
            "operations a step",
            number(report, "operations_per_step")?,
            "",
        )
        .figure("of a step the host needs to ask for it", asked, "")
        .figure("memory as planned", planned(network, slices), "B");
    let memory = report.get("peak_memory_bytes").and_then(Value::as_f64);
    if let Some(memory) = memory {
        finding = finding.figure("memory at its peak", memory, "B");
    }
    if !(seconds.is_finite() && seconds > 0.0) {
        return Ok(finding.but(Verdict::No, "nothing was measured; report a bug"));
    }
    let on_gpu = report.get("device").and_then(Value::as_str) != Some("cpu");
    if on_gpu && memory.is_some_and(|memory| memory > 1.5 * planned(network, slices)) {
        let advice = "more memory than `anofpdm plan` tells: leave room, and report it";
        return Ok(finding.but(Verdict::Look, advice));
    }
    if on_gpu && slices > 16 && asked > 0.9 {
        let advice = "the host is the limit, not the GPU: look what else runs on it";
        return Ok(finding.but(Verdict::Look, advice));
    }
    Ok(finding)
}

pub(super) fn training(setting: &Setting) -> Result<Vec<Finding>> {
    let options = ["--batch", "4", "--steps", "3", "--warm-up", "1"];
    let report = run(setting, "bench-train", &small_network(), &options)?;
    Ok(vec![judged_training("small network", &report)?])
}

/// A GPU's share of the paper's batch, and with blocks computed again instead of kept.
pub(super) fn paper_training(setting: &Setting) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let steps = if setting.quick { "5" } else { "20" };
    for precision in ["fp32", "tf32", "bf16", "fp16"] {
        for again in [false, true] {
            let mut options = vec!["--batch", "32", "--steps", steps, "--precision", precision];
            if again {
                options.push("--checkpoint-activations");
            }
            let report = run(setting, "bench-train", &paper_network(), &options)?;
            let how = if again { ", blocks again" } else { "" };
            found.push(judged_training(
                &format!("paper's network, {precision}{how}"),
                &report,
            )?);
        }
    }
    Ok(found)
}

/// Share of a step that may be spent on waiting for samples.
const WAITING: f64 = 0.05;

fn judged_training(name: &str, report: &Value) -> Result<Finding> {
    let images = number(report, "images_per_second")?;
    let waiting = number(report, "loader_wait")?;
    let mut finding = Finding::new(
        format!("training speed, {name}"),
        format!("{images:.1} images/s"),
    )
    .figure("images", images, "/s")
    .figure("waiting for samples", waiting, "");
    if let Some(memory) = report.get("peak_memory_bytes").and_then(Value::as_f64) {
        finding = finding.figure("memory at its peak", memory, "B");
    }
    if !(images.is_finite() && images > 0.0) {
        return Ok(finding.but(Verdict::No, "nothing was measured; report a bug"));
    }
    if waiting > WAITING {
        let advice = "the device waits for samples: give the worker more threads";
        return Ok(finding.but(Verdict::Look, advice));
    }
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(device: &str, memory: f64, asked: f64) -> Verdict {
        let report = json!({
            "device": device, "seconds_per_evaluation": 0.1, "fraction_of_matmul": 0.5,
            "matmul_flop_per_second": 1e9, "operations_per_step": 100, "host_share": asked,
            "peak_memory_bytes": memory,
        });
        let found = judged("speed", &report, &paper_network(), 33).unwrap();
        assert_eq!(found.figures.len(), 7);
        found.verdict
    }

    #[test]
    fn a_gpu_that_waits_for_its_host_or_takes_more_than_planned_is_worth_a_look() {
        let planned = planned(&paper_network(), 33);
        assert!((1e9..1e11).contains(&planned), "{planned}");
        assert_eq!(verdict("NVIDIA H100", planned, 0.3), Verdict::Ok);
        assert_eq!(verdict("NVIDIA H100", planned, 0.99), Verdict::Look);
        assert_eq!(verdict("NVIDIA H100", planned * 2.0, 0.3), Verdict::Look);
        assert_eq!(verdict("cpu", planned * 2.0, 1.0), Verdict::Ok);
        let nothing = json!({"seconds_per_evaluation": null});
        assert!(judged("speed", &nothing, &paper_network(), 33).is_err());
    }

    #[test]
    fn a_device_that_waits_for_samples_is_worth_a_look() {
        let report = |waiting| json!({"images_per_second": 9.0, "loader_wait": waiting});
        let verdict = |waiting| judged_training("x", &report(waiting)).unwrap().verdict;
        assert_eq!(verdict(0.001), Verdict::Ok);
        assert_eq!(verdict(0.2), Verdict::Look);
    }
}
