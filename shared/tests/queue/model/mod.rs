//! Random operations against a small model of what a queue is.
//!
//! The model knows where every job is, in which order a lane is served, what every limit allows, and how far an organisation's virtual time
//! moves; whose turn it is it does not know, but it knows what a claim must not do to anybody. After every step Redis must hold exactly
//! what the model does, each job in one place. Time does not pass by waiting: leases and delays run out because their times are
//! written into the past.
//!
//! A failure is shrunk to the shortest run of operations that shows it, which is printed.

mod rules;
mod run;
mod snapshot;
mod state;

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};

use self::run::Run;

/// How many organisations take part.
pub const ORGS: usize = 4;

/// One operation. An [`Index`] chooses among what is there when its turn comes.
#[derive(Clone, Debug)]
pub enum Op {
    Push(Vec<NewJob>),
    PushAgain(Index),
    Claim { want: usize },
    Settle(Index),
    Extend(Index),
    GiveBack(Index, Back),
    HandBackAll,
    Expire(Index),
    ComeDue(Index),
    Cancel(Index),
    Replace(Index),
    Replay(Index),
    Settings { is_paused: bool, concurrency: Option<u32>, org_concurrency: Option<u32> },
    Organisation { org: usize, weight: Option<u16>, concurrency: Option<u32> },
    LoseEverything,
}

#[derive(Clone, Copy, Debug)]
pub struct NewJob {
    pub org: usize,
    pub priority: usize,
    pub is_delayed: bool,
    pub attempt: u32,
}

/// How a run ends without its job's end.
#[derive(Clone, Copy, Debug)]
pub enum Back {
    Retry,
    RetryNow,
    Snooze,
    ToTheFront,
    /// What the gate does with a job over its kind's rate.
    PutOff,
}

fn new_job() -> impl Strategy<Value = NewJob> {
    (0..ORGS, 0..4_usize, prop::bool::weighted(0.2), 0..3_u32).prop_map(|(org, priority, is_delayed, attempt)| NewJob {
        org,
        priority,
        is_delayed,
        attempt,
    })
}

fn back() -> impl Strategy<Value = Back> {
    prop::sample::select(vec![Back::Retry, Back::RetryNow, Back::Snooze, Back::ToTheFront, Back::PutOff])
}

fn limit(most: u32) -> impl Strategy<Value = Option<u32>> {
    prop::option::of(1..most)
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    let settings = (prop::bool::weighted(0.15), limit(20), limit(6));
    let organisation = (0..ORGS, prop::option::of(1..9_u16), limit(8));
    prop_oneof![
        22 => vec(new_job(), 1..8).prop_map(Op::Push),
        2 => index().prop_map(Op::PushAgain),
        34 => prop::sample::select(vec![1, 2, 5, 50]).prop_map(|want| Op::Claim { want }),
        14 => index().prop_map(Op::Settle),
        5 => index().prop_map(Op::Extend),
        10 => (index(), back()).prop_map(|(index, back)| Op::GiveBack(index, back)),
        1 => Just(Op::HandBackAll),
        6 => index().prop_map(Op::Expire),
        5 => index().prop_map(Op::ComeDue),
        6 => index().prop_map(Op::Cancel),
        3 => index().prop_map(Op::Replace),
        3 => index().prop_map(Op::Replay),
        4 => settings.prop_map(|(is_paused, concurrency, org_concurrency)| Op::Settings {
            is_paused, concurrency, org_concurrency
        }),
        5 => organisation.prop_map(|(org, weight, concurrency)| Op::Organisation { org, weight, concurrency }),
        1 => Just(Op::LoseEverything),
    ]
}

/// Runs so many sequences of up to `steps` operations, each against an empty Redis.
fn check(cases: u32, steps: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rig = runtime.block_on(crate::support::Rig::start());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let outcome = TestRunner::new(config).run(&vec(op(), 1..steps), |ops| {
        runtime.block_on(async {
            let mut run = Run::new(&rig).await;
            for op in ops {
                run.step(op).await;
            }
            run.finish().await;
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn random_operations_leave_every_job_in_exactly_one_place_and_keep_every_limit() {
    check(40, 120);
}

#[test]
#[ignore = "takes a minute"]
fn many_more_random_operations_do_so_too() {
    check(250, 250);
}
