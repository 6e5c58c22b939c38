//! Every setting of the run beside its default, how to make the numbers again, and what to write in a paper.

use anofpdm_common::metrics::setup::Setup;
use anofpdm_common::spec::{Guidance, RunSpec};
use maud::{Markup, html};
use serde_json::Value;

use crate::report::summary::Summary;

/// A key of the spec with its value.
#[derive(Debug, Clone, PartialEq)]
struct Setting {
    key: String,
    value: String,
    /// The value where nothing is said; `None` for a key that has to be given, or a section that may be left out.
    default: Option<String>,
}

impl Setting {
    fn differs(&self) -> bool {
        self.default
            .as_ref()
            .is_some_and(|default| *default != self.value)
    }
}

/// Every key. Defaults are what a spec without the key is read as.
fn settings(spec: &RunSpec) -> Vec<Setting> {
    let Ok(whole) = serde_json::to_value(spec) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    leaves(&whole, &mut Vec::new(), &mut keys);
    keys.into_iter()
        .map(|(path, value)| {
            // A key that cannot be left out alone may be with its section.
            let default = read_without(&whole, &path, &path)
                .or_else(|| read_without(&whole, path.get(..path.len() - 1)?, &path));
            Setting {
                key: path.join("."),
                value,
                default,
            }
        })
        .collect()
}

/// What stands at `path` where a spec does not name `left_out`; `None` where that is no spec, or no key of a section.
fn read_without(whole: &Value, left_out: &[String], path: &[String]) -> Option<String> {
    if left_out.len() < 2 && left_out != path {
        return None;
    }
    let mut without = whole.clone();
    remove(&mut without, left_out);
    let read: RunSpec = serde_json::from_value(without).ok()?;
    let default = serde_json::to_value(read).ok()?;
    let at = |path: &[String]| default.pointer(&format!("/{}", path.join("/"))).map(shown);
    Some(
        at(path)
            .or_else(|| at(left_out))
            .unwrap_or_else(|| "none".to_owned()),
    )
}

/// Every key of a spec below `path`, with its value as it is shown.
pub(crate) fn leaves(value: &Value, path: &mut Vec<String>, keys: &mut Vec<(Vec<String>, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                path.push(name.clone());
                leaves(field, path, keys);
                path.pop();
            }
        }
        Value::Null => keys.push((path.clone(), "none".to_owned())),
        other => keys.push((path.clone(), shown(other))),
    }
}

fn remove(value: &mut Value, path: &[String]) {
    let Some((last, sections)) = path.split_last() else {
        return;
    };
    let mut inner = value;
    for section in sections {
        match inner.get_mut(section) {
            Some(field) => inner = field,
            None => return,
        }
    }
    if let Some(fields) = inner.as_object_mut() {
        fields.remove(last);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

pub(super) fn section(spec: Option<&RunSpec>) -> Markup {
    html! {
        section #settings {
            h2 { "Every setting" }
            @match spec {
                None => p.absent { "The spec of the run could not be read." },
                Some(spec) => {
                    @let all = settings(spec);
                    p {
                        (all.iter().filter(|setting| setting.differs()).count()) " of " (all.len())
                        " settings are not the default: they are marked with ≠."
                    }
                    div.scroll tabindex="0" role="region" aria-label="Settings" {
                        table.settings {
                            thead { tr { th scope="col" { "key" } th scope="col" { "value" } th scope="col" { "default" } } }
                            tbody { @for setting in &all {
                                tr.differs[setting.differs()] {
                                    th scope="row" { @if setting.differs() { "≠ " } code { (setting.key) } }
                                    td { code { (setting.value) } }
                                    td { @match &setting.default {
                                        Some(default) => code { (default) },
                                        None => "has to be given",
                                    } }
                                }
                            } }
                        }
                    }
                    details {
                        summary { "the spec as a file" }
                        pre #spec tabindex="0" { (spec.to_toml().unwrap_or_default()) }
                        p.scripted { button type="button" data-copy="spec" { "copy" } }
                    }
                },
            }
        }
    }
}

/// Seeds, methods and strengths in words.
fn methods_paragraph(summary: &Summary, spec: Option<&RunSpec>, version: &str) -> String {
    let row = summary
        .rows
        .iter()
        .find(|row| row.setup == Setup::Mixed && !row.seeds.is_empty());
    let mut text = format!(
        "Numbers were computed with anofpdm {version} (semantics {}, {} on {}).",
        summary.semantics, summary.precision, summary.device
    );
    if let Some(row) = row {
        text.push_str(&format!(
            " {} test slices of {} patients were scored with {} noise seeds.",
            row.slices,
            row.patients,
            row.seeds.len()
        ));
    }
    if let Some(spec) = spec {
        let score = &spec.score;
        let methods: Vec<&str> = score.methods.iter().map(|method| method.name()).collect();
        text.push_str(&format!(
            " Methods: {}. Noise levels: {} forward steps with respacing {}.",
            methods.join(", "),
            score.steps,
            score.respacing
        ));
        let strengths = score.guidance.candidates();
        let listed: Vec<String> = strengths.iter().map(ToString::to_string).collect();
        match &score.guidance {
            Guidance::Select { .. } => text.push_str(&format!(
                " The guidance strength was chosen from {} by Algorithm 2 of the paper on validation slices, from \
                 image-level labels.",
                listed.join(", ")
            )),
            Guidance::List(list) if !list.is_empty() => {
                text.push_str(&format!(" Guidance strength: {}.", listed.join(", ")));
            }
            Guidance::List(_) => {}
        }
        text.push_str(&format!(
            " Maps were filtered with a median of {} x {} pixels.",
            score.median, score.median
        ));
    }
    text.push_str(
        " DICE and IoU are means over slices; AUPRC is average precision of all pooled foreground pixels. Intervals are 95 % \
         percentile intervals of a bootstrap over patients (10,000 resamples); rows were compared by sign-flip permutation \
         tests over patients with Holm's correction.",
    );
    text.push_str(&format!(
        " Fingerprint of the run: {}.",
        summary.fingerprint
    ));
    text
}

const BIBTEX: &str = "@misc{che2024anofpdm,
  title  = {{AnoFPDM}: Anomaly Detection with Forward Process of Diffusion Models for Brain {MRI}},
  author = {Che, Yiming and Rafsani, Fazle and Shah, Jay and Siddiquee, Md Mahfuzur Rahman and Wu, Teresa},
  year   = {2024}
}";

