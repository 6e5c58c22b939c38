//! Turns a TOML error into one that also says what to write instead.

use super::SpecError;
use crate::nearest::nearest;

/// The text of `error` in the spec `text`, with a suggestion where an unknown name is close to a known one, or where a
/// list was given as a single value.
///
/// The list of known names is taken from the error itself, so there is no second list to keep.
pub(super) fn explain(error: &toml::de::Error, text: &str) -> SpecError {
    let message = error.to_string();
    let message = message.trim_end();
    let hint = match known_name(error.message()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None => as_list(error, text).map(|list| format!("it is a list: write {list}")),
    };
    match hint {
        Some(hint) => SpecError::new(format!("{message}\n{hint}")),
        None => SpecError::new(message),
    }
}

fn known_name(message: &str) -> Option<&str> {
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().filter(|_| is_unknown)?;
    nearest(unknown, names)
}

/// How a single value is written where a list was expected: `KEY = [VALUE]`.
fn as_list(error: &toml::de::Error, text: &str) -> Option<String> {
    let single = ["integer", "float", "string", "boolean"]
        .iter()
        .any(|kind| {
            error
                .message()
                .starts_with(&format!("invalid type: {kind}"))
        });
    let sequence = error.message().contains(", expected a sequence");
    let span = error.span().filter(|_| single && sequence)?;
    let value = text.get(span.clone())?.trim();
    let before = text.get(..span.start)?.trim_end().strip_suffix('=')?;
    let mut words = before
        .trim_end()
        .rsplit(|c: char| c.is_whitespace() || matches!(c, '{' | ','));
    let key = words.next().filter(|key| !key.is_empty())?;
    let one = format!("{key} = [{value}]");
    // A count is easily taken for it.
    Some(match key {
        "seeds" => format!("{one} for that one seed, or seeds = [0, 1, 2] for three"),
        _ => one,
    })
}
