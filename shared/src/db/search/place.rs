//! Where a page of hits ended.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::Match;
use crate::db::MalformedCursor;
use crate::ids::AssetId;

/// The rank and the place of the last hit, and how it was found. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchCursor {
    pub(super) found_by: Match,
    pub(super) rank: f32,
    pub(super) asset: AssetId,
    pub(super) ordinal: i32,
}

const BYTES: usize = 1 + 4 + 16 + 4;

impl fmt::Display for SearchCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![match self.found_by {
            Match::Words => 0,
            Match::Similar => 1,
        }];
        bytes.extend(self.rank.to_be_bytes());
        bytes.extend(self.asset.0.as_bytes());
        bytes.extend(self.ordinal.to_be_bytes());
        formatter.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for SearchCursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, MalformedCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MalformedCursor)?;
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| MalformedCursor)?;
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let found_by = match bytes[0] {
            0 => Match::Words,
            1 => Match::Similar,
            _ => return Err(MalformedCursor),
        };
        let rank = f32::from_be_bytes(four(1));
        let asset = Uuid::from_slice(&bytes[5..21]).map_err(|_| MalformedCursor)?;
        if !rank.is_finite() {
            return Err(MalformedCursor);
        }
        Ok(Self { found_by, rank, asset: AssetId(asset), ordinal: i32::from_be_bytes(four(21)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_back_and_nothing_else_is() {
        let cursor = SearchCursor { found_by: Match::Similar, rank: 0.060_792_71, asset: AssetId::new(), ordinal: 7 };
        assert_eq!(cursor.to_string().parse::<SearchCursor>().expect("its own text"), cursor);
        let nan = SearchCursor { rank: f32::NAN, ..cursor };
        for text in ["", "x", "!!!", "AAAA", &format!("{cursor}A"), &format!("_{cursor}"), &nan.to_string()] {
            assert!(text.parse::<SearchCursor>().is_err(), "{text}");
        }
    }
}
