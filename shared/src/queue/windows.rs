//! Windows in Redis: no more than so many calls arrive at a place in any period, whoever makes them and however long each is under way.
//!
//! [Rates](super::rates) say when a job may begin. That is not enough for a server that counts what arrives: of two calls that begin at their times one may
//! be held up, and arrive with the next. So a call counts from before it is made until a period after its answer. That wastes what a call takes.

use std::time::Duration;

use redis::RedisResult;
use uuid::Uuid;

use super::{Queues, RateKey};
use crate::jobs::Rate;

/// A call that is under way within a window.
#[derive(Debug)]
#[must_use = "it counts until it is told to have left"]
pub struct Entered {
    key: RateKey,
    id: Uuid,
    period: Duration,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Queues {
    /// Enters a window of `rate`, or says after how long somebody will have left it at the latest. A call that never leaves counts for `longest`.
    ///
    /// # Errors
    /// Redis is away, or has no memory left.
    pub async fn enter_window(
        &self,
        key: &RateKey,
        rate: Rate,
        longest: Duration,
    ) -> RedisResult<Result<Entered, Duration>> {
        let period = Duration::from_millis(rate.period_ms);
        let entered = Entered { key: key.clone(), id: Uuid::now_v7(), period };
        let mut call = self.scripts.window.key("mr:{rate}:ctl");
        call.arg("enter").arg(&key.0).arg(entered.id.as_bytes()).arg(rate.count).arg(ms(longest + period));
        let wait: u64 = self.run(&call).await?;
        Ok(if wait == 0 { Ok(entered) } else { Err(Duration::from_millis(wait)) })
    }

    /// Leaves a window: the answer is there.
    ///
    /// # Errors
    /// Redis is away, or has no memory left. Then the call counts for longer than it would have to.
    pub async fn leave_window(&self, entered: Entered) -> RedisResult<()> {
        let mut call = self.scripts.window.key("mr:{rate}:ctl");
        call.arg("leave").arg(&entered.key.0).arg(entered.id.as_bytes()).arg(ms(entered.period));
        let _: u64 = self.run(&call).await?;
        Ok(())
    }
}
