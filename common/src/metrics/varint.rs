//! Unsigned numbers in as few bytes as they need: seven bits a byte, the lowest first, the eighth set where more follow
//! (LEB128).

pub(super) fn write(mut value: u64, bytes: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// The number that `bytes` begin with, which it is taken from; `None` where they end within it, or it has more bits
/// than 63.
#[inline]
pub(super) fn read(bytes: &mut &[u8]) -> Option<u64> {
    // Most differences of scores have two or three bytes.
    if let [first, second, third, rest @ ..] = *bytes {
        let low = u64::from(first & 0x7f);
        if first & 0x80 == 0 {
            *bytes = &bytes[1..];
            return Some(low);
        }
        let low = low | u64::from(second & 0x7f) << 7;
        if second & 0x80 == 0 {
            *bytes = &bytes[2..];
            return Some(low);
        }
        if third & 0x80 == 0 {
            *bytes = rest;
            return Some(low | u64::from(*third) << 14);
        }
    }
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            *bytes = &bytes[place + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_small_ones_are_short() {
        let numbers = [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), 1 << 62];
        let mut bytes = Vec::new();
        for number in numbers {
            write(number, &mut bytes);
        }
        assert_eq!(bytes.len(), 1 + 1 + 1 + 2 + 2 + 3 + 5 + 9);
        let mut rest = bytes.as_slice();
        for number in numbers {
            assert_eq!(read(&mut rest), Some(number));
        }
        assert_eq!(read(&mut rest), None);
        assert_eq!(read(&mut [0x80; 3].as_slice()), None);
        assert_eq!(read(&mut [0xff; 20].as_slice()), None);
    }
}
