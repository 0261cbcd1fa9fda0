//! Uploaded pictures: PNG, JPEG, WebP, and TIFF with its pages.

use std::io::BufReader;

use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError,
    codecs::{jpeg::JpegDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder},
    error::LimitErrorKind,
    imageops,
};
use millrace_shared::media::MediaType;

use super::{Grey, shrinking, tiff};
use crate::ingest::{formats::Input, limits::IngestLimits, wire::Failure};

/// How many dots a picture may have that is decoded at all. The largest sensors of phones have 200 million, and give 50 unless asked.
const MAX_DECODED_DOTS: u64 = 100_000_000;

/// How many pages a picture has, each of which can be decoded within the limits, as far as the headers tell.
pub(crate) fn page_count(input: &Input, media_type: &MediaType, limits: &IngestLimits) -> Result<u32, Failure> {
    if *media_type != MediaType::Tiff {
        decoder(input, media_type, 1, limits)?;
        return Ok(1);
    }
    let pages = tiff::pages(input, limits.max_pages)?.len() as u32;
    for page in 1..=pages {
        decoder(input, media_type, page, limits)?;
    }
    Ok(pages)
}

pub(super) fn draw(input: &Input, media_type: &MediaType, page: u32, limits: &IngestLimits) -> Result<Grey, Failure> {
    let mut decoder = decoder(input, media_type, page, limits)?;
    // How the camera was held. Where that cannot be told, the picture is taken as it is.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failure)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    let grey = on_white(picture);
    let (width, height) = grey.dimensions();
    let by = shrinking(width.into(), height.into());
    let grey = if by < 1.0 {
        let shrunk = |side: u32| ((f64::from(side) * by) as u32).max(1);
        imageops::thumbnail(&grey, shrunk(width), shrunk(height))
    } else {
        grey
    };
    Ok(Grey { width: grey.width(), height: grey.height(), dots: grey.into_raw() })
}

/// A decoder that has read the header, and found it within the limits.
fn decoder<'a>(
    input: &'a Input,
    media_type: &MediaType,
    page: u32,
    limits: &IngestLimits,
) -> Result<Box<dyn ImageDecoder + 'a>, Failure> {
    let reader = || BufReader::new(input.reader());
    let decoder: Box<dyn ImageDecoder + 'a> = match media_type {
        MediaType::Png => Box::new(PngDecoder::new(reader()).map_err(failure)?),
        MediaType::Jpeg => Box::new(JpegDecoder::new(reader()).map_err(failure)?),
        MediaType::WebP => Box::new(WebPDecoder::new(reader()).map_err(failure)?),
        _ => Box::new(TiffDecoder::new(BufReader::new(tiff::page(input, page, limits.max_pages)?)).map_err(failure)?),
    };
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Failure::malformed("the picture has no size"));
    }
    // Decoding takes the picture once more in grey, and decoders keep a part of it to themselves.
    let is_too_large = u64::from(width) * u64::from(height) > MAX_DECODED_DOTS
        || decoder.total_bytes() > limits.memory_limit_bytes / 2;
    if is_too_large {
        return Err(Failure::too_large(format!("a picture of {width} × {height} dots")));
    }
    Ok(decoder)
}

/// What shows through a picture counts as paper.
fn on_white(picture: DynamicImage) -> GrayImage {
    if !picture.color().has_alpha() {
        return picture.into_luma8();
    }
    let picture = picture.into_luma_alpha8();
    let (width, height) = picture.dimensions();
    let mut dots = picture.into_raw();
    for dot in 0..dots.len() / 2 {
        let (luma, alpha) = (u32::from(dots[2 * dot]), u32::from(dots[2 * dot + 1]));
        dots[dot] = ((luma * alpha + 255 * (255 - alpha)) / 255) as u8;
    }
    dots.truncate(dots.len() / 2);
    GrayImage::from_raw(width, height, dots).unwrap_or_default()
}

fn failure(error: ImageError) -> Failure {
    match error {
        ImageError::Limits(error) if matches!(error.kind(), LimitErrorKind::DimensionError) => {
            Failure::too_large("a picture of more dots than can be decoded")
        }
        ImageError::Limits(_) => Failure::OutOfMemory,
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::OutOfMemory => Failure::OutOfMemory,
        error => Failure::malformed(error.to_string()),
    }
}
