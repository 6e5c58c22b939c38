//! Lists of limited length.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Bytes made room for before an element is seen.
const FIRST_ROOM: usize = 1 << 20;

/// Reads a list of at most `MAX` elements; for `#[serde(deserialize_with = "list::<_, _, MAX>")]`.
///
/// A length stands before its elements, and a hostile one must cost nothing: one over `MAX` is an error at
/// once. Below it room is made for all elements where that takes at most 1 MiB, and else for half as many
/// again as have been read.
pub fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let announced = elements.size_hint().unwrap_or(0);
        if announced > MAX {
            return Err(A::Error::invalid_length(announced, &self));
        }
        let room = FIRST_ROOM / size_of::<T>().max(1);
        let mut values = Vec::with_capacity(announced.min(room));
        while let Some(value) = elements.next_element()? {
            let count = values.len();
            if count >= MAX {
                return Err(A::Error::invalid_length(count + 1, &self));
            }
            if count == values.capacity() {
                let missing = announced.max(count + 1) - count;
                values.reserve_exact((count / 2).clamp(1, missing));
            }
            values.push(value);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::list;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Short(#[serde(deserialize_with = "list::<_, _, 3>")] Vec<u32>);

    #[derive(Deserialize)]
    struct Long(#[serde(deserialize_with = "list::<_, _, 1_000_000>")] Vec<u32>);

    fn read<T: for<'de> Deserialize<'de>>(announced: u64, elements: u32) -> Result<T, String> {
        let mut bytes = announced.to_le_bytes().to_vec();
        bytes.extend((0..elements).flat_map(u32::to_le_bytes));
        let fixed = bincode::config::legacy();
        bincode::serde::decode_from_slice(&bytes, fixed)
            .map(|(value, _)| value)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_ends_at_its_limit() {
        assert_eq!(read::<Short>(3, 3), Ok(Short(vec![0, 1, 2])));
        assert_eq!(read::<Short>(0, 0), Ok(Short(vec![])));
        let error = read::<Short>(4, 4).unwrap_err();
        assert!(error.contains("at most 3 elements"), "{error}");
        assert!(read::<Short>(u64::MAX, 4).is_err());
        assert!(read::<Short>(3, 2).is_err());
        // A format that announces nothing.
        assert_eq!(
            serde_json::from_str::<Short>("[0, 1, 2]").unwrap(),
            Short(vec![0, 1, 2])
        );
        assert!(serde_json::from_str::<Short>("[0, 1, 2, 3]").is_err());
    }

    #[test]
    fn a_list_longer_than_the_first_room_is_whole_and_takes_no_more_than_it_holds() {
        let long = read::<Long>(900_000, 900_000).unwrap().0;
        assert!(long.iter().copied().eq(0..900_000));
        assert!(long.capacity() <= 1_000_000, "{}", long.capacity());
    }
}
