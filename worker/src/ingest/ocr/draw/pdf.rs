//! Pages of PDFs, drawn by hayro.

use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_syntax::{LoadPdfError, Pdf};
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{PixmapSettings, RenderCache, RenderSettings, render};

use super::{Grey, shrinking};
use crate::ingest::{formats::Input, wire::Failure};

/// Points per inch.
const POINTS: f64 = 72.0;

/// The page, and the resolution that it has come to be drawn at.
pub(super) fn draw(input: &Input, (page, pages): (u32, u32), dpi: u32) -> Result<(Grey, Option<u32>), Failure> {
    let file = read_whole(input)?;
    let pdf = Pdf::new(file).map_err(|error| match error {
        LoadPdfError::Decryption(_) => Failure::Encrypted,
        LoadPdfError::Invalid => Failure::malformed("the page cannot be drawn"),
    })?;
    // The text comes from another parser. On a damaged file the two may not agree about which page is which.
    if pdf.pages().len() != pages as usize {
        return Err(Failure::malformed("it is not certain which of its pages is which"));
    }
    let page = (page as usize).checked_sub(1).and_then(|index| pdf.pages().get(index));
    let page = page.ok_or_else(|| Failure::malformed("there is no such page"))?;
    let (width, height) = page.render_dimensions();
    let (width, height) = (f64::from(width), f64::from(height));
    if !(width >= 1.0 && height >= 1.0 && width.is_finite() && height.is_finite()) {
        return Err(Failure::malformed("the page has no size"));
    }
    let scale = f64::from(dpi) / POINTS;
    let scale = scale * shrinking(width * scale, height * scale);
    // A strip of a page may come to less than a dot.
    let scale = scale as f32;
    if (width as f32 * scale) < 1.0 || (height as f32 * scale) < 1.0 {
        return Err(Failure::malformed("the page is too narrow to be drawn"));
    }
    let settings = PixmapSettings { x_scale: scale, y_scale: scale, bg_color: WHITE };
    let pixmap =
        render(page, &RenderCache::new(), &InterpreterSettings::default(), &RenderSettings::default(), &settings);
    // The luma of ITU-R BT.601, in parts of 1,024.
    let luma = |r: u8, g: u8, b: u8| ((u32::from(r) * 306 + u32::from(g) * 601 + u32::from(b) * 117) >> 10) as u8;
    let dots = pixmap.data().iter().map(|dot| luma(dot.r, dot.g, dot.b)).collect();
    let grey = Grey { width: pixmap.width().into(), height: pixmap.height().into(), dots };
    Ok((grey, Some(((f64::from(scale) * POINTS).round() as u32).max(1))))
}

/// hayro wants the file in memory, where there may be no room for it.
fn read_whole(input: &Input) -> Result<Vec<u8>, Failure> {
    let length = usize::try_from(input.len()).map_err(|_| Failure::OutOfMemory)?;
    let mut file = Vec::new();
    file.try_reserve_exact(length).map_err(|_| Failure::OutOfMemory)?;
    file.resize(length, 0);
    let filled = input.read_at(0, &mut file).map_err(|error| Failure::from_io(&error))?;
    file.truncate(filled);
    Ok(file)
}
