//! What a process says of itself on `/metrics`.

use anyhow::{Context, Result};
use millrace_harness::Client;

/// The sum over all series of a metric in the process at `url`; 0 where there is none.
///
/// # Errors
/// When it does not answer.
pub async fn metric(url: &str, name: &str) -> Result<f64> {
    let reply = Client::anonymous(url)?.get("/metrics").await?;
    sum(&reply.text(), name)
}

fn sum(page: &str, name: &str) -> Result<f64> {
    let mut total = 0.0;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' '])) else { continue };
        let value = rest.rsplit(' ').next().unwrap_or_default();
        total += value.parse::<f64>().with_context(|| format!("no number in {line:?}"))?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_metric_are_added_up_and_others_left_alone() -> Result<()> {
        let page = "# TYPE a gauge\na{queue=\"x y\"} 2\na{queue=\"z\"} 1.5\nab{queue=\"x\"} 9\nb 4\n";
        assert_eq!((sum(page, "a")?, sum(page, "b")?, sum(page, "none")?), (3.5, 4.0, 0.0));
        Ok(())
    }
}
