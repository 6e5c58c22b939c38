//! `anofpdm-worker trace --run`: the picture of a slice says of it what the records of the run say.

use anofpdm_tests::fixture::Fixture;

/// End step of a slice in the table, t of that step in the figures, and what is printed beside the picture, are the same.
pub(crate) fn a_picture_is_of_the_step_that_the_records_name(fixture: &Fixture, csv: &str) {
    let figure = "run/report/figures/fig2a-anofpdm-ddim-w3.csv";
    let figure = std::fs::read_to_string(fixture.path().join(figure)).unwrap();
    let curve: Vec<Vec<&str>> = figure
        .lines()
        .map(|line| line.split(',').collect())
        .collect();
    assert_eq!(curve[0][1], "t", "{figure}");
    let of_one_curve = curve.iter().filter(|line| line[0] == curve[1][0]);
    let times: Vec<&str> = of_one_curve.map(|line| line[1]).collect();

    let mut lines = csv
        .lines()
        .map(|line| line.split(',').collect::<Vec<&str>>());
    let names = lines.next().unwrap();
    let column = |name: &str| names.iter().position(|n| n.starts_with(name)).unwrap();
    let [method, w, seed, t_e] = ["method", "w", "seed", "t_e_"].map(column);
    let slice = lines
        .find(|line| {
            [line[method], line[w], line[seed]] == ["anofpdm-ddim", "3", "1"] && line[t_e] != "0"
        })
        .unwrap();
    let (subject, place) = (slice[column("subject")], slice[column("slice")]);
    let trace = [
        "trace",
        "--run",
        "run",
        "--subject",
        subject,
        "--slice",
        place,
        "--method",
        "anofpdm-ddim",
        "--guidance",
        "3",
        "--seed",
        "1",
        "--png",
        "slice.png",
    ];
    let said = fixture.succeeds("anofpdm-worker", &trace);
    let index: usize = slice[t_e].parse().unwrap();
    let expected = format!("t_e = {} (kept index {index})", times[index]);
    assert!(said.contains(&expected), "{expected}: {said}");
    let columns = said
        .lines()
        .find(|line| line.starts_with("columns: "))
        .unwrap();
    let shown: Vec<&str> = columns.split("t = ").skip(1).collect();
    assert!(
        !shown.is_empty()
            && shown
                .iter()
                .all(|t| times.contains(&t.split(',').next().unwrap())),
        "{columns}, {times:?}"
    );
    let cosine: f64 = slice[column("cosine")].parse().unwrap();
    let printed = said.split("cosine ").nth(1).unwrap();
    let printed: f64 = printed.split(';').next().unwrap().parse().unwrap();
    assert!((printed - cosine).abs() < 2e-6, "{cosine}: {said}");

    let other = [&trace[..], &["--encoding", "ddpm"]].concat();
    let message = fixture.fails("anofpdm-worker", &other, 2);
    assert!(
        message.contains("--encoding means nothing for --method anofpdm-ddim"),
        "{message}"
    );
    let several: Vec<&str> = trace
        .iter()
        .map(|part| if *part == "3" { "1,3" } else { *part })
        .collect();
    let message = fixture.fails("anofpdm-worker", &several, 2);
    assert!(message.contains("--run takes one --guidance"), "{message}");
    let drawn = std::fs::read(fixture.path().join("slice.png")).unwrap();
    assert_eq!(drawn[..8], *b"\x89PNG\r\n\x1a\n");
}
