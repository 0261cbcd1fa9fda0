//! Keyset pagination: a page continues after an id and not at an offset, so that it costs the same at any depth and neither
//! skips nor repeats rows while others are added.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// Where a page ended. Opaque to clients: base64url of the last row's id, whose order is that of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(Uuid);

/// The text is no cursor that we gave.
#[derive(Debug, thiserror::Error)]
#[error("not a cursor")]
pub struct MalformedCursor;

impl Cursor {
    /// Continue after this row.
    #[must_use]
    pub fn after(id: Uuid) -> Self {
        Self(id)
    }

    /// The row after which to continue.
    #[must_use]
    pub fn id(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl FromStr for Cursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MalformedCursor)?;
        Uuid::from_slice(&bytes).map(Self).map_err(|_| MalformedCursor)
    }
}

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Where the previous page ended; nothing for the first.
    pub after: Option<Cursor>,
    /// Most rows on the page.
    pub limit: u16,
}

impl PageRequest {
    /// Rows to fetch: one more than asked for tells whether there is a next page.
    #[must_use]
    pub fn fetch_limit(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts fetched rows to a page. `id` names the row's place in the order.
    #[must_use]
    pub fn page<T>(&self, mut rows: Vec<T>, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let more = rows.len() > usize::from(self.limit);
        rows.truncate(usize::from(self.limit));
        let next = rows.last().filter(|_| more).map(|row| Cursor::after(id(row)));
        Page { items: rows, next }
    }
}

/// Some rows, and where the next ones are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, newest first.
    pub items: Vec<T>,
    /// Present when there are more.
    pub next: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_back_and_nothing_else_is() {
        let cursor = Cursor::after(Uuid::now_v7());
        assert_eq!(cursor.to_string().parse::<Cursor>().expect("its own text"), cursor);
        for text in ["", "x", "!!!", "AAAA", &format!("{cursor}A")] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_points_to_the_next_one_only_if_there_is_one() {
        let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
        let request = PageRequest { after: None, limit: 2 };
        let page = request.page(ids.clone(), |id| *id);
        assert_eq!((page.items.len(), page.next), (2, Some(Cursor::after(ids[1]))));
        let page = request.page(ids[..2].to_vec(), |id| *id);
        assert_eq!((page.items.len(), page.next), (2, None));
    }
}