pub(super) fn reproduce(
    summary: &Summary,
    spec: Option<&RunSpec>,
    version: &str,
    files: &[String],
) -> Markup {
    let store = spec.map_or_else(|| "STORE".to_owned(), |spec| spec.data.store.to_string());
    let commands = format!(
        "# the spec above as spec.toml; slices in {store}\nanofpdm plan spec.toml\nanofpdm run spec.toml\n\
         # only this report again, without a device\nanofpdm report runs/{}",
        summary.run
    );
    html! {
        section #reproduce {
            h2 { "How to make it again" }
            pre tabindex="0" { (commands) }
            p {
                "With the same slices and weights on the same kind of device (" (summary.device)
                ") the fingerprint is " code { (summary.fingerprint.to_string()) } " again. Digest of the spec: "
                code { (summary.spec_digest.to_string()) } "."
                @if let Some(data) = &summary.data {
                    " Digest of the slice store: " code { (data.store.to_string()) } "; of the list of test slices: "
                    code { (data.test_list.to_string()) } "."
                }
            }
            h3 { "For the methods section" }
            p #methods-text { (methods_paragraph(summary, spec, version)) }
            p.scripted { button type="button" data-copy="methods-text" { "copy" } }
            h3 { "BibTeX" }
            pre #bibtex tabindex="0" { (BIBTEX) }
            p.scripted { button type="button" data-copy="bibtex" { "copy" } }
            h3 { "Files beside this page" }
            ul.files { @for file in files { li { a href=(file) { (file) } } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{SPEC, summary};

    #[test]
    fn what_is_not_the_default_is_marked() {
        let spec = RunSpec::parse(SPEC).unwrap();
        let all = settings(&spec);
        let of = |key: &str| {
            let found = all.iter().find(|setting| setting.key == key);
            found.unwrap_or_else(|| panic!("{key}: {all:?}"))
        };
        assert!(of("score.steps").differs());
        assert_eq!(of("score.steps").default.as_deref(), Some("600"));
        assert!(!of("score.semantics").differs());
        assert_eq!(of("score.seeds").default.as_deref(), Some("[0, 1, 2]"));
        assert_eq!(of("score.methods").default, None);
        assert_eq!(of("data.store").default, None);
        assert_eq!(
            of("model.guided.train.devices.max").default.as_deref(),
            Some("1")
        );
    }

    #[test]
    fn the_paragraph_says_what_was_done() {
        let spec = RunSpec::parse(SPEC).unwrap();
        let text = methods_paragraph(&summary(), Some(&spec), "1.2.3");
        for part in [
            "anofpdm 1.2.3",
            "40 test slices of 6 patients were scored with 3 noise seeds",
            "chosen from 2, 16, 30 by Algorithm 2",
            "30 forward steps with respacing 50",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
