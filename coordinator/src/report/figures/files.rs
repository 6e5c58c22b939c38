//! `report/figures/`: each figure as SVG, as PNG, and its numbers as CSV.

use std::path::Path;

use anofpdm_common::store::durable::{self, DiskError};
use rayon::prelude::*;

use super::{Figure, Figures};
use crate::report::drawing::png;
use crate::report::drawing::svg::{self, Ground};

/// Writes them into `folder` and gives their names, sorted. Figures of an earlier report go: what they show may not be
/// in the run any more.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(folder: &Path, figures: &Figures) -> Result<Vec<String>, DiskError> {
    durable::create_dir(folder)?;
    let figures: Vec<&Figure> = figures.all().collect();
    let written = figures
        .par_iter()
        .map(|figure| {
            let files = files(figure, folder)?;
            files
                .into_iter()
                .map(|(name, bytes)| durable::write(&folder.join(&name), &bytes).map(|()| name))
                .collect::<Result<Vec<String>, DiskError>>()
        })
        .collect::<Result<Vec<Vec<String>>, DiskError>>()?;
    let mut names: Vec<String> = written.into_iter().flatten().collect();
    names.sort_unstable();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = [".svg", ".png", ".csv"]
            .iter()
            .any(|end| name.ends_with(end));
        if ours && names.binary_search(&name).is_err() {
            std::fs::remove_file(entry.path())
                .map_err(|error| DiskError::new("remove", &entry.path(), error))?;
        }
    }
    Ok(names)
}

type File = (String, Vec<u8>);

fn files(figure: &Figure, folder: &Path) -> Result<Vec<File>, DiskError> {
    let Figure {
        name,
        title,
        description,
        drawing,
        ..
    } = figure;
    let picture = png::drawing(drawing).map_err(|error| DiskError::new("draw", folder, error))?;
    let svg = svg::write(drawing, Ground::File, name, title, description);
    let mut files = vec![
        (format!("{name}.svg"), svg.into_bytes()),
        (format!("{name}.png"), picture),
    ];
    if !figure.data.is_empty() {
        files.push((format!("{name}.csv"), figure.data.clone().into_bytes()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::sweeps::fig5b;
    use super::*;

    #[test]
    fn files_of_an_earlier_report_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("figures");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("fig9.svg"), "old").unwrap();
        std::fs::write(folder.join("notes.txt"), "mine").unwrap();
        let figures = Figures {
            sweeps: fig5b(&samples::strengths()).into_iter().collect(),
            ..Figures::default()
        };
        let names = write(&folder, &figures).unwrap();
        assert_eq!(
            names,
            ["csv", "png", "svg"].map(|end| format!("fig5b-anofpdm-ddim.{end}"))
        );
        assert!(!folder.join("fig9.svg").exists() && folder.join("notes.txt").exists());
        let png = std::fs::read(folder.join(&names[1])).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }
}
