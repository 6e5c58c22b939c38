//! What the programs serve for Prometheus, as `promtool check metrics` would read it.

/// Every family has its help and type lines before its samples, and a name as `promtool check metrics` wants it.
pub(super) fn check_format(page: &str) {
    let mut family: Option<(String, String)> = None;
    let mut helped = String::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(!text.is_empty());
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, helped, "help comes first");
            assert!(name.starts_with("anofpdm_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            family = Some((name.to_owned(), kind.to_owned()));
        } else {
            let (name, kind) = family.as_ref().unwrap();
            let sample = line.split(['{', ' ']).next().unwrap();
            let rest = sample.strip_prefix(name.as_str()).unwrap();
            let endings: &[&str] = match kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(endings.contains(&rest), "{line}");
        }
    }
}
