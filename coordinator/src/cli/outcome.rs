//! What `run`, `demo` and `report` print of a result, and how it can be chosen.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use console::Term;

use super::print_json;
use crate::report::summary::Summary;
use crate::report::{checks, terminal};

/// Longest line of the checks, also where nobody says how many columns there are.
const LINE: usize = 120;

/// How a result is printed.
#[derive(Debug, Clone, Args)]
pub struct OutcomeArgs {
    /// Print summary.json instead of the table
    #[arg(long)]
    json: bool,
    /// Columns that the table may take [default: the terminal's; where there is none, every column in Markdown]
    #[arg(long, conflicts_with = "json", value_parser = clap::value_parser!(u16).range(20..=1_000))]
    width: Option<u16>,
}

impl OutcomeArgs {
    /// Prints the result of the run in `dir`; true where that is for people, and more may be said.
    pub(super) fn print(&self, summary: &Summary, dir: &Path) -> anyhow::Result<bool> {
        if self.json {
            print_json(summary)?;
            return Ok(false);
        }
        let width = self.width.map(usize::from).or_else(columns);
        let table = terminal::table(summary, width);
        let origin = terminal::origin(summary, &dir.join("report"));
        let checks = checks::lines(summary, width.map_or(LINE, |width| width.min(LINE))).join("\n");
        match writeln!(io::stdout(), "{table}\n\n{checks}\n\n{origin}") {
            // A pipe into `head`, say.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            done => Ok(done.map(|()| true)?),
        }
    }
}

/// Columns of the terminal behind stdout; none where there is none.
pub(super) fn columns() -> Option<usize> {
    let size = io::stdout()
        .is_terminal()
        .then(|| Term::stdout().size_checked());
    size.flatten().map(|(_, columns)| columns.into())
}
