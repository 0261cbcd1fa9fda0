//! What a document states of itself, and the language it is in.

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

const MAX_CHARS: usize = 500;

/// Fewer words say little about their language.
const LEAST_WORDS: u64 = 10;
/// So much of a text tells its language.
const SAMPLE_BYTES: usize = 20_000;

/// What a document states of itself; nothing is made from its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// On one line.
    pub title: Option<String>,
    /// Who wrote it, on one line.
    pub author: Option<String>,
    /// When it was made; a time without a zone counts as UTC.
    pub created: Option<DateTime<Utc>>,
    /// When it was last changed.
    pub modified: Option<DateTime<Utc>>,
    /// A language subtag of BCP 47, such as `de`: told from the words, or as the file states it where they do not tell.
    pub language: Option<String>,
}

impl Metadata {
    /// Sets the title, if there is none yet and this one has a word.
    pub fn set_title(&mut self, title: &str) {
        set(&mut self.title, one_line(title));
    }

    pub fn set_author(&mut self, author: &str) {
        set(&mut self.author, one_line(author));
    }

    /// Takes a time as PDF, OOXML, OpenDocument or HTML write it.
    pub fn set_created(&mut self, text: &str) {
        set(&mut self.created, moment(text));
    }

    pub fn set_modified(&mut self, text: &str) {
        set(&mut self.modified, moment(text));
    }

    pub fn set_language(&mut self, tag: &str) {
        let subtag = tag.trim().split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        let is_subtag = (2..=3).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_lowercase());
        set(&mut self.language, is_subtag.then_some(subtag));
    }

    /// Prefers the language of the words: files often state that of the program they were made with.
    pub fn tell_language(&mut self, text: &str, words: u64) {
        if words < LEAST_WORDS {
            return;
        }
        let sample = &text[..text.floor_char_boundary(SAMPLE_BYTES)];
        let told = whatlang::detect(sample).filter(whatlang::Info::is_reliable).and_then(|info| subtag(info.lang()));
        self.language = told.map(str::to_owned).or(self.language.take());
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) {
    if place.is_none() {
        *place = value;
    }
}

fn one_line(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let joined = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
    (!joined.is_empty()).then(|| joined.chars().take(MAX_CHARS).collect())
}

/// A time in one of the forms of ISO 8601, or in that of PDF (ISO 32000-1, 7.9.4). None before 1900 or after 2200: such are mistakes.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let told = if let Some(pdf) = text.strip_prefix("D:") {
        pdf_moment(pdf)
    } else {
        let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok();
        let local = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok();
        let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        zoned.or_else(|| local().or_else(day).map(|time| time.and_utc()))
    };
    told.filter(|time| (1900..=2200).contains(&time.year()))
}

/// `YYYYMMDDHHmmSSOHH'mm'`, of which all behind the year may be left out.
fn pdf_moment(text: &str) -> Option<DateTime<Utc>> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).take(14).collect();
    let part = |at: usize, length: usize, least: u32| match digits.get(at..at + length) {
        Some(part) => part.parse().ok(),
        None => Some(least),
    };
    let year = digits.get(..4)?.parse().ok()?;
    let day = NaiveDate::from_ymd_opt(year, part(4, 2, 1)?, part(6, 2, 1)?)?;
    let local = day.and_hms_opt(part(8, 2, 0)?, part(10, 2, 0)?, part(12, 2, 0)?)?;
    let zone = &text[digits.len()..];
    let numbers: Vec<i32> =
        zone.get(1..).unwrap_or_default().split('\'').filter_map(|number| number.parse().ok()).collect();
    let seconds = numbers.first().unwrap_or(&0) * 3_600 + numbers.get(1).unwrap_or(&0) * 60;
    let east = FixedOffset::east_opt(if zone.starts_with('-') { -seconds } else { seconds })?;
    Some(local.and_local_timezone(east).single()?.to_utc())
}

