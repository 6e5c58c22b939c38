//! What happens to bytes on their way: flips, cuts, false lengths, splices, noise.

use anofpdm_common::random::Stream;
use anofpdm_common::wire::{HEADER_LEN, Kind, enclose};

/// Lengths and numbers that a careless reader trips over.
const BOMBS: [u64; 18] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x100,
    0xffff,
    0x1_0000,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// Longest stretch of noise or of another message put in.
const STRETCH: usize = 512;

/// A number below `bound`; 0 for 0.
pub fn below(stream: &mut Stream, bound: usize) -> usize {
    #[allow(clippy::cast_possible_truncation)] // below a usize
    match bound {
        0 => 0,
        bound => stream.below(bound as u64) as usize,
    }
}

fn noise(stream: &mut Stream, most: usize) -> Vec<u8> {
    (0..below(stream, most + 1))
        .map(|_| stream.next_u32().to_le_bytes()[0])
        .collect()
}

/// Does one to four things to `bytes`; `other` is a message that parts are taken from.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], stream: &mut Stream) {
    for _ in 0..=below(stream, 4) {
        mutate_once(bytes, other, stream);
    }
}

fn mutate_once(bytes: &mut Vec<u8>, other: &[u8], stream: &mut Stream) {
    let at = below(stream, bytes.len() + 1);
    match below(stream, 10) {
        0 | 1 => flip_bits(bytes, stream),
        2 => bytes.truncate(at),
        3 | 4 => put_number(bytes, at, stream),
        5 => {
            let from = below(stream, other.len());
            let end = other.len().min(from + below(stream, STRETCH));
            let stop = bytes.len().min(at + below(stream, STRETCH));
            bytes.splice(at..stop, other[from..end].iter().copied());
        }
        6 => {
            let noise = noise(stream, STRETCH);
            bytes.splice(at..at, noise);
        }
        7 => {
            let end = bytes.len().min(at + below(stream, STRETCH));
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        8 => {
            let end = bytes.len().min(at + below(stream, STRETCH));
            bytes.drain(at..end);
        }
        _ => *bytes = noise(stream, 4 * STRETCH),
    }
}

fn flip_bits(bytes: &mut [u8], stream: &mut Stream) {
    for _ in 0..=below(stream, 8) {
        let at = below(stream, bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << below(stream, 8);
        }
    }
}

/// Overwrites one, two, four or eight bytes with a number that is out of the ordinary.
fn put_number(bytes: &mut [u8], at: usize, stream: &mut Stream) {
    let number = BOMBS[below(stream, BOMBS.len())].to_le_bytes();
    let width = 1 << below(stream, 4);
    let end = bytes.len().min(at + width);
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(&number[..place.len()]);
    }
}

/// Makes header and checksum fit, so that a reader goes on to the payload.
pub fn seal(bytes: &mut Vec<u8>, kind: Kind) {
    if let Some(payload) = bytes.get(HEADER_LEN..) {
        *bytes = enclose(kind, payload);
    }
}

#[cfg(test)]
mod tests {
    use anofpdm_common::random::Domain;
    use anofpdm_common::wire::open;

    use super::*;
    use crate::samples::samples;

    #[test]
    fn a_sealed_message_is_open_to_its_reader_and_equal_seeds_mutate_alike() {
        let [first, .., last] = &samples()[..] else {
            panic!("no samples");
        };
        let mutant = |seed| {
            let mut stream = Stream::new(seed, Domain::Mutation, 0, 0);
            let mut bytes = first.bytes.clone();
            mutate(&mut bytes, &last.bytes, &mut stream);
            bytes
        };
        assert_eq!(mutant(1), mutant(1));
        assert!((0..20).any(|seed| mutant(seed) != mutant(1)));
        for seed in 0..200 {
            let mut bytes = mutant(seed);
            seal(&mut bytes, Kind::Claim);
            assert_eq!(open(Kind::Claim, &bytes).is_ok(), bytes.len() >= HEADER_LEN);
        }
    }
}
