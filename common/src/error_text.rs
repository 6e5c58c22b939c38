//! An error with all its causes, for people.

use std::error::Error;

/// The error and its causes in one line; what the line already tells is not repeated.
pub fn error_text(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = inner.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("{path}: {source}")]
        Repeats {
            path: &'static str,
            source: std::io::Error,
        },
        #[error("cannot start")]
        Hides(#[source] std::io::Error),
    }

    #[test]
    fn a_cause_is_told_once() {
        let source = || std::io::Error::other("disk full");
        let repeats = Outer::Repeats {
            path: "journal",
            source: source(),
        };
        assert_eq!(error_text(&repeats), "journal: disk full");
        assert_eq!(
            error_text(&Outer::Hides(source())),
            "cannot start: disk full"
        );
    }
}
