//! One line of a comma-separated file, as spreadsheets and R write it: fields may be quoted, a quote in one is doubled.

/// The fields of `line`, without the blanks around them.
///
/// # Errors
/// A quoted field that does not end, or goes on behind its closing quote.
pub(super) fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (field, behind) = unquoted(quoted)?;
                let behind = behind.trim_start();
                match behind.strip_prefix(',') {
                    Some(behind) => (field, Some(behind)),
                    None if behind.is_empty() => (field, None),
                    None => return Err("a quoted field goes on behind its closing quote"),
                }
            }
            None => match rest.split_once(',') {
                Some((field, behind)) => (field.trim().to_owned(), Some(behind)),
                None => (rest.trim().to_owned(), None),
            },
        };
        fields.push(field);
        match behind {
            Some(behind) => rest = behind.trim_start(),
            None => return Ok(fields),
        }
    }
}

/// Text up to the closing quote, and what stands behind it.
fn unquoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest
            .split_once('"')
            .ok_or("a quoted field does not end on its line")?;
        field.push_str(part);
        match behind.strip_prefix('"') {
            Some(behind) => {
                field.push('"');
                rest = behind;
            }
            None => return Ok((field.trim().to_owned(), behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_quoted() {
        for (line, expected) in [
            ("a,1,0", &["a", "1", "0"][..]),
            (" a , 1 ,0\r", &["a", "1", "0"]),
            (r#""a","1","0""#, &["a", "1", "0"]),
            (r#""a", "1" ,0"#, &["a", "1", "0"]),
            (r#""a, the first",1"#, &["a, the first", "1"]),
            (r#""a ""b""",1"#, &[r#"a "b""#, "1"]),
            (r#"5" disk,1"#, &[r#"5" disk"#, "1"]),
            ("a,,", &["a", "", ""]),
            (r#""","#, &["", ""]),
            ("", &[""]),
        ] {
            assert_eq!(fields(line).unwrap(), expected, "{line}");
        }
        for line in [r#""a,1"#, r#""a"b,1"#, r#"x,"a"""#] {
            assert!(fields(line).is_err(), "{line}");
        }
    }
}
