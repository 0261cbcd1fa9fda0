//! A page in shades of grey, as a PGM file (Netpbm's P5): what tesseract gets to see. It runs in an extraction child.
//!
//! A picture has [`MAX_DOTS`] at most, so that drawing and recognising it stay within memory that is known beforehand. Pages of PDFs are drawn by
//! hayro, uploaded pictures decoded by the crate `image`; their sizes are judged by their headers, before a dot is decoded.

mod pdf;
mod picture;
mod tiff;

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
};

use millrace_shared::media::MediaType;

use super::Picture;
pub(crate) use picture::page_count;

use crate::ingest::{
    formats::{self, Input},
    limits::IngestLimits,
    wire::Failure,
};

/// How many dots a drawn page may have: A3 at 400 dots per inch, or A2 at 250.
const MAX_DOTS: u32 = 25_000_000;
/// The longest side, in dots. tesseract takes none of more than 32,767.
const MAX_SIDE: u32 = 30_000;
/// A drawn page, with its header.
pub(crate) const PICTURE_BYTES: u64 = MAX_DOTS as u64 + 64;

/// Draws a page (its number, and how many there must be) into `scratch`.
pub(crate) fn draw(
    input: &Input,
    (page, pages): (u32, u32),
    limits: &IngestLimits,
    scratch: File,
) -> Result<Picture, Failure> {
    let dpi = limits.ocr.as_ref().map_or(300, |ocr| ocr.dpi);
    let media_type = formats::identify(input).map_err(|error| Failure::from_io(&error))??;
    let (grey, dpi) = match media_type {
        MediaType::Pdf => pdf::draw(input, (page, pages), dpi)?,
        picture if picture.is_picture() => (picture::draw(input, &picture, page, limits)?, None),
        other => return Err(Failure::UnsupportedMediaType { detected: other.as_str().to_owned() }),
    };
    grey.write(scratch).map_err(|error| Failure::from_io(&error))?;
    Ok(Picture { dpi })
}

/// Dots row by row, 0 is black.
struct Grey {
    width: u32,
    height: u32,
    dots: Vec<u8>,
}

impl Grey {
    fn write(&self, file: File) -> io::Result<()> {
        let mut out = BufWriter::new(file);
        write!(out, "P5\n{} {}\n255\n", self.width, self.height)?;
        out.write_all(&self.dots)?;
        out.flush()
    }
}

/// By how much sides have to be multiplied for a picture to be small enough; 1 where it is.
fn shrinking(width: f64, height: f64) -> f64 {
    let by_area = (f64::from(MAX_DOTS) / (width * height)).sqrt();
    by_area.min(f64::from(MAX_SIDE) / width.max(height)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_shrunk_to_what_is_allowed() {
        assert_eq!(shrinking(2_480.0, 3_508.0), 1.0);
        for (width, height) in [(10_000.0, 10_000.0), (60_000.0, 100.0), (1.0, 1e9), (1e6, 1e6)] {
            let by = shrinking(width, height);
            assert!(width * by * height * by <= f64::from(MAX_DOTS) + 1.0, "{width} × {height}");
            assert!(width.max(height) * by <= f64::from(MAX_SIDE) + 1.0, "{width} × {height}");
        }
    }
}
