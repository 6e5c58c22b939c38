//! Turns a TOML error into one that also names the nearest known key.

use super::SpecError;
use crate::nearest::nearest;

/// The text of `error`, with a suggestion where an unknown name is close to a known one.
///
/// The list of known names is taken from the error itself, so there is no second list to keep.
pub(super) fn explain(error: &toml::de::Error) -> SpecError {
    let text = error.to_string();
    let text = text.trim_end();
    match known_name(error.message()) {
        Some(name) => SpecError::new(format!("{text}\ndid you mean `{name}`?")),
        None => SpecError::new(text),
    }
}

fn known_name(message: &str) -> Option<&str> {
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().filter(|_| is_unknown)?;
    nearest(unknown, names)
}
