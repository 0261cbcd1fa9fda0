//! Words that are like those that were typed: with a slip in them, or a part of a longer one.
//!
//! Trigrams of whole chunks would tell nothing apart, because a thousand characters hold nearly all that are frequent. So the words that an
//! organisation's chunks have are kept (`search_words`), those alike are looked up by their trigrams, and the chunks are asked for these.

use sqlx::PgConnection;

use super::{Query, Search};
use crate::ids::OrgId;

/// Words of a query that are looked at; who types more has made no slip.
const MAX_TERMS: usize = 8;
/// Words taken for one that was typed.
const MAX_ALIKE: usize = 8;
/// Words that the database gives to choose from.
const MAX_OFFERED: i64 = 30;

/// A word that was typed, as a configuration has it, and one that exists.
#[derive(Debug, sqlx::FromRow)]
struct Offer {
    config: String,
    term: String,
    word: String,
}

/// Queries for words that are like those of the search; none where a word has none alike.
pub(super) async fn queries(
    connection: &mut PgConnection,
    search: &Search<'_>,
    configs: &[String],
) -> Result<Vec<Query>, sqlx::Error> {
    let typed = Typed::read(search.text);
    let terms = terms(connection, configs, &typed).await?;
    let mut queries = Vec::new();
    for read in terms {
        if read.terms.is_empty() || read.terms.len() > MAX_TERMS {
            continue;
        }
        let offers = offers(connection, search.org, &read).await?;
        if let Some(query) = query(&read, &offers, typed.any) {
            queries.push(query);
        }
    }
    Ok(queries)
}

/// The parts of a text that `websearch_to_tsquery` would tell apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Typed {
    wanted: String,
    /// With a `-` before each.
    excluded: String,
    /// Whether one of the wanted words is enough.
    any: bool,
}

impl Typed {
    fn read(text: &str) -> Self {
        let mut typed = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let bare = rest.trim_start_matches('-');
            let end = match bare.strip_prefix('"') {
                Some(phrase) => phrase.find('"').map_or(bare.len(), |quote| quote + 2),
                None => bare.find(|letter: char| letter.is_whitespace() || letter == '"').unwrap_or(bare.len()),
            };
            let (item, tail) = bare.split_at(end);
            if bare.len() < rest.len() {
                typed.excluded.push_str(&format!(" -{item}"));
            } else if item.eq_ignore_ascii_case("or") {
                typed.any = true;
            } else {
                typed.wanted.push(' ');
                typed.wanted.push_str(item);
            }
            rest = tail.trim_start();
        }
        typed
    }
}

/// What was typed as a configuration reads it.
#[derive(Debug, sqlx::FromRow)]
struct Terms {
    config: String,
    terms: Vec<String>,
    /// Empty where nothing is excluded.
    excluded: String,
}

async fn terms(connection: &mut PgConnection, configs: &[String], typed: &Typed) -> Result<Vec<Terms>, sqlx::Error> {
    sqlx::query_as(
        "SELECT config,
                ARRAY(SELECT term FROM UNNEST(tsvector_to_array(to_tsvector(config::regconfig, search_text($2)))) AS term
                      WHERE search_is_word(term)) AS terms,
                websearch_to_tsquery(config::regconfig, search_text($3))::text AS excluded
         FROM UNNEST($1::text[]) AS of (config)",
    )
    .bind(configs)
    .bind(&typed.wanted)
    .bind(&typed.excluded)
    .fetch_all(connection)
    .await
}

async fn offers(connection: &mut PgConnection, org: OrgId, read: &Terms) -> Result<Vec<Offer>, sqlx::Error> {
    sqlx::query_as(
        "SELECT $2 AS config, term, word FROM UNNEST($3::text[]) AS typed (term) CROSS JOIN LATERAL (
             SELECT word FROM search_words
             WHERE org_id = $1 AND config = $2
               AND (word % term OR word LIKE '%' || regexp_replace(term, '([\\\\%_])', '\\\\\\1', 'g') || '%')
             GROUP BY word ORDER BY similarity(word, term) DESC, word LIMIT $4) AS alike",
    )
    .bind(org)
    .bind(&read.config)
    .bind(&read.terms)
    .bind(MAX_OFFERED)
    .fetch_all(connection)
    .await
}

