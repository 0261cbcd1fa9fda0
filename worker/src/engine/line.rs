//! The order in which claimed jobs get slots: by turns of their organisations.
//!
//! A claim brings what is everybody's share by now, but what was claimed before it still waits. If the line were one of arrival, the first job
//! of a quiet organisation would wait for all that a busy one has in it; so each organisation has one job in each round.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use millrace_shared::ids::OrgId;

use super::run::Run;

/// Jobs that wait for slots.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// By round, and within it by arrival.
    runs: BTreeMap<(u64, u64), Run>,
    /// The round that is being served.
    round: u64,
    arrivals: u64,
    /// The last round in which each organisation has a job.
    last: HashMap<OrgId, u64>,
}

impl Line {
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Puts a job into the first round in which its organisation has none.
    pub(crate) fn push(&mut self, run: Run) {
        let round = self.last.get(&run.info.org).map_or(self.round, |last| self.round.max(last + 1));
        self.last.insert(run.info.org, round);
        self.runs.insert((round, self.arrivals), run);
        self.arrivals += 1;
    }

    /// Whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Run> {
        let ((round, _), run) = self.runs.pop_first()?;
        self.round = round;
        if self.runs.is_empty() {
            // Whoever comes next owes nothing to what has gone.
            self.last.clear();
        } else if self.last.len() > 2 * self.runs.len() + 64 {
            self.last.retain(|_, last| *last >= round);
        }
        Some(run)
    }

    /// When the job was claimed that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.runs.values().map(|run| run.claimed_at).min()
    }

    /// Takes out what was claimed at least so long ago.
    pub(crate) fn take_older_than(&mut self, age: Duration) -> Vec<Run> {
        self.runs.extract_if(.., |_, run| run.claimed_at.elapsed() >= age).map(|(_, run)| run).collect()
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.runs).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orgs(line: &mut Line) -> Vec<OrgId> {
        std::iter::from_fn(|| line.pop()).map(|run| run.info.org).collect()
    }

    #[test]
    fn who_comes_late_with_one_job_is_next_and_a_flood_goes_on_after_it() {
        let (busy, quiet, other) = (OrgId::new(), OrgId::new(), OrgId::new());
        let mut line = Line::default();
        (0..100).for_each(|_| line.push(Run::sample(busy, None)));
        let served: Vec<_> = (0..10).filter_map(|_| line.pop()).collect();
        assert_eq!(served.len(), 10);
        line.push(Run::sample(quiet, None));
        line.push(Run::sample(other, None));
        let next = orgs(&mut line);
        assert_eq!(next[..2], [quiet, other], "behind nobody but those of its round");
        assert_eq!((next.len(), next[2..].iter().all(|org| *org == busy)), (92, true));
    }

    #[test]
    fn an_organisations_own_jobs_keep_their_order_and_idleness_earns_nothing() {
        let (one, two) = (OrgId::new(), OrgId::new());
        let mut line = Line::default();
        let runs: Vec<_> = (0..3).map(|_| Run::sample(one, None)).collect();
        let ids: Vec<_> = runs.iter().map(|run| run.info.lease.id).collect();
        runs.into_iter().for_each(|run| line.push(run));
        let in_order: Vec<_> = std::iter::from_fn(|| line.pop()).map(|run| run.info.lease.id).collect();
        assert_eq!(in_order, ids);
        for org in [one, one, two, two] {
            line.push(Run::sample(org, None));
        }
        assert_eq!(orgs(&mut line), [one, two, one, two]);
    }

    #[test]
    fn of_organisations_that_have_gone_nothing_is_kept() {
        let (busy, mut line) = (OrgId::new(), Line::default());
        line.push(Run::sample(busy, None));
        for _ in 0..10_000 {
            line.push(Run::sample(OrgId::new(), None));
            line.push(Run::sample(busy, None));
            drop((line.pop(), line.pop()));
        }
        assert_eq!(line.len(), 1);
        assert!(line.last.len() < 200, "{}", line.last.len());
    }
}
