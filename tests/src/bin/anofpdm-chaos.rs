//! `anofpdm-chaos`: as many chaos drills as asked; fails unless nothing was lost and all answers agree.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anofpdm_tests::chaos::drill::drill;
use anofpdm_tests::chaos::fixture::DrillFixture;
use anofpdm_tests::chaos::schedule::Kind;
use anofpdm_tests::chaos::tally::Tally;
use clap::Parser;

/// Runs a small benchmark through Redis again and again while things go wrong, and compares the answers
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  make chaos N=200\n  make chaos N=20 SEED=7 KINDS=network,mixed\n\nDrill i has seed SEED + i and the kind of its turn; both are printed, so that one drill can be repeated."
)]
struct Cli {
    /// Drills
    #[arg(long, short = 'n', default_value_t = 9)]
    number: u64,
    /// Seed of the first drill; each next one has the next seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What goes wrong, in turn
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::FAULTY)]
    kinds: Vec<Kind>,
    /// Workers of a drill
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// Print JSON on standard output; the lines for people then go to standard error
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupt)) {
            eprintln!("error: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    }
    let say = |text: String| {
        if cli.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    };
    let fixture = DrillFixture::new();
    say(format!(
        "{} shards; undisturbed fingerprint {}",
        fixture.shards(),
        fixture.answer().fingerprint
    ));
    let mut tally = Tally::default();
    for (turn, kind) in (0..cli.number).zip(cli.kinds.iter().cycle()) {
        if interrupt.load(Ordering::Relaxed) {
            break;
        }
        let seed = cli.seed.wrapping_add(turn);
        let drill = drill(&fixture, *kind, seed, cli.workers.into(), &interrupt);
        say(drill.to_string());
        tally.add(drill);
    }
    say(tally.total.to_string());
    if cli.json {
        match serde_json::to_string_pretty(&tally) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let complete = tally.total.runs == cli.number;
    if tally.is_well() && complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
