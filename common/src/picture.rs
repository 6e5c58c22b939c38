//! Pictures of grey levels or colours, and their PNG files.

use std::io;

/// Pixels row by row, from above; `N` is 1 for grey levels and 3 for red, green and blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture<const N: usize> {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<[u8; N]>,
}

impl<const N: usize> Picture<N> {
    /// Asks `pixel` for every column and row.
    pub fn from_fn(
        width: usize,
        height: usize,
        mut pixel: impl FnMut(usize, usize) -> [u8; N],
    ) -> Self {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Self {
            width,
            height,
            pixels: places.map(|(x, y)| pixel(x, y)).collect(),
        }
    }

    /// The pixel in column `x` and row `y`, if there is one.
    pub fn at(&mut self, x: usize, y: usize) -> Option<&mut [u8; N]> {
        let within = x < self.width && y < self.height;
        within.then(|| self.pixels.get_mut(y * self.width + x))?
    }

    /// The file of it.
    pub fn png(&self) -> io::Result<Vec<u8>> {
        png(self.width, self.height, &self.pixels, Content::Image)
    }
}

/// What a picture shows, which decides how it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// What was measured or worked out.
    Image,
    /// Lines, letters and areas of one colour, at so many dots a metre of paper. Compressed in
    /// less than half of the time, into a tenth more.
    Drawing { dots: u32 },
}

/// A PNG file of `pixels`.
///
/// # Errors
/// When the pixels are not `width` times `height`, or are neither grey levels nor colours.
pub fn png<const N: usize>(
    width: usize,
    height: usize,
    pixels: &[[u8; N]],
    content: Content,
) -> io::Result<Vec<u8>> {
    let unfit = || io::Error::from(io::ErrorKind::InvalidInput);
    let side = |side: usize| u32::try_from(side).map_err(|_| unfit());
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side(width)?, side(height)?);
    encoder.set_color(match N {
        1 => png::ColorType::Grayscale,
        3 => png::ColorType::Rgb,
        _ => return Err(unfit()),
    });
    encoder.set_depth(png::BitDepth::Eight);
    match content {
        Content::Image => encoder.set_compression(png::Compression::Balanced),
        Content::Drawing { dots } => {
            encoder.set_deflate_compression(png::DeflateCompression::Level(2));
            encoder.set_filter(png::Filter::Up);
            encoder.set_pixel_dims(Some(png::PixelDimensions {
                xppu: dots,
                yppu: dots,
                unit: png::Unit::Meter,
            }));
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels.as_flattened())?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::cast_possible_truncation)]
    fn pixels_come_back() {
        let mut picture = Picture::from_fn(3, 2, |x, y| [x as u8, y as u8, 200]);
        *picture.at(1, 1).unwrap() = [7, 8, 9];
        assert_eq!(picture.at(3, 0), None);
        let drawn = png(3, 2, &picture.pixels, Content::Drawing { dots: 11_811 });
        for (file, dots) in [(picture.png(), None), (drawn, Some(11_811))] {
            let mut reader = png::Decoder::new(io::Cursor::new(file.unwrap()))
                .read_info()
                .unwrap();
            let mut bytes = [0; 18];
            let info = reader.next_frame(&mut bytes).unwrap();
            assert_eq!((info.width, info.height), (3, 2));
            assert_eq!(bytes.as_slice(), picture.pixels.as_flattened());
            assert_eq!(bytes[12..15], [7, 8, 9]);
            assert_eq!(reader.info().pixel_dims.map(|dims| dims.xppu), dots);
        }
    }

    #[test]
    fn a_picture_that_contradicts_itself_is_refused() {
        assert!(png(2, 2, &[[0_u8]; 3], Content::Image).is_err());
        assert!(png(1, 1, &[[0_u8; 2]], Content::Image).is_err());
        assert!(png::<1>(0, 0, &[], Content::Image).is_err());
    }
}
