//! Text that is like people's in what a search depends on: words whose frequencies follow Zipf's law, in several languages, and the same each time.

/// A language and the syllables of which its words are made.
const LANGUAGES: [(&str, &str); 4] = [
    ("en", "wa ter mi ll sto ne ri ver gra in fl our whe el da mo ten bu ck sh ar po le so ta ke un der pro con"),
    (
        "de",
        "was ser müh le stein fluss korn mehl rad damm ge ver be un ung heit keit lich en er schau fel wel ze haus bach wehr gut zu ab",
    ),
    ("ru", "во да мель ни ца ка мень ре зер но му ко ле со пло ти на по при вы ста ро го ло сть ние ный ся ди те"),
    ("mt", "xa qo zu ne vi lo pe ra su ti ma ko du fe ga hi jo ku la mi no pu re si to va we yo za be"),
];
/// Of twenty documents, so many are in each language.
const SHARES: [usize; 4] = [10, 5, 3, 2];
const WORDS: usize = 60_000;
const WORDS_OF_A_CHUNK: usize = 145;

/// Numbers that look random (splitmix64, Steele and others, 2014).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * end as u128) >> 64) as usize
    }
}

/// A language of the text.
pub(crate) struct Language {
    /// Its subtag of BCP 47.
    pub(crate) subtag: &'static str,
    /// Its words, the most frequent one first.
    pub(crate) words: Vec<String>,
}

/// What texts are made of.
pub(crate) struct Prose {
    languages: Vec<Language>,
    /// Sums of the frequencies of a language's words up to each of them.
    sums: Vec<usize>,
}

impl Prose {
    pub(crate) fn new() -> Self {
        let languages = LANGUAGES.map(|(subtag, syllables)| {
            let syllables: Vec<&str> = syllables.split(' ').collect();
            Language { subtag, words: (0..WORDS).map(|rank| word(&syllables, rank)).collect() }
        });
        let frequency = |rank: usize| 1_000_000_000 / (rank + 2);
        let sums = (0..WORDS).scan(0, |sum, rank| {
            *sum += frequency(rank);
            Some(*sum)
        });
        Self { languages: languages.into(), sums: sums.collect() }
    }

    /// The language of a document.
    pub(crate) fn language(&self, document: usize) -> &Language {
        let mut place = document % SHARES.iter().sum::<usize>();
        for (language, share) in self.languages.iter().zip(SHARES) {
            if place < share {
                return language;
            }
            place -= share;
        }
        &self.languages[0]
    }

    /// About a thousand characters.
    pub(crate) fn chunk(&self, language: &Language, dice: &mut Dice) -> String {
        let mut text = String::with_capacity(1_200);
        for word in 0..WORDS_OF_A_CHUNK + dice.below(10) {
            let drawn = dice.below(self.sums.last().copied().unwrap_or(1));
            text.push_str(&language.words[self.sums.partition_point(|sum| *sum <= drawn)]);
            text.push_str(if word % 12 == 11 { ". " } else { " " });
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn word(syllables: &[&str], rank: usize) -> String {
    let (mut rest, mut word) = (rank + 7, String::new());
    while rest > 0 {
        word.push_str(syllables[rest % syllables.len()]);
        rest /= syllables.len();
    }
    word
}
