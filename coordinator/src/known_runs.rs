//! The runs there are, for who names one that is not.

use std::path::Path;

use anofpdm_common::nearest::nearest;

/// Names listed in a message.
const LISTED: usize = 8;

/// Names of the run folders in a folder of them, sorted; none where it cannot be read.
pub fn names(runs: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("spec.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

/// What to say to somebody who asked for `wanted`: the run that was meant, perhaps, and those there are.
pub fn hint(runs: &Path, wanted: &Path) -> String {
    let names = names(runs);
    if names.is_empty() {
        return format!(
            "name a folder that `anofpdm run` made, or a run under {}/, where there is none yet",
            runs.display()
        );
    }
    let wanted = wanted.file_name().unwrap_or_default().to_string_lossy();
    let meant = nearest(&wanted, names.iter().map(String::as_str))
        .map_or_else(String::new, |name| format!("did you mean {name}? "));
    let mut listed: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
    let more = format!("and {} more", names.len().saturating_sub(LISTED));
    if names.len() > LISTED {
        listed.push(&more);
    }
    format!(
        "{meant}there are, under {}/: {} (`anofpdm runs` tells more)",
        runs.display(),
        listed.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_nearest_run_and_those_there_are_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let at = runs.display();
        let said = |wanted: &str| hint(&runs, Path::new(wanted));
        assert!(said("demo").ends_with("where there is none yet"));
        for name in ["demo", "brats13-small"] {
            fs::create_dir_all(runs.join(name)).unwrap();
            fs::write(runs.join(name).join("spec.toml"), "").unwrap();
        }
        fs::create_dir_all(runs.join("no-run")).unwrap();
        assert_eq!(
            said("runs/dmeo"),
            format!(
                "did you mean demo? there are, under {at}/: brats13-small, demo (`anofpdm runs` tells more)"
            )
        );
        assert!(said("quite-another").starts_with("there are, under"));
        for number in 0..20 {
            fs::create_dir_all(runs.join(format!("z{number}"))).unwrap();
            fs::write(runs.join(format!("z{number}/spec.toml")), "").unwrap();
        }
        assert!(said("x").contains("z12, z13, and 14 more"), "{}", said("x"));
    }
}
