use clap::{Args, Subcommand};
use millrace_shared::{
    db::{Cursor, PageRequest},
    ids::{OrgId, ScheduleId},
};

#[derive(Debug, Subcommand)]
pub enum SchedulesCommand {
    /// Schedules, the newest first
    List(ListSchedules),
    /// A schedule with its payload and its next ticks
    Show {
        /// Its id
        id: ScheduleId,
    },
    /// Let schedules make no jobs for now; what they have submitted goes on
    Pause {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<ScheduleId>,
    },
    /// Let them go on with the next tick; what would have ticked meanwhile is not caught up
    Resume {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<ScheduleId>,
    },
    /// Delete schedules for good; what they have submitted goes on
    Delete {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<ScheduleId>,
    },
    /// Submit a schedule's job now, out of turn; its id alone is on standard output
    Run {
        /// The schedule
        id: ScheduleId,
    },
}

#[derive(Debug, Args)]
pub struct ListSchedules {
    /// Only this organisation's
    #[arg(long, value_name = "UUID")]
    pub org: Option<OrgId>,
    /// At most so many, 1 to 10000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub limit: u16,
    /// Only older ones than this schedule: the last one of the page before
    #[arg(long, value_name = "ID")]
    pub before: Option<ScheduleId>,
    /// More columns: counters, the last job and the organisation
    #[arg(long)]
    pub wide: bool,
}

impl ListSchedules {
    /// The page, as the ledger is asked for it.
    pub fn request(&self) -> PageRequest {
        PageRequest { after: self.before.map(|id| Cursor::after(id.0)), limit: self.limit }
    }
}
