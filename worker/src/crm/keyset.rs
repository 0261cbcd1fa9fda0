//! A cursor for lists in the order of their last change, which are asked for what has changed since a time.
//!
//! It goes on from the last time that it met, so that it can be resumed whenever, and what changes while it is under way is met once more instead of being
//! passed over, as it is where pages are counted. Only among the records of one and the same time are pages counted.

use chrono::{DateTime, Utc};

use super::Covered;

/// Where such a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keyset {
    /// Records that have changed then or later; nothing: all.
    pub(super) from: Option<DateTime<Utc>>,
    /// Which page of those, from 1 on.
    pub(super) page: u32,
}

impl Keyset {
    /// Where a scan goes on, or begins.
    pub(super) fn read(cursor: Option<&str>, since: Option<DateTime<Utc>>) -> Self {
        let begin = Self { from: since, page: 1 };
        let Some((from, page)) = cursor.and_then(|cursor| cursor.split_once('/')) else { return begin };
        match (from, DateTime::parse_from_rfc3339(from), page.parse()) {
            ("", _, Ok(page)) => Self { from: since, page },
            (_, Ok(from), Ok(page)) => Self { from: Some(from.to_utc()), page },
            _ => begin,
        }
    }

    /// Where it goes on after a page whose records changed at these times, in order. Nothing where that was the last one.
    pub(super) fn next(self, times: &[DateTime<Utc>], more: bool) -> Option<String> {
        let last = times.iter().max().filter(|_| more)?;
        let next = if self.from.is_none_or(|from| *last > from) {
            Self { from: Some(*last), page: 1 }
        } else {
            Self { page: self.page + 1, ..self }
        };
        let from = next.from.map(|from| from.to_rfc3339()).unwrap_or_default();
        Some(format!("{from}/{}", next.page))
    }

    /// Of which records such a page is all there is, together with those before it that are counted from the same time.
    pub(super) fn covered(self, times: &[DateTime<Utc>], more: bool) -> Covered {
        match times.iter().max() {
            Some(last) if more => Covered::Updated(self.from, Some(*last)),
            None if more => Covered::Nothing,
            _ => Covered::Updated(self.from, None),
        }
    }

    /// Whether it goes on among the records of one time, some of which were on the page before.
    pub(super) fn is_continued(self) -> bool {
        self.page > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_scan_goes_on_from_the_last_time_it_met() {
        let begin = Keyset::read(None, None);
        let next = begin.next(&[at(1), at(5)], true).unwrap();
        let second = Keyset::read(Some(&next), None);
        assert_eq!(second, Keyset { from: Some(at(5)), page: 1 });
        assert_eq!(second.covered(&[at(5), at(9)], true), Covered::Updated(Some(at(5)), Some(at(9))));
        assert_eq!(second.next(&[at(5), at(9)], false), None);
        assert_eq!(second.covered(&[at(5), at(9)], false), Covered::Updated(Some(at(5)), None));
    }

    #[test]
    fn records_of_one_time_that_fill_a_page_are_counted_through() {
        let keyset = Keyset { from: Some(at(5)), page: 1 };
        let next = keyset.next(&[at(5), at(5)], true).unwrap();
        let second = Keyset::read(Some(&next), None);
        assert_eq!(second, Keyset { from: Some(at(5)), page: 2 });
        assert!(second.is_continued() && !keyset.is_continued());
        assert_eq!(keyset.covered(&[at(5), at(5)], true), Covered::Updated(Some(at(5)), Some(at(5))), "of none yet");
        assert_eq!(second.covered(&[at(5), at(6)], true), Covered::Updated(Some(at(5)), Some(at(6))));
        let third = second.next(&[at(5), at(6)], true).unwrap();
        assert_eq!(Keyset::read(Some(&third), None), Keyset { from: Some(at(6)), page: 1 });
    }

    #[test]
    fn a_cursor_that_is_none_begins_anew() {
        for cursor in ["", "x", "x/1", "2026-01-01T00:00:00Z/x"] {
            assert_eq!(Keyset::read(Some(cursor), Some(at(0))), Keyset { from: Some(at(0)), page: 1 }, "{cursor}");
        }
    }
}
