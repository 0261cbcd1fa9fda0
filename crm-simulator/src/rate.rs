//! Rates as vendors count them: so many in any span of this length.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// When the last ones came.
#[derive(Debug, Default)]
pub(crate) struct Window {
    came: VecDeque<Instant>,
}

impl Window {
    /// Lets one in, unless so many came within `span` already. What is turned away does not count.
    pub(crate) fn admit(&mut self, now: Instant, limit: u32, span: Duration) -> bool {
        self.forget(now, span);
        if limit > 0 && self.came.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return false;
        }
        self.came.push_back(now);
        true
    }

    /// Counts one; gives how many there were within `span`, with it.
    pub(crate) fn count(&mut self, now: Instant, span: Duration) -> usize {
        self.forget(now, span);
        self.came.push_back(now);
        self.came.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.came.len()
    }

    pub(crate) fn clear(&mut self) {
        self.came.clear();
    }

    fn forget(&mut self, now: Instant, span: Duration) {
        while self.came.front().is_some_and(|came| now.saturating_duration_since(*came) >= span) {
            self.came.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_slides_rather_than_being_emptied_at_whole_seconds() {
        let (mut window, start, second) = (Window::default(), Instant::now(), Duration::from_secs(1));
        let at = |ms| start + Duration::from_millis(ms);
        assert!((0..7).all(|step| window.admit(at(900 + step), 7, second)));
        assert!(!window.admit(at(1100), 7, second), "the seven came 200 ms ago");
        assert!(!window.admit(at(1899), 7, second));
        assert!(window.admit(at(1900), 7, second), "the first one is a second old, and refusals did not count");
    }
}
