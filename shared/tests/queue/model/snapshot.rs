//! What Redis holds, read in one go, and whether it is what the model holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_shared::{
    ids::{JobId, OrgId},
    queue::Meta,
};

use super::state::{Lane, Model};
use crate::support::Rig;

type Scores = BTreeMap<Vec<u8>, f64>;

#[derive(Default)]
pub struct Snapshot {
    pub lanes: BTreeMap<Lane, VecDeque<JobId>>,
    pub rings: BTreeMap<Lane, f64>,
    pub parked: BTreeMap<Lane, f64>,
    delayed: Scores,
    leases: Scores,
    envelopes: BTreeSet<Vec<u8>>,
    metas: BTreeMap<Vec<u8>, String>,
    running: BTreeMap<Vec<u8>, usize>,
    live: usize,
    depth: BTreeMap<String, i64>,
    pub is_idle: bool,
}

fn id(bytes: &[u8]) -> JobId {
    JobId::try_from(bytes).unwrap()
}

impl Snapshot {
    pub async fn read(rig: &Rig, orgs: &[OrgId]) -> Self {
        let key = |name: &str| format!("mr:{{probe}}:{name}");
        let mut pipe = redis::pipe();
        for level in 0..4 {
            pipe.zrange_withscores(key(&format!("ring:{level}")), 0, -1);
            pipe.zrange_withscores(key(&format!("parked:{level}")), 0, -1);
        }
        pipe.zrange_withscores(key("delayed"), 0, -1).zrange_withscores(key("leases"), 0, -1);
        pipe.hkeys(key("job")).hgetall(key("meta")).hgetall(key("running")).hlen(key("live"));
        pipe.hgetall(key("depth")).hexists(key("ctl"), "idle");
        for level in 0..4 {
            for org in orgs {
                pipe.lrange([key(&format!("ready:{level}:")).as_bytes(), org.as_bytes()].concat(), 0, -1);
            }
        }
        let replies: Vec<redis::Value> = pipe.query_async(&mut rig.redis.clone()).await.unwrap();
        let mut replies = replies.into_iter();
        let mut snapshot = Self::default();
        for level in 0..4 {
            let lanes = |scores: Scores| {
                scores.into_iter().map(move |(org, at)| ((level, OrgId::try_from(&*org).unwrap()), at))
            };
            snapshot.rings.extend(lanes(next(&mut replies)));
            snapshot.parked.extend(lanes(next(&mut replies)));
        }
        snapshot.delayed = next(&mut replies);
        snapshot.leases = next(&mut replies);
        snapshot.envelopes = next(&mut replies);
        snapshot.metas = next(&mut replies);
        snapshot.running = next(&mut replies);
        snapshot.live = next(&mut replies);
        snapshot.depth = next(&mut replies);
        snapshot.is_idle = next(&mut replies);
        for level in 0..4 {
            for org in orgs {
                let ids: Vec<Vec<u8>> = next(&mut replies);
                if !ids.is_empty() {
                    snapshot.lanes.insert((level, *org), ids.iter().map(|bytes| id(bytes)).collect());
                }
            }
        }
        snapshot
    }

    /// Redis holds what the model holds, each job in one place, and all counts fit.
    pub fn assert_is(&self, model: &Model) {
        let waiting: BTreeMap<Lane, VecDeque<JobId>> =
            model.lanes.iter().filter(|(_, ids)| !ids.is_empty()).map(|(lane, ids)| (*lane, ids.clone())).collect();
        assert_eq!(self.lanes, waiting, "what is ready, in its order");
        let ids = |scores: &Scores| scores.keys().map(|bytes| id(bytes)).collect::<BTreeSet<_>>();
        let delayed: BTreeSet<JobId> = model.delayed.iter().chain(&model.due).copied().collect();
        assert_eq!(ids(&self.delayed), delayed, "what is delayed");
        assert_eq!(ids(&self.leases), model.held.keys().copied().collect(), "what is leased");
        assert_eq!(self.live, model.held.len(), "who has it");
        let known: BTreeSet<Vec<u8>> = model.jobs.keys().map(|id| id.as_bytes().to_vec()).collect();
        assert_eq!(self.envelopes, known, "one envelope each");
        for (id, known) in &model.jobs {
            let meta = self.metas.get(id.as_bytes().as_slice()).map_or("", String::as_str);
            if model.cancelled.contains(id) {
                assert_eq!(meta, "x", "{id} is marked as cancelled");
            } else {
                let expected = if known.meta == Meta::default() { String::new() } else { known.meta.to_string() };
                assert_eq!(meta, expected, "what {id} has been through");
            }
        }
        assert!(self.metas.keys().all(|id| known.contains(id)), "nothing is left of others");
        let running: BTreeMap<Vec<u8>, usize> =
            (model.jobs.values().map(|known| known.lane.1).collect::<BTreeSet<_>>())
                .into_iter()
                .map(|org| (org.as_bytes().to_vec(), model.running(org)))
                .filter(|(_, count)| *count > 0)
                .collect();
        assert_eq!(self.running, running, "who runs how many");
        for level in 0..4_u8 {
            let ready: usize = waiting.iter().filter(|(lane, _)| lane.0 == level).map(|(_, ids)| ids.len()).sum();
            let counted = self.depth.get(&level.to_string()).copied().unwrap_or(0);
            assert_eq!(counted, i64::try_from(ready).unwrap(), "the depth of level {level}");
        }
        self.assert_everybody_is_served_some_time(model);
    }

    /// Who has ready jobs is in its ring, or is parked and something of it runs whose end brings it back.
    fn assert_everybody_is_served_some_time(&self, model: &Model) {
        for lane in self.lanes.keys() {
            // It may be in both, where it got a job after it was parked without any.
            assert!(self.rings.contains_key(lane) || self.parked.contains_key(lane), "{lane:?} has lost its turn");
        }
        for lane in self.parked.keys() {
            assert!(model.running(lane.1) > 0, "nothing brings {lane:?} back");
        }
    }
}

fn next<T: redis::FromRedisValue>(replies: &mut impl Iterator<Item = redis::Value>) -> T {
    redis::from_redis_value(replies.next().unwrap()).unwrap()
}
