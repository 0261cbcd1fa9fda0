//! How answers look: tables, times, questions.

mod ask;
mod table;
mod text;
mod time;

pub use ask::{confirm, progress};
pub use table::{Cell, Column, Table};
pub use text::{block, count, one_line};
pub use time::{age, ago, duration, stamp};

use millrace_shared::views::State;

/// A meaning, shown as a colour where colours are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    Plain,
    Faint,
    Good,
    Busy,
    Doubtful,
    Bad,
}

impl Tone {
    /// The tone of a job's state.
    pub fn of_state(state: State) -> Self {
        match state {
            State::Queued => Self::Plain,
            State::Delayed | State::Cancelled => Self::Faint,
            State::Running => Self::Busy,
            State::Succeeded => Self::Good,
            State::Dead => Self::Bad,
        }
    }

    /// `text` in this tone, for standard output.
    pub fn paint(self, text: &str) -> String {
        let styled = console::style(text);
        match self {
            Self::Plain => styled,
            Self::Faint => styled.dim(),
            Self::Good => styled.green(),
            Self::Busy => styled.cyan(),
            Self::Doubtful => styled.yellow(),
            Self::Bad => styled.red(),
        }
        .to_string()
    }
}
