//! The terminal behind stderr, shared by what is drawn on it anew and by the lines that scroll.
//!
//! Bars are drawn in one place, and whatever writes a line asks for the bars to be taken off meanwhile: a log line
//! leaves no stale copy of a bar behind.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// Columns assumed where nobody knows better.
const COLUMNS: usize = 80;

/// True when somebody may be looking at stderr.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

pub fn columns() -> usize {
    let size = Term::stderr().size_checked();
    size.map_or(COLUMNS, |(_, columns)| usize::from(columns))
}

/// Draws `bar` from now on, below the lines that are written.
pub fn show(bar: ProgressBar) -> ProgressBar {
    BARS.add(bar)
}

/// Takes `bar` off the screen and leaves `line` where it was.
pub fn leave(bar: &ProgressBar, line: &str) {
    bar.finish_and_clear();
    BARS.remove(bar);
    say(line);
}

/// Writes a line to stderr, above every bar.
pub fn say(line: &str) {
    BARS.suspend(|| {
        // Without a stderr nobody looks.
        writeln!(io::stderr(), "{line}").ok();
    });
}

/// Where logs go: to stderr, above every bar.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        BARS.suspend(|| io::stderr().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
