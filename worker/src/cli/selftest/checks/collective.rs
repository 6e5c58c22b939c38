//! Ranks sum what they should, and notice when one of them is gone.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli::selftest::finding::{Finding, Verdict};
use crate::cli::selftest::program::Program;
use crate::cli::selftest::rank::{AGREED, LOST, TIMEOUTS};
use crate::cli::selftest::setting::Setting;
use crate::shim::nccl;
use crate::torch::DeviceSpec;

/// How long ranks may take to start, to find each other and to compare sums.
const START: Duration = Duration::from_secs(180);
/// How often ranks are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) fn check(setting: &Setting) -> Result<Vec<Finding>> {
    let (backend, devices) = match setting.name {
        DeviceSpec::Cpu => ("Gloo", vec![DeviceSpec::Cpu; 2]),
        DeviceSpec::Cuda(_) => {
            if let Err(reason) = nccl::load() {
                let advice = "needed for trainings on several GPUs only: docs/building.md says how";
                let finding = Finding::new("ranks, NCCL", format!("not built: {reason}"));
                return Ok(vec![finding.but(Verdict::Look, advice)]);
            }
            let visible = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
            ("NCCL", (0..visible).map(DeviceSpec::Cuda).collect())
        }
    };
    let mut found = vec![world(setting, backend, &[setting.name])?];
    if devices.len() > 1 {
        found.push(world(setting, backend, &devices)?);
    } else {
        let mut one = Finding::new("ranks, several", "needs several GPUs");
        one.verdict = Verdict::NotRun;
        found.push(one);
    }
    Ok(found)
}

/// Ranks of a world and what became of them.
struct Ranks {
    /// Where one has said no: its words.
    disagreed: Option<String>,
    /// Seconds until all others had noticed that the last was killed; `None` where they have not.
    noticed: Option<f64>,
    /// Others that ended by themselves after noticing, and all others.
    ended_well: [usize; 2],
}

fn world(setting: &Setting, backend: &str, devices: &[DeviceSpec]) -> Result<Finding> {
    let folder = setting.folder(&format!("ranks-{}", devices.len()))?;
    let keys = folder.join("keys");
    std::fs::create_dir(&keys)?;
    let several = devices.len() > 1;
    let mut ranks = Vec::new();
    for (rank, device) in devices.iter().enumerate() {
        let mut arguments = vec!["selftest-rank".to_owned()];
        for (name, value) in [
            ("--device", device.to_string()),
            ("--rank", rank.to_string()),
            ("--world", devices.len().to_string()),
            ("--rendezvous", keys.display().to_string()),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        if several {
            arguments.push("--until-lost".to_owned());
        }
        ranks.push(Program::start(
            &folder,
            &format!("rank-{rank}"),
            &arguments,
        )?);
    }
    let mut outcome = Ranks {
        disagreed: disagreed(&mut ranks)?,
        noticed: None,
        ended_well: [0; 2],
    };
    if outcome.disagreed.is_none() && several {
        lose_the_last(ranks, &mut outcome)?;
    }
    Ok(judged(backend, devices.len(), &outcome))
}

/// Waits until all ranks have compared their sums.
fn disagreed(ranks: &mut [Program]) -> Result<Option<String>> {
    let start = Instant::now();
    for (number, rank) in ranks.iter_mut().enumerate() {
        while !rank.output()?.contains(AGREED) {
            // What it said before it ended is there once it has ended.
            if rank.ended()?.is_some() && !rank.output()?.contains(AGREED) {
                return Ok(Some(format!("rank {number} has ended: {}", rank.errors())));
            }
            if start.elapsed() > START {
                let after = START.as_secs();
                let said = rank.errors();
                return Ok(Some(format!(
                    "rank {number} not ready after {after} s: {said}"
                )));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(None)
}

fn lose_the_last(mut ranks: Vec<Program>, outcome: &mut Ranks) -> Result<()> {
    let Some(mut last) = ranks.pop() else {
        return Ok(());
    };
    last.kill()?;
    let start = Instant::now();
    // NCCL's own watchdog comes after twice the time of an operation, and then looks a while for a cause.
    let limit = TIMEOUTS.operation * 2 + Duration::from_secs(90);
    let mut all = true;
    for rank in &mut ranks {
        let left = limit.saturating_sub(start.elapsed());
        let ended = rank.wait(left)?;
        all &= ended.is_some();
        let well = ended.is_some_and(|status| status.success()) && rank.output()?.contains(LOST);
        outcome.ended_well[0] += usize::from(well);
    }
    outcome.ended_well[1] = ranks.len();
    outcome.noticed = all.then(|| start.elapsed().as_secs_f64());
    Ok(())
}

fn judged(backend: &str, world: usize, outcome: &Ranks) -> Finding {
    let check = format!("ranks, {backend}, a world of {world}");
    if let Some(words) = &outcome.disagreed {
        let advice = "train on one device; report a bug";
        return Finding::new(check, words.clone()).but(Verdict::No, advice);
    }
    if world == 1 {
        return Finding::new(check, "sums, copies and gradients are exact");
    }
    let Some(seconds) = outcome.noticed else {
        let says = "sums are exact, but a rank that was killed is waited for without end";
        let advice = "a training on several devices may hang when one is lost; report a bug";
        return Finding::new(check, says).but(Verdict::No, advice);
    };
    let [well, others] = outcome.ended_well;
    let says = format!(
        "sums, copies and gradients are exact; one rank killed: the others end after {seconds:.1} s"
    );
    let finding = Finding::new(check, says).figure("noticed after", seconds, "s");
    if well == others {
        finding
    } else {
        finding.but(
            Verdict::Look,
            format!(
                "{} of {others} were ended by their library and said nothing; report it",
                others - well
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_that_disagrees_or_hangs_is_a_no() {
        let ranks = |disagreed: Option<&str>, noticed, well| Ranks {
            disagreed: disagreed.map(str::to_owned),
            noticed,
            ended_well: [well, 2],
        };
        let verdict = |world, ranks: Ranks| judged("Gloo", world, &ranks).verdict;
        assert_eq!(verdict(3, ranks(None, Some(0.1), 2)), Verdict::Ok);
        assert_eq!(verdict(3, ranks(None, Some(0.1), 1)), Verdict::Look);
        assert_eq!(verdict(3, ranks(None, None, 0)), Verdict::No);
        assert_eq!(verdict(1, ranks(None, None, 0)), Verdict::Ok);
        assert_eq!(verdict(1, ranks(Some("wrong"), None, 0)), Verdict::No);
    }
}
