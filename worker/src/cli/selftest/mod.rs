//! `anofpdm-worker selftest`: whether this machine computes what it should, and how fast.

pub mod args;
mod checks;
mod finding;
mod machine;
mod program;
pub mod rank;
mod report;
mod runner;
mod setting;

use std::time::Instant;

use anyhow::Result;

use crate::torch;
use args::SelftestArgs;
use machine::Machine;
use report::Report;
use setting::Setting;

/// Some check has said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} check(s) say no: see `no` above, and what to do behind `>`")]
pub struct SaidNo(usize);

/// Runs all checks and prints what they find; what is under way is told on standard error.
///
/// # Errors
/// [`SaidNo`] when a check says no; otherwise when the device cannot be had or no temporary folder made.
pub fn run(args: &SelftestArgs) -> Result<()> {
    let start = Instant::now();
    let device = args.device.open()?;
    torch::memory::keep();
    torch::set_threads(i32::try_from(args.threads).unwrap_or(i32::MAX));
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads as usize)
        .build_global()?;
    let setting = Setting::new(device, args.device, args.quick, args.threads)?;
    let machine = Machine::of(&setting);
    let findings = runner::run(checks::ALL, &setting, &mut |check| {
        eprintln!("{:6.1} s  {check}", start.elapsed().as_secs_f64());
    });
    let seconds = start.elapsed().as_secs_f64();
    let report = Report::new(machine, args.quick, findings, seconds);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    match report.no {
        0 => Ok(()),
        no => Err(SaidNo(no).into()),
    }
}
