//! Which part of a page is its content.
//!
//! Pages say so themselves: `main` (or `role="main"`), or the one `article` that they are about. What stands around it is the
//! same on every page of a site: menus, banners, footers. A page whose `main` holds little of its words is read whole, for
//! somebody meant something else by it; and `nav` is left out of every page.

use std::cell::RefCell;

use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult};

use super::elements::{attribute, is_hidden, raw_content};
use super::feed;

/// The content must hold at least one in so many of the page's characters.
const LEAST_SHARE: usize = 4;

/// Where a page's content stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it counts.
    Whole,
    Main,
    Article,
}

impl Scope {
    pub fn of(source: &str) -> Self {
        let counted = feed(source, Counting(RefCell::default()), |_| false).0.into_inner();
        let holds_enough = |chars: usize| chars > 0 && chars.saturating_mul(LEAST_SHARE) >= counted.all;
        if holds_enough(counted.main.chars) {
            Self::Main
        } else if counted.article.count == 1 && holds_enough(counted.article.chars) {
            Self::Article
        } else {
            Self::Whole
        }
    }

    /// Whether this element is the content.
    pub fn is(self, name: &str, tag: &Tag) -> bool {
        match self {
            Self::Whole => false,
            Self::Main => name == "main" || attribute(tag, "role").eq_ignore_ascii_case("main"),
            Self::Article => name == "article",
        }
    }
}

/// One kind of element: how many there were, and what stood in them.
#[derive(Default)]
struct Kind {
    /// The name of the outermost that is open, and how many of that name are open within it.
    open: Option<(String, usize)>,
    count: usize,
    chars: usize,
}

impl Kind {
    fn tag(&mut self, is_kind: bool, name: &str, kind: TagKind) {
        match (&mut self.open, kind) {
            (Some((open, depth)), TagKind::StartTag) if open == name => *depth += 1,
            (Some((open, depth)), TagKind::EndTag) if open == name => {
                *depth -= 1;
                if *depth == 0 {
                    self.open = None;
                }
            }
            (None, TagKind::StartTag) if is_kind => {
                self.open = Some((name.to_owned(), 1));
                self.count += 1;
            }
            _ => {}
        }
    }

    fn add(&mut self, chars: usize) {
        if self.open.is_some() {
            self.chars += chars;
        }
    }
}

/// Follows the element that is open of some kind, for the writer: the same counting without the sums.
#[derive(Default)]
pub(super) struct Inside(Kind);

impl Inside {
    pub fn tag(&mut self, scope: Scope, name: &str, tag: &Tag) {
        self.0.tag(scope.is(name, tag), name, tag.kind);
    }

    pub fn is_inside(&self) -> bool {
        self.0.open.is_some()
    }
}

#[derive(Default)]
struct Counter {
    all: usize,
    main: Kind,
    article: Kind,
    hidden: Kind,
}

struct Counting(RefCell<Counter>);

impl TokenSink for Counting {
    type Handle = ();

    fn process_token(&self, token: Token, _line_number: u64) -> TokenSinkResult<()> {
        let mut counter = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => {
                let name: &str = &tag.name;
                counter.hidden.tag(
                    !tag.self_closing && (is_hidden(name, &tag) || name == "nav" || name == "title"),
                    name,
                    tag.kind,
                );
                counter.main.tag(Scope::Main.is(name, &tag), name, tag.kind);
                counter.article.tag(Scope::Article.is(name, &tag), name, tag.kind);
                raw_content(&tag, false)
            }
            Token::CharacterTokens(text) if counter.hidden.open.is_none() => {
                let chars = text.chars().filter(|letter| !letter.is_whitespace()).count();
                counter.all += chars;
                counter.main.add(chars);
                counter.article.add(chars);
                TokenSinkResult::Continue
            }
            _ => TokenSinkResult::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_its_content() {
        for (html, scope) in [
            ("<p>all of it", Scope::Whole),
            ("<nav>menu</nav><main>the text</main><footer>foot</footer>", Scope::Main),
            ("<div role=MAIN>the <div>whole</div> text</div><p>foot", Scope::Main),
            ("<p>head<article>the text</article>", Scope::Article),
            ("<article>one</article><article>two</article>", Scope::Whole),
            ("<main></main><p>what they forgot to put into it", Scope::Whole),
            ("<main>x</main><p>far more than stands in what is called so", Scope::Whole),
            ("<main>never closed", Scope::Main),
        ] {
            assert_eq!(Scope::of(html), scope, "{html}");
        }
    }
}
