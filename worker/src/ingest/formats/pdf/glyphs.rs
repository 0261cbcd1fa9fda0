//! What a page shows, as it was drawn: pieces of text with their places, and whether there is more than text.

use otf_pdf_doc::{Page, Rect};

use super::font::Letters;

/// A piece of text where it was drawn: usually one letter, sometimes a ligature's or a whole word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Glyph {
    /// Where the text starts in [`PageText::text`], in bytes.
    pub start: usize,
    /// Where it ends there.
    pub end: usize,
    /// Where the glyph starts on its baseline, in points from the page's lower left corner as it is displayed.
    pub origin: (f64, f64),
    /// Where the next glyph would start.
    pub next: (f64, f64),
    /// The height of one em, in points.
    pub size: f64,
}

impl Glyph {
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// The unit vector of the baseline; to the right where the glyph has no width.
    pub fn direction(&self) -> (f64, f64) {
        let (dx, dy) = (self.next.0 - self.origin.0, self.next.1 - self.origin.1);
        let length = dx.hypot(dy);
        if length < 1e-9 { (1.0, 0.0) } else { (dx / length, dy / length) }
    }
}

/// What a page shows that is no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Glyphs of which nobody knows what letters they are.
    Letters,
    Pictures,
    /// Lines and areas, which may be letters turned into shapes.
    Shapes,
}

/// The text of one page.
#[derive(Debug, Default)]
pub(super) struct PageText {
    pub text: String,
    pub glyphs: Vec<Glyph>,
    /// Whether pictures were drawn.
    pub has_images: bool,
    /// Whether lines or areas were drawn.
    pub has_shapes: bool,
    /// Whether glyphs were drawn of which nobody knows what letters they are.
    pub has_unknown_glyphs: bool,
}

impl PageText {
    pub fn push(&mut self, letters: &Letters, origin: (f64, f64), next: (f64, f64), size: f64) {
        let start = self.text.len();
        match letters {
            Letters::None => return,
            Letters::One(letter) => self.text.push(*letter),
            Letters::Many(letters) => self.text.push_str(letters),
        }
        self.glyphs.push(Glyph { start, end: self.text.len(), origin, next, size });
    }

    /// What there is to see besides text.
    pub fn seen(&self) -> Option<Seen> {
        match (self.has_unknown_glyphs, self.has_images, self.has_shapes) {
            (true, _, _) => Some(Seen::Letters),
            (_, true, _) => Some(Seen::Pictures),
            (_, _, true) => Some(Seen::Shapes),
            _ => None,
        }
    }

    /// Empties it for the next page; memory is kept.
    pub fn clear(&mut self) {
        self.text.clear();
        self.glyphs.clear();
        self.has_images = false;
        self.has_shapes = false;
        self.has_unknown_glyphs = false;
    }
}

/// From the page's own space to the one that is displayed: the crop box's corner is the origin, and `/Rotate` is applied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Display {
    crop: Rect,
    rotate: u16,
}

impl Display {
    pub fn of(page: &Page) -> Self {
        Self { crop: page.crop_box, rotate: page.rotate }
    }

    pub fn point(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let Rect { llx, lly, urx, ury } = self.crop;
        match self.rotate {
            90 => (y - lly, urx - x),
            180 => (urx - x, ury - y),
            270 => (ury - y, x - llx),
            _ => (x - llx, y - lly),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_page_is_read_as_it_is_displayed() {
        let crop = Rect { llx: 10.0, lly: 20.0, urx: 110.0, ury: 220.0 };
        let corner = |rotate| Display { crop, rotate }.point((10.0, 220.0));
        assert_eq!(
            [corner(0), corner(90), corner(180), corner(270)],
            [(0.0, 200.0), (200.0, 100.0), (100.0, 0.0), (0.0, 0.0)]
        );
    }
}
