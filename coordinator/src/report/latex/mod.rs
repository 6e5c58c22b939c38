//! `report/tables/*.tex`: tables for a paper, with `booktabs`. Each file is a document that compiles by itself; with the
//! package `standalone` in its preamble a paper takes the table alone by `\input`.

mod paired;
mod results;

use super::summary::{Row, Summary};

/// Names and contents of the tables that this run has rows for.
pub fn tables(summary: &Summary) -> Vec<(&'static str, String)> {
    [
        ("table1.tex", results::table1(summary)),
        ("table3.tex", results::table3(summary)),
        ("paired.tex", paired::table(summary)),
    ]
    .into_iter()
    .filter_map(|(name, text)| Some((name, text?)))
    .collect()
}

/// What TeX takes for a command, written out.
fn escaped(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '_' | '%' | '&' | '#' | '$' | '{' | '}' => {
                found.push('\\');
                found.push(character);
            }
            '\\' => found.push_str("\\textbackslash{}"),
            '~' => found.push_str("\\textasciitilde{}"),
            '^' => found.push_str("\\textasciicircum{}"),
            '\n' | '\r' | '\t' => found.push(' '),
            _ => found.push(character),
        }
    }
    found
}

/// The row's name as the paper writes it.
fn row_name(method: &str) -> String {
    let (method, native) = match method.strip_suffix("-native") {
        Some(method) => (method, ", native"),
        None => (method, ""),
    };
    let name = match method {
        "anofpdm-ddim" => "AnoFPDM (DDIM)",
        "anofpdm-ddim-ste" => "AnoFPDM (DDIM $S_{t_e}$)",
        "anofpdm-ddpm" => "AnoFPDM (DDPM)",
        "anofpdm-ddpm-ste" => "AnoFPDM (DDPM $S_{t_e}$)",
        "gradient" => "DDIM $\\nabla^2 \\log p_\\theta$",
        "gradient-te" => "DDIM $\\nabla^2 \\log p_\\theta|_{t=t_e}$",
        "gradient-weighted" => "DDIM $C_t^2 \\nabla^2 \\log p_\\theta$",
        "anoddpm-gaussian" => "AnoDDPM (G)",
        "anoddpm-simplex" => "AnoDDPM (S)",
        "ddim-classifier" => "DDIM clf",
        "ddim-clf-free" => "DDIM clf-free",
        "cg-cdm" => "CG-CDM",
        "andi" => "ANDi",
        other => return format!("{}{native}", escaped(other)),
    };
    format!("{name}{native}")
}

/// Name with the strength where the table has its method at several.
fn named(method: &str, guidance: Option<f64>, rows: &[&Row]) -> String {
    let several = rows
        .iter()
        .any(|row| row.method == method && row.guidance != guidance);
    match guidance.filter(|_| several) {
        Some(guidance) => format!("{}, $w = {guidance}$", row_name(method)),
        None => row_name(method),
    }
}

/// A document of one table, on paper that is wide enough for all of it; what a paper takes begins after its preamble.
fn document(caption: &str, columns: &str, lines: &[String]) -> String {
    let mut text = String::from(
        "% \\usepackage{standalone,booktabs,amssymb} in a paper's preamble, then \\input{} this file\n\
         \\documentclass{article}\n\\usepackage[a3paper,margin=1cm]{geometry}\n\\usepackage{booktabs,amssymb}\n\
         \\begin{document}\n\\begin{table}\n\\centering\n",
    );
    // Room between the caption and the rule below it: what classes have there is for captions under figures.
    text.push_str("\\setlength{\\belowcaptionskip}{6pt}\n");
    text.push_str(&format!(
        "\\caption{{{caption}}}\n\\begin{{tabular}}{{{columns}}}\n"
    ));
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("\\end{tabular}\n\\end{table}\n\\end{document}\n");
    text
}

/// What every caption ends with: what the numbers are of.
fn origin(summary: &Summary) -> String {
    let fingerprint = summary.fingerprint.to_string();
    let short = fingerprint.get(..16).unwrap_or(&fingerprint).to_owned();
    format!(
        "Run {}, semantics {}, {} on {}; fingerprint \\texttt{{{short}}}.",
        escaped(&summary.run),
        escaped(&summary.semantics),
        escaped(&summary.precision),
        escaped(&summary.device)
    )
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_tex_would_read_is_written_out() {
        assert_eq!(escaped("a_b%c&d#$"), "a\\_b\\%c\\&d\\#\\$");
        assert_eq!(
            escaped("{~^\\}"),
            "\\{\\textasciitilde{}\\textasciicircum{}\\textbackslash{}\\}"
        );
        assert_eq!(escaped("a\nb"), "a b");
    }
}
