//! A gzip file with what archives and mailers leave behind it.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The first byte of every gzip member.
const MEMBER: u8 = 0x1f;

/// The members of a gzip file, one after the other.
///
/// As `gzip` and Python read it: zero bytes between and after members are padding, and what follows the last member
/// and does not begin another (a newline) is no part of the file. A member that is cut or damaged is an error.
#[derive(Debug)]
pub(super) struct Members<R> {
    /// `None` once the last one was read to its end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    /// The members in `reader`, which stands at the first.
    pub(super) fn new(reader: R) -> Self {
        Self {
            member: Some(GzDecoder::new(reader)),
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let bytes = member.read(into)?;
            if bytes > 0 {
                return Ok(bytes);
            }
            // Its checksum was compared with this last read.
            self.member = match self.member.take() {
                Some(member) => next_member(member.into_inner())?,
                None => None,
            };
        }
        Ok(0)
    }
}

fn next_member<R: BufRead>(mut reader: R) -> io::Result<Option<GzDecoder<R>>> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let padding = bytes.iter().take_while(|byte| **byte == 0).count();
        let next = bytes.get(padding).copied();
        reader.consume(padding);
        match next {
            Some(MEMBER) => return Ok(Some(GzDecoder::new(reader))),
            Some(_) => return Ok(None),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn member(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        // A short buffer, so that padding and members begin and end anywhere in it.
        Members::new(BufReader::with_capacity(5, bytes)).read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn padding_and_what_begins_no_member_are_left_alone() {
        let one = member(b"one");
        // gzip 1.12 and Python 3.11 read the zeros and the second member; gzip ignores other bytes with a warning.
        for (after, text) in [
            (&b""[..], &b"one"[..]),
            (&[0; 512], b"one"),
            (b"\n", b"one"),
            (b"\0\0trailing words", b"one"),
            (&member(b" two"), b"one two"),
            (
                &[&[0; 7][..], &member(b" two"), &[0; 3]].concat(),
                b"one two",
            ),
        ] {
            assert_eq!(read(&[&one, after].concat()).unwrap(), text, "{after:?}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let one = member(b"one and a little more");
        let mut checksum = one.clone();
        let end = checksum.len();
        checksum[end - 8] ^= 1;
        let cut_second = [&one[..], &one[..end - 9]].concat();
        for (what, bytes) in [
            ("cut", one[..end - 3].to_vec()),
            ("checksum", checksum),
            ("second member cut", cut_second),
            (
                "begins like a member",
                [&one[..], b"\x1f\x8bnothing"].concat(),
            ),
            ("first byte of a member", [&one[..], b"\0\x1f"].concat()),
            ("padding before", [&[0, 0], &one[..]].concat()),
        ] {
            assert!(read(&bytes).is_err(), "{what}");
        }
    }
}