/// All terms, or any, each by the words alike; `None` where all are wanted and one has none.
fn query(read: &Terms, offers: &[Offer], any: bool) -> Option<Query> {
    let (mut wanted, mut slipped) = (Vec::new(), false);
    for term in &read.terms {
        let mut alike: Vec<(usize, &str)> = offers
            .iter()
            .filter(|offer| offer.config == read.config && offer.term == *term)
            .filter_map(|offer| Some((slips(term, &offer.word)?, offer.word.as_str())))
            .collect();
        alike.sort_unstable();
        // A nearer word makes farther ones improbable.
        let nearest = alike.first().map(|(slips, _)| *slips);
        slipped |= nearest.is_some_and(|slips| slips > 0);
        let words: Vec<String> = alike
            .iter()
            .filter(|(slips, _)| Some(*slips) == nearest)
            .take(MAX_ALIKE)
            .map(|(_, word)| quoted(word))
            .collect();
        match words.is_empty() {
            true if !any => return None,
            true => {}
            false => wanted.push(format!("( {} )", words.join(" | "))),
        }
    }
    // Where all words exist, it is not for a slip that they were not found.
    if !slipped {
        return None;
    }
    let mut query = wanted.join(if any { " | " } else { " & " });
    if !read.excluded.is_empty() {
        query = format!("( {query} ) & ( {} )", read.excluded);
    }
    Some(Query { config: read.config.clone(), query })
}

/// A word as `tsquery` reads it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', "\\\\").replace('\'', "''"))
}

/// How many slips of the finger make `typed` of `word`; `None` if that is too many to be meant. A part of the word counts as one.
fn slips(typed: &str, word: &str) -> Option<usize> {
    if typed == word {
        return Some(0);
    }
    if word.contains(typed) {
        return Some(1);
    }
    let (typed, word): (Vec<char>, Vec<char>) = (typed.chars().collect(), word.chars().collect());
    let allowed = match typed.len().max(word.len()) {
        0..=4 => 1,
        5..=9 => 2,
        _ => 3,
    };
    if typed.len().abs_diff(word.len()) > allowed {
        return None;
    }
    Some(distance(&typed, &word)).filter(|slips| *slips <= allowed)
}

/// Letters left out, added, replaced, or swapped with their neighbour ("optimal string alignment").
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (line, have) in from.iter().enumerate() {
        let mut row = vec![line + 1];
        for (column, want) in to.iter().enumerate() {
            let mut least = (last[column] + usize::from(have != want)).min(last[column + 1] + 1).min(row[column] + 1);
            if line > 0 && column > 0 && *have == to[column - 1] && from[line - 1] == *want {
                least = least.min(before[column - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted_as_fingers_make_them() {
        for (typed, word, expected) in [
            ("turbni", "turbin", Some(1)),
            ("turbn", "turbin", Some(1)),
            ("trubine", "turbine", Some(1)),
            ("mil", "mill", Some(1)),
            ("bin", "turbin", Some(1)),
            ("мельнтца", "мельница", Some(1)),
            ("mill", "wheel", None),
            ("cat", "dog", None),
            ("same", "same", Some(0)),
        ] {
            assert_eq!(slips(typed, word), expected, "{typed} for {word}");
        }
    }

    #[test]
    fn what_was_typed_is_told_apart_as_postgres_does() {
        let typed = Typed::read(r#"mill "old wheel" -stone OR -"water mill" --x "open"#);
        assert_eq!(typed.wanted, r#" mill "old wheel" "open"#);
        assert_eq!(typed.excluded, r#" -stone -"water mill" -x"#);
        assert!(typed.any);
        assert_eq!(Typed::read(" - "), Typed { excluded: " -".to_owned(), ..Typed::default() });
    }

    #[test]
    fn words_are_quoted_for_tsquery() {
        assert_eq!(quoted(r"o'neil\x"), r"'o''neil\\x'");
    }
}
