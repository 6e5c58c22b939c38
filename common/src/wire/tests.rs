use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::ids::Digest;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Sample {
    Text(String),
    Numbers {
        #[serde(deserialize_with = "list::<_, _, 8>")]
        list: Vec<u64>,
        ratio: f64,
    },
    Maybe(Option<Digest>),
}

impl Message for Sample {
    const KIND: Kind = Kind::Request;

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Text(text) if text == "no" => Err("a text that says no".to_owned()),
            _ => Ok(()),
        }
    }
}

fn sealed(payload: &[u8]) -> Vec<u8> {
    enclose(Kind::Request, payload)
}

#[test]
fn golden_bytes() {
    let value = Sample::Numbers {
        list: vec![1, 0x0203],
        ratio: 0.5,
    };
    let golden: &[u8] = &[
        b'A', b'F', b'P', b'D', 2, 0, 1, 36, 0, 0, 0, 172, 121, 33, 198, // header
        1, 0, 0, 0, // variant
        2, 0, 0, 0, 0, 0, 0, 0, // list length
        1, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0, // list
        0, 0, 0, 0, 0, 0, 0xe0, 0x3f, // 0.5
    ];
    assert_eq!(encode(&value).unwrap(), golden);
    assert_eq!(decode::<Sample>(golden).unwrap(), value);
    let text = sealed(b"\0\0\0\0\x03\0\0\0\0\0\0\0\xe2\x86\x92");
    assert_eq!(
        decode::<Sample>(&text).unwrap(),
        Sample::Text("\u{2192}".into())
    );
    let maybe = Sample::Maybe(Some(Digest::from_bytes([7; 32])));
    let mut expected = vec![2, 0, 0, 0, 1];
    expected.extend_from_slice(&[7; 32]);
    assert_eq!(encode(&maybe).unwrap(), sealed(&expected));
}

#[test]
fn hostile_lengths_are_errors() {
    for length in [1_u64 << 40, u64::MAX, 1 << 31, 70_000] {
        for variant in [0_u32, 1] {
            let mut payload = variant.to_le_bytes().to_vec();
            payload.extend_from_slice(&length.to_le_bytes());
            payload.extend_from_slice(b"abc");
            let outcome = decode::<Sample>(&sealed(&payload));
            assert!(
                matches!(outcome, Err(WireError::Payload { .. })),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn sizes_are_checked_on_both_sides() {
    let limit = Kind::Request.limit();
    let fits = Sample::Text("x".repeat(limit - 12));
    assert_eq!(decode::<Sample>(&encode(&fits).unwrap()).unwrap(), fits);
    let over = Sample::Text("x".repeat(limit - 11));
    assert!(matches!(encode(&over), Err(WireError::TooLarge { .. })));
    let announced = sealed(&vec![0; limit + 1]);
    assert!(matches!(
        decode::<Sample>(&announced),
        Err(WireError::TooLarge { .. })
    ));
}

#[test]
fn every_part_of_the_header_is_checked() {
    let good = encode(&Sample::Text("slice".into())).unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        decode::<Sample>(&bytes).unwrap_err()
    };
    assert_eq!(with(0, b'B'), WireError::Magic(Kind::Request));
    assert!(matches!(with(4, 1), WireError::Version { found: 1, .. }));
    assert!(matches!(with(6, 3), WireError::Kind { found: 3, .. }));
    assert!(matches!(with(7, 200), WireError::Truncated { .. }));
    assert!(matches!(with(7, 1), WireError::TrailingBytes { .. }));
    assert!(matches!(with(11, 0), WireError::Checksum(_)));
    assert!(matches!(with(good.len() - 1, 0), WireError::Checksum(_)));
    assert!(decode::<Sample>(&[]).is_err());
}

#[test]
fn unused_payload_is_an_error() {
    let payload = b"\0\0\0\0\x01\0\0\0\0\0\0\0abc";
    assert_eq!(
        decode::<Sample>(&sealed(payload)).unwrap_err(),
        WireError::TrailingBytes {
            kind: Kind::Request,
            extra: 2
        }
    );
}

#[test]
fn what_cannot_be_meant_is_neither_written_nor_read() {
    let payload = b"\0\0\0\0\x02\0\0\0\0\0\0\0no";
    let range = WireError::Range {
        kind: Kind::Request,
        reason: "a text that says no".to_owned(),
    };
    assert_eq!(
        decode::<Sample>(&sealed(payload)).unwrap_err(),
        range.clone()
    );
    assert_eq!(encode(&Sample::Text("no".into())).unwrap_err(), range);
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        ".{0,40}".prop_map(Sample::Text),
        (proptest::collection::vec(any::<u64>(), 0..9), -1e9..1e9_f64)
            .prop_map(|(list, ratio)| Sample::Numbers { list, ratio }),
        any::<Option<[u8; 32]>>().prop_map(|d| Sample::Maybe(d.map(Digest::from_bytes))),
    ]
}

proptest! {
    #[test]
    fn values_come_back(value in sample()) {
        prop_assert_eq!(decode::<Sample>(&encode(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn one_changed_byte_is_noticed(value in sample(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut bytes = encode(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(decode::<Sample>(&bytes).is_err());
    }

    #[test]
    fn any_payload_is_a_value_or_an_error(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = decode::<Sample>(&sealed(&payload)) {
            // NaN is the one value that differs from itself, so bytes are compared.
            prop_assert_eq!(encode(&value).unwrap(), sealed(&payload));
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode::<Sample>(&bytes).is_err());
    }
}
