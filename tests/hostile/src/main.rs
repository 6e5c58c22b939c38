//! `anofpdm-hostile`: as many mutated messages as asked, and a journal for every two hundred of them; fails unless each is read
//! as a value or an error, within its memory.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anofpdm_hostile::{is_counting, journals, messages};
use clap::Parser;
use peak_alloc::PeakAlloc;

/// What is taken and given back is counted.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Messages for each journal.
const MESSAGES_A_JOURNAL: u64 = 200;

/// Reads mutated messages of every kind and mutated journals, and checks that nothing worse than an error comes of them
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  make hostile N=10000000\n\nMessage i of a seed is always the same."
)]
struct Cli {
    /// Messages
    #[arg(long, short = 'n', default_value_t = 1_000_000)]
    number: u64,
    /// What all of them follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON on standard output
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
    if !is_counting() {
        eprintln!("error: memory is not counted. This is a bug.");
        return ExitCode::FAILURE;
    }
    // In memory where that can be had: a journal is synced each time a tail is cut off.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = match folder {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("error: temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let go_on = |_| !interrupt.load(Ordering::Relaxed);
    let begin = Instant::now();
    let messages = messages::storm(cli.seed, cli.number, go_on);
    let read = begin.elapsed();
    let begin = Instant::now();
    let number = cli.number / MESSAGES_A_JOURNAL;
    let journals = journals::storm(cli.seed, number, folder.path(), go_on);
    let scanned = begin.elapsed();

    if cli.json {
        println!(
            "{}",
            serde_json::json!({ "messages": messages, "journals": journals })
        );
    } else {
        println!("| kind | messages | values | errors | most memory, bytes | of its bound |");
        println!("|---|---|---|---|---|---|");
        for (kind, tally) in &messages.kinds {
            let values = tally.outcomes.get("value").copied().unwrap_or(0);
            println!(
                "| {kind} | {} | {values} | {} | {} | {:.0} % |",
                tally.messages,
                tally.messages - values,
                tally.most_memory,
                100.0 * tally.of_the_bound
            );
        }
        println!(
            "{} messages of seed {} in {:.0} s; {} journals in {:.0} s: {} whole with {} entries, {} cut, {} refused, most memory {} bytes",
            messages.messages(),
            cli.seed,
            read.as_secs_f64(),
            journals.whole + journals.cut + journals.refused,
            scanned.as_secs_f64(),
            journals.whole,
            journals.entries,
            journals.cut,
            journals.refused,
            journals.most_memory,
        );
    }
    let wrong: Vec<&String> = messages.wrong.iter().chain(&journals.wrong).collect();
    for one in wrong.iter().take(20) {
        eprintln!("wrong: {one}");
    }
    eprintln!("{} wrong", wrong.len());
    if wrong.is_empty() && messages.messages() == cli.number {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
