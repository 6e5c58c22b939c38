//! Slices that are to be looked at.

use super::*;

#[test]
fn exhibits_hold_what_the_plan_wants_of_each_slice() {
    let kept = |pixels: usize| crate::record::KeptMap::new(&vec![0.5; pixels]);
    let maps = |step| crate::record::StepMaps {
        step,
        squared_error: kept(PIXELS),
        gradient: kept(PIXELS),
    };
    let sequences = || score(true).figures.and_then(|figures| figures.traces);
    let whole = Exhibit {
        map: Some(kept(PIXELS)),
        sequences: sequences().map(Box::new),
        steps: vec![maps(0), maps(2)],
    };
    let plan = ExhibitPlan {
        maps: vec![SLICES[1], SLICES[0]],
        sequences: vec![SLICES[0]],
        steps: vec![SLICES[0]],
        step_indices: vec![0, 2],
    };
    let small = Exhibit {
        map: Some(kept(PIXELS)),
        ..Exhibit::default()
    };
    let aam = CellOutput::Exhibit { map: MapKind::Aam };
    let ste = CellOutput::Exhibit { map: MapKind::Ste };
    let of = |output, exhibits: [Option<&Exhibit>; 2]| {
        let shape = RecordShape {
            exhibits: &plan,
            ..shape(output)
        };
        let exhibits = exhibits.map(|exhibit| exhibit.cloned().map(Box::new));
        let record = Record::Exhibits(exhibits.to_vec());
        let bytes = wire::encode(&record).unwrap().len() as u64;
        shape.check(&record).map(|()| {
            assert_eq!(bytes, shape.largest());
        })
    };
    assert_eq!(of(&aam, [Some(&whole), Some(&small)]), Ok(()));
    assert_eq!(of(&ste, [Some(&small), Some(&small)]), Ok(()));
    for (what, exhibits) in [
        ("one missing", [Some(&whole), None]),
        ("less than asked for", [Some(&small), Some(&small)]),
        ("more than asked for", [Some(&whole), Some(&whole)]),
        (
            "another step",
            [
                Some(&Exhibit {
                    steps: vec![maps(0), maps(1)],
                    ..whole.clone()
                }),
                Some(&small),
            ],
        ),
        (
            "a map of another size",
            [
                Some(&whole),
                Some(&Exhibit {
                    map: Some(kept(PIXELS + 1)),
                    ..Exhibit::default()
                }),
            ],
        ),
    ] {
        assert!(of(&aam, exhibits).is_err(), "{what}");
    }
    assert!(
        shape(&aam)
            .check(&Record::Exhibits(vec![None, None]))
            .is_ok()
    );
}
