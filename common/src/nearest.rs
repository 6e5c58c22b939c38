//! "Did you mean": the known name that an unknown one is probably a slip of.

/// The name of `names` that is nearest to `unknown`, if one is near: about a third of its letters may differ. Of equals
/// the first by name.
pub fn nearest<'a>(unknown: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let names = ["patient-02", "patient-01", "control-01"];
        assert_eq!(nearest("patient-1", names), Some("patient-01"));
        assert_eq!(nearest("patient-03", names), Some("patient-01"));
        assert_eq!(nearest("x", names), None);
    }
}
