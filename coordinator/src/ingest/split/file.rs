//! A split as a file: JSON `{"NAME": "train"}` or CSV `subject,split`. A name is a subject's or a patient's.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anofpdm_common::nearest::nearest;
use anofpdm_common::store::slices::Split;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{Member, SplitError};
use crate::ingest::table_line::fields;

/// Room for a hundred thousand subjects.
const MAX_FILE: u64 = 16 << 20;

#[derive(Debug)]
pub struct SplitFile {
    path: PathBuf,
    named: BTreeMap<String, Split>,
}

impl SplitFile {
    pub(super) fn read(path: PathBuf) -> Result<Self, SplitError> {
        let failed = |source| SplitError::Read {
            path: path.clone(),
            source,
        };
        let bad = |reason: String| SplitError::File {
            path: path.clone(),
            reason,
        };
        if fs::metadata(&path).map_err(failed)?.len() > MAX_FILE {
            return Err(bad("it is too large for a split".to_owned()));
        }
        let text = fs::read(&path).map_err(failed)?;
        let text = std::str::from_utf8(&text)
            .map_err(|_| bad("it is not UTF-8 text".to_owned()))?
            .trim_start_matches('\u{feff}');
        let is_json = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let entries = if is_json { json(text) } else { csv(text) }.map_err(bad)?;
        if entries.is_empty() {
            return Err(bad("it names nobody".to_owned()));
        }
        let mut named = BTreeMap::new();
        for (name, split) in entries {
            if named.insert(name.clone(), split).is_some() {
                return Err(bad(format!("it names '{name}' twice")));
            }
        }
        Ok(Self { path, named })
    }

    /// The split of each member: what the file says of it, of another scan of its patient, or of the patient.
    pub(super) fn assign(&self, members: &[Member<'_>]) -> Result<Vec<Split>, SplitError> {
        let mut patients: BTreeMap<&str, (&str, Split)> = BTreeMap::new();
        for member in members {
            for name in [member.id, member.patient] {
                let Some(split) = self.named.get(name).copied() else {
                    continue;
                };
                let first = *patients.entry(member.patient).or_insert((name, split));
                if first.1 != split {
                    return Err(SplitError::Apart {
                        path: self.path.clone(),
                        patient: member.patient.to_owned(),
                        first: first.0.to_owned(),
                        first_split: first.1,
                        second: name.to_owned(),
                        second_split: split,
                    });
                }
            }
        }
        members
            .iter()
            .map(|member| match patients.get(member.patient) {
                Some((_, split)) => Ok(*split),
                None => Err(self.missing(member, members)),
            })
            .collect()
    }

    pub(super) fn names_any(&self, members: &[Member<'_>]) -> bool {
        members.iter().any(|member| {
            self.named.contains_key(member.id) || self.named.contains_key(member.patient)
        })
    }

    fn missing(&self, member: &Member<'_>, members: &[Member<'_>]) -> SplitError {
        let strangers = self.strangers(members);
        let hint = nearest(member.id, strangers.iter().copied()).map_or_else(String::new, |near| {
            format!("; it names '{near}', which is no subject")
        });
        SplitError::Missing {
            path: self.path.clone(),
            id: member.id.to_owned(),
            hint,
        }
    }

    /// Names that are neither a member's nor a patient's, sorted.
    pub(super) fn strangers(&self, members: &[Member<'_>]) -> Vec<&str> {
        let known: std::collections::BTreeSet<&str> = members
            .iter()
            .flat_map(|member| [member.id, member.patient])
            .collect();
        self.named
            .keys()
            .map(String::as_str)
            .filter(|name| !known.contains(name))
            .collect()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn json(text: &str) -> Result<Vec<(String, Split)>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let entries = reader.deserialize_map(Entries).map_err(|e| e.to_string())?;
    reader.end().map_err(|e| e.to_string())?;
    Ok(entries)
}

/// All entries of a JSON object, with those of equal names: a map would keep the last of them.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, Split)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of subjects and their splits")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

fn csv(text: &str) -> Result<Vec<(String, Split)>, String> {
    let mut lines = text.lines();
    let header = lines.next().map(fields).transpose()?.unwrap_or_default();
    if header != ["subject", "split"] && header != ["patient", "split"] {
        return Err("the header is not 'subject,split'".to_owned());
    }
    let mut entries = Vec::new();
    for (index, line) in lines.enumerate() {
        let number = index + 2;
        let fields = fields(line).map_err(|reason| format!("line {number}: {reason}"))?;
        if fields.iter().all(String::is_empty) {
            continue;
        }
        let [name, split] = fields.as_slice() else {
            return Err(format!("line {number} has {} fields", fields.len()));
        };
        let split = Split::ALL
            .into_iter()
            .find(|known| known.to_string() == *split)
            .ok_or_else(|| format!("line {number}: '{split}' is no split"))?;
        entries.push((name.clone(), split));
    }
    Ok(entries)
}
