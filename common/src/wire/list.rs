//! Lists and bytes of limited length.

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

/// Reads at most `MAX` bytes that were written as a list of them; for `#[serde(deserialize_with = "bytes::<_, MAX>")]`.
///
/// In one piece: element by element, as [`list`] reads, bytes take many times as long.
pub fn bytes<'de, D, const MAX: usize>(deserializer: D) -> Result<Vec<u8>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_bytes(BytesVisitor::<MAX>)
}

struct BytesVisitor<const MAX: usize>;

impl<const MAX: usize> Visitor<'_> for BytesVisitor<MAX> {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {MAX} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        if bytes.len() > MAX {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{bytes, list};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Short(#[serde(deserialize_with = "list::<_, _, 3>")] Vec<u32>);

    #[derive(Deserialize)]
    struct Long(#[serde(deserialize_with = "list::<_, _, 1_000_000>")] Vec<u32>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Packed(#[serde(deserialize_with = "bytes::<_, 3>")] Vec<u8>);

    #[test]
    fn bytes_are_read_as_they_were_written_and_end_at_their_limit() {
        let fixed = bincode::config::legacy();
        let read = |bytes: &[u8]| {
            bincode::serde::decode_from_slice::<Packed, _>(bytes, fixed)
                .map(|(value, _)| value)
                .map_err(|error| error.to_string())
        };
        let written = bincode::serde::encode_to_vec(Packed(vec![7, 0, 255]), fixed).unwrap();
        assert_eq!(read(&written), Ok(Packed(vec![7, 0, 255])));
        let mut longer = 4_u64.to_le_bytes().to_vec();
        longer.extend([1, 2, 3, 4]);
        let error = read(&longer).unwrap_err();
        assert!(error.contains("at most 3 bytes"), "{error}");
        assert!(read(&written[..10]).is_err());
        assert!(read(&u64::MAX.to_le_bytes()).is_err());
    }

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
