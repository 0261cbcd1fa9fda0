use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_shared::{
    config::ScheduleLimits,
    ids::{JobId, OrgId, ScheduleId},
    jobs::{KindSet, Kinds, Priority},
    schedules::{self, Draft},
};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::place::Place;

async fn make(place: &Place, org: OrgId, name: &str, cron: Option<&str>) -> Result<ScheduleId> {
    let draft = Draft {
        name: name.to_owned(),
        kind: "probe".to_owned(),
        payload: json!({ "sleep_ms": 5 }),
        priority: Priority::Normal,
        unique: true,
        every: cron.is_none().then(|| "15m".to_owned()),
        cron: cron.map(str::to_owned),
        time_zone: cron.map(|_| "Europe/Berlin".to_owned()),
    };
    let kinds = Kinds::new(KindSet::WorkAndProbe);
    let limits = ScheduleLimits { min_interval: Duration::from_secs(1), most: 100 };
    let mut connection = place.connection().await?;
    let mut transaction = connection.begin().await?;
    let made = schedules::create(&mut transaction, org, draft, (&kinds, &limits)).await?;
    transaction.commit().await?;
    Ok(made.id)
}

#[tokio::test]
async fn a_list_shows_when_each_ticks_and_a_page_goes_on_where_it_ended() -> Result<()> {
    let place = Place::new().await?;
    let other = place.new_org().await?;
    let every = make(&place, place.org, "Weir\u{1b}[2J", None).await?;
    let cron = make(&place, place.org, "Mornings", Some("30 8 * * mon-fri")).await?;
    make(&place, other, "Theirs", None).await?;
    let org = place.org.to_string();

    let table = place.run(&["schedules", "list", "--org", &org]).await?.ok();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("ID") && lines[0].contains("WHEN") && lines[0].ends_with("NAME"), "{table}");
    assert!(lines[1].contains("30 8 * * mon-fri Europe/Berlin") && lines[1].ends_with("Mornings"), "{table}");
    assert!(lines[2].contains("every 15m") && lines[2].contains("in 14m") && lines[2].contains("open"), "{table}");
    assert!(!table.contains('\u{1b}'));
    assert_eq!(place.run(&["schedules", "list"]).await?.ok().lines().count(), 4);
    assert!(place.run(&["schedules", "list", "--wide"]).await?.ok().contains("SKIPPED"));

    let first = place.run(&["schedules", "list", "--org", &org, "--limit", "1", "--json"]).await?;
    assert!(first.stderr.contains(&format!("--before {cron}")), "{first:?}");
    let next = place.run(&["schedules", "list", "--org", &org, "--before", &cron.to_string(), "--json"]).await?;
    assert_eq!((&first.objects()[0]["id"], &next.objects()[0]["id"]), (&json!(cron), &json!(every)));
    let nobody = OrgId::new().to_string();
    assert!(place.run(&["schedules", "list", "--org", &nobody]).await?.stderr.contains("no schedules"));
    Ok(())
}

#[tokio::test]
async fn one_is_shown_with_its_next_ticks_and_its_payload() -> Result<()> {
    let place = Place::new().await?;
    let id = make(&place, place.org, "Mornings", Some("30 8 * * mon-fri")).await?.to_string();
    let shown = place.run(&["schedules", "show", &id]).await?.ok();
    assert_eq!(shown.matches("T08:30:00+0").count(), 5, "by the clocks of Berlin:\n{shown}");
    for text in ["Mornings", "probe (normal)", "one job at a time", "0 fired, 0 skipped, 0 missed", r#"{"sleep_ms":5}"#]
    {
        assert!(shown.contains(text), "{text} in:\n{shown}");
    }
    let document = place.run(&["schedules", "show", &id, "--json"]).await?.document();
    assert_eq!((&document["payload"], &document["time_zone"]), (&json!({ "sleep_ms": 5 }), &json!("Europe/Berlin")));

    let mark = "UPDATE schedules SET error_class = 'refused', error = $1, failed_at = now()";
    let error = "payload.sleep_ms: is\u{1b}[31m wrong";
    sqlx::query(mark).bind(error).execute(&mut place.connection().await?).await?;
    let shown = place.run(&["schedules", "show", &id]).await?.ok();
    assert!(shown.contains("failing") && shown.contains("refused: payload.sleep_ms: is[31m wrong"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn they_are_paused_resumed_and_deleted_one_by_one() -> Result<()> {
    let place = Place::new().await?;
    let one = make(&place, place.org, "one", None).await?.to_string();
    let two = make(&place, place.org, "two", None).await?.to_string();
    let nobody = ScheduleId::new().to_string();
    let paused = place.run(&["schedules", "pause", &one, &nobody, &two]).await?;
    assert_eq!((paused.code, paused.stdout.trim()), (3, format!("paused {one}\npaused {two}").as_str()), "{paused:?}");
    assert!(paused.stderr.contains(&nobody));
    let is_paused = async |id: &str| -> Result<Value> {
        Ok(place.run(&["schedules", "show", id, "--json"]).await?.document()["paused"].clone())
    };
    assert_eq!((is_paused(&one).await?, is_paused(&two).await?), (json!(true), json!(true)));
    let resumed = place.run(&["schedules", "resume", &one, "--json"]).await?.document();
    assert_eq!((&resumed["id"], &resumed["paused"]), (&json!(one), &json!(false)));
    assert_eq!(place.run(&["schedules", "delete", &two]).await?.ok(), format!("deleted {two}"));
    place.run(&["schedules", "show", &two]).await?.fails(3);
    place.run(&["schedules", "delete", &two]).await?.fails(3);
    Ok(())
}

#[tokio::test]
async fn running_one_gives_its_job_and_redis_has_it() -> Result<()> {
    let place = Place::new().await?;
    let id = make(&place, place.org, "one", None).await?.to_string();
    let ran = place.run(&["schedules", "run", &id]).await?;
    assert!(ran.stderr.contains("accepted"), "{ran:?}");
    let job: JobId = ran.ok().parse().context("the id stands alone")?;
    let missing = place.queues()?.missing("probe".parse()?, &[job]).await?;
    assert!(missing.is_empty());
    let again = place.run(&["schedules", "run", &id, "--json"]).await?;
    assert!(again.stderr.contains("has not ended"), "{again:?}");
    assert_eq!(again.document()["id"], json!(job));
    place.run(&["schedules", "run", &ScheduleId::new().to_string()]).await?.fails(3);
    Ok(())
}
