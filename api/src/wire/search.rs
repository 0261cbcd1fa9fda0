use std::str::FromStr;

use millrace_shared::db::search;
use millrace_shared::ids::AssetId;
use serde::Serialize;
use utoipa::ToSchema;

/// What is searched for: 1 to 400 characters, one of them visible.
#[derive(Debug, Clone)]
pub struct SearchText(String);

impl SearchText {
    const LONGEST: usize = 400;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SearchText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.chars().count() > Self::LONGEST {
            return Err(format!("must be 1 to {} characters, not all of them blank", Self::LONGEST));
        }
        Ok(Self(text.to_owned()))
    }
}

/// How hits were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMatch {
    /// They have the words.
    Words,
    /// Nothing has the words; they have words that are alike.
    Similar,
}

/// A page of hits, best first.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchPage {
    /// The hits.
    pub items: Vec<SearchHit>,
    /// How they were found.
    pub r#match: SearchMatch,
    /// Give this as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// A chunk that was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "asset": { "id": "0193e4a8-7a10-7b1e-8a45-2f9a1c3d4e5f", "name": "report.pdf", "title": "Water levels", "media_type": "application/pdf" },
    "ordinal": 4, "page": 2, "start_char": 3_804, "end_char": 4_711, "rank": 0.0759,
    "snippet": { "start_char": 3_804, "end_char": 3_827, "fragments": [
        { "text": "The ", "highlight": false }, { "text": "mills", "highlight": true }, { "text": " stood still.", "highlight": false }
    ] }
}))]
pub struct SearchHit {
    /// Its document.
    pub asset: SearchAsset,
    /// The chunk's place in the document, from 0.
    pub ordinal: i32,
    /// The page that the chunk lies on, from 1.
    pub page: i32,
    /// Offset of the chunk's first character in `GET /v1/assets/{id}/text`, counted in Unicode scalar values.
    pub start_char: i32,
    /// Offset after its last character.
    pub end_char: i32,
    /// The higher, the better; comparable within one search.
    pub rank: f32,
    /// What shows best why it was found.
    pub snippet: Snippet,
}

/// The document of a hit.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchAsset {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: AssetId,
    /// The uploader's name for it.
    pub name: String,
    /// The document's own title.
    pub title: Option<String>,
    /// Told from its bytes.
    pub media_type: String,
}

/// A piece of a document's text: plain text, never markup.
#[derive(Debug, Serialize, ToSchema)]
pub struct Snippet {
    /// Offset of its first character in `GET /v1/assets/{id}/text`.
    pub start_char: i32,
    /// Offset after its last character.
    pub end_char: i32,
    /// The piece, cut where highlighting begins and ends. Escape the texts as any other text.
    pub fragments: Vec<SnippetFragment>,
}

/// A part of a snippet.
#[derive(Debug, Serialize, ToSchema)]
pub struct SnippetFragment {
    /// The text as it is in the document.
    pub text: String,
    /// Whether it is what was searched for.
    pub highlight: bool,
}

impl From<search::Hits> for SearchPage {
    fn from(hits: search::Hits) -> Self {
        Self {
            items: hits.items.into_iter().map(SearchHit::from).collect(),
            r#match: match hits.found_by {
                search::Match::Words => SearchMatch::Words,
                search::Match::Similar => SearchMatch::Similar,
            },
            next_cursor: hits.next.map(|cursor| cursor.to_string()),
        }
    }
}

impl From<search::Hit> for SearchHit {
    fn from(hit: search::Hit) -> Self {
        let fragment =
            |fragment: search::Fragment| SnippetFragment { text: fragment.text, highlight: fragment.highlight };
        Self {
            asset: SearchAsset { id: hit.asset, name: hit.name, title: hit.title, media_type: hit.media_type },
            ordinal: hit.ordinal,
            page: hit.page,
            start_char: hit.start_char,
            end_char: hit.end_char,
            rank: hit.rank,
            snippet: Snippet {
                start_char: hit.snippet.start_char,
                end_char: hit.snippet.end_char,
                fragments: hit.snippet.fragments.into_iter().map(fragment).collect(),
            },
        }
    }
}
