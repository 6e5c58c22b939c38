//! The name of a run in a queue.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anofpdm_common::ids::Digest;
use anofpdm_common::instance::host_name;

/// `NAME-8hex`, never given twice: two folders, two machines, or a folder that was removed and made again
/// must not meet in one Redis.
pub(super) fn run_id(name: &str, folder: &Path) -> String {
    let host = host_name();
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let made = format!("{host} {} {now:?}", folder.display());
    let unique = Digest::of(made.as_bytes()).short();
    format!("{name}-{}", unique.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_creation_has_its_own_name() {
        let (a, b) = (Path::new("runs/a"), Path::new("runs/b"));
        let first = run_id("demo", a);
        assert_eq!(first.len(), "demo-".len() + 8);
        assert!(first.starts_with("demo-"));
        assert_ne!(first, run_id("demo", b));
        assert_ne!(
            first,
            run_id("demo", a),
            "a folder made again is another run"
        );
    }
}
