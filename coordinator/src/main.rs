//! `anofpdm`: plans, watches and adds up a benchmark of weakly-supervised anomaly segmentation.

use std::process::ExitCode;

use anofpdm_common::error_text::error_text;
use anofpdm_coordinator::{cli, screen};

fn main() -> ExitCode {
    if let Err(error) = anofpdm_common::telemetry::init_to(|| screen::LogWriter) {
        eprintln!("error: {error}");
        return ExitCode::from(cli::failure::USAGE);
    }
    // Set by `make`. Here and nowhere else, so that another commit compiles next to nothing anew.
    match cli::main(option_env!("ANOFPDM_COMMIT")) {
        Ok(code) => code,
        Err(error) => {
            let label = cli::failure::label(&error);
            screen::say(&format!("{label}: {}", error_text(error.as_ref())));
            cli::failure::exit_code(&error)
        }
    }
}