/// The subtag of a language: of two letters where it has one.
fn subtag(language: whatlang::Lang) -> Option<&'static str> {
    const SUBTAGS: &[(&str, &str)] = &[
        ("epo", "eo"),
        ("eng", "en"),
        ("rus", "ru"),
        ("cmn", "zh"),
        ("spa", "es"),
        ("por", "pt"),
        ("ita", "it"),
        ("ben", "bn"),
        ("fra", "fr"),
        ("deu", "de"),
        ("ukr", "uk"),
        ("kat", "ka"),
        ("ara", "ar"),
        ("hin", "hi"),
        ("jpn", "ja"),
        ("heb", "he"),
        ("yid", "yi"),
        ("pol", "pl"),
        ("amh", "am"),
        ("jav", "jv"),
        ("kor", "ko"),
        ("nob", "nb"),
        ("dan", "da"),
        ("swe", "sv"),
        ("fin", "fi"),
        ("tur", "tr"),
        ("nld", "nl"),
        ("hun", "hu"),
        ("ces", "cs"),
        ("ell", "el"),
        ("bul", "bg"),
        ("bel", "be"),
        ("mar", "mr"),
        ("kan", "kn"),
        ("ron", "ro"),
        ("slv", "sl"),
        ("hrv", "hr"),
        ("srp", "sr"),
        ("mkd", "mk"),
        ("lit", "lt"),
        ("lav", "lv"),
        ("est", "et"),
        ("tam", "ta"),
        ("vie", "vi"),
        ("urd", "ur"),
        ("tha", "th"),
        ("guj", "gu"),
        ("uzb", "uz"),
        ("pan", "pa"),
        ("aze", "az"),
        ("ind", "id"),
        ("tel", "te"),
        ("pes", "fa"),
        ("mal", "ml"),
        ("ori", "or"),
        ("mya", "my"),
        ("nep", "ne"),
        ("sin", "si"),
        ("khm", "km"),
        ("tuk", "tk"),
        ("aka", "ak"),
        ("zul", "zu"),
        ("sna", "sn"),
        ("afr", "af"),
        ("lat", "la"),
        ("slk", "sk"),
        ("cat", "ca"),
        ("tgl", "tl"),
        ("hye", "hy"),
        ("cym", "cy"),
    ];
    SUBTAGS.iter().find(|(code, _)| *code == language.code()).map(|(_, subtag)| *subtag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        for (text, expected) in [
            ("2026-03-01T12:30:00Z", "2026-03-01T12:30:00+00:00"),
            ("2026-03-01T12:30:00.123456789", "2026-03-01T12:30:00.123456789+00:00"),
            ("2026-03-01T12:30:00+02:00", "2026-03-01T10:30:00+00:00"),
            ("2026-03-01", "2026-03-01T00:00:00+00:00"),
            ("D:20260301123000+01'30'", "2026-03-01T11:00:00+00:00"),
            ("D:20260301123000-05'00", "2026-03-01T17:30:00+00:00"),
            ("D:20260301123000Z", "2026-03-01T12:30:00+00:00"),
            ("D:202603", "2026-03-01T00:00:00+00:00"),
        ] {
            assert_eq!(moment(text).map(|time| time.to_rfc3339()).as_deref(), Some(expected), "{text}");
        }
        for text in
            ["", "D:", "D:20261301", "1601-01-01T00:00:00Z", "yesterday", "D:20260301990000", "D:20260301000000+99'99'"]
        {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_that_says_something_counts() {
        let mut metadata = Metadata::default();
        metadata.set_title(" \n ");
        metadata.set_title("The\tmill\u{0} wheel ");
        metadata.set_title("Another");
        metadata.set_language("x-default");
        metadata.set_language("de-AT");
        assert_eq!((metadata.title.as_deref(), metadata.language.as_deref()), (Some("The mill wheel"), Some("de")));
    }

    #[test]
    fn words_tell_their_language_and_few_do_not() {
        let text = "Смену сдают у пульта, а не по телефону. Сдающий называет уровень воды, положение затвора и остаток зерна \
                    в бункере. Принимающий повторяет числа вслух и расписывается. Так обнаруживают почти все описки.";
        let mut metadata = Metadata { language: Some("en".to_owned()), ..Metadata::default() };
        metadata.tell_language("Смену сдают", 2);
        assert_eq!(metadata.language.as_deref(), Some("en"));
        metadata.tell_language(text, 28);
        assert_eq!(metadata.language.as_deref(), Some("ru"));
    }

    #[test]
    fn every_language_that_can_be_told_has_a_subtag() {
        for language in whatlang::Lang::all() {
            assert!(subtag(*language).is_some(), "{language:?} ({})", language.code());
        }
    }
}
