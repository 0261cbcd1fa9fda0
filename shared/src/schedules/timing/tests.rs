use proptest::prelude::*;

use super::*;

fn every(text: &str) -> Timing {
    Timing::read(Some(text), None, None).expect("an interval")
}

fn cron(text: &str, zone: &str) -> Timing {
    Timing::read(None, Some(text), Some(zone)).expect("a cron expression")
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

/// The ticks after a time, on the clocks of the time zone.
fn ticks(timing: &Timing, after: &str, count: usize) -> Vec<String> {
    let first = timing.next(utc(after), utc(after)).expect("a tick");
    timing.upcoming(first, count).iter().map(|tick| tick.format("%m-%d %H:%M %z").to_string()).collect()
}

fn fields(every: Option<&str>, cron: Option<&str>, zone: Option<&str>) -> Vec<String> {
    let errors = Timing::read(every, cron, zone).expect_err("it should be refused");
    errors.into_iter().map(|error| error.field).collect()
}

#[test]
fn an_interval_keeps_its_phase_however_late_it_is_seen() {
    let timing = every("15m");
    let tick = utc("2026-11-21T08:00:00.123456Z");
    let next = |now: &str| timing.next(tick, utc(now)).expect("a tick");
    assert_eq!(next("2026-11-21T08:00:00.123456Z"), utc("2026-11-21T08:15:00.123456Z"));
    assert_eq!(next("2026-11-21T08:00:03Z"), utc("2026-11-21T08:15:00.123456Z"));
    assert_eq!(
        next("2026-11-21T08:15:00.123456Z"),
        utc("2026-11-21T08:30:00.123456Z"),
        "the next one is later than now"
    );
    assert_eq!(next("2026-11-24T09:50:00Z"), utc("2026-11-24T10:00:00.123456Z"));
    assert_eq!(next("2026-11-20T00:00:00Z"), tick, "one that is still to come is not passed over");
}

#[test]
fn what_was_missed_is_counted() {
    let tick = utc("2026-11-21T08:00:00Z");
    for timing in [every("1h"), cron("0 * * * *", "UTC")] {
        assert_eq!(timing.missed(tick, utc("2026-11-21T08:00:01Z")), 0);
        assert_eq!(timing.missed(tick, utc("2026-11-21T09:00:00Z")), 1);
        assert_eq!(timing.missed(tick, utc("2026-11-23T08:30:00Z")), 48);
        assert_eq!(timing.missed(tick, utc("2026-11-21T07:00:00Z")), 0);
    }
    assert_eq!(cron("* * * * *", "UTC").missed(tick, utc("2027-11-21T08:00:00Z")), MOST_COUNTED);
}

#[test]
fn a_cron_expression_is_read_as_people_read_it() {
    let timing = cron("*/20 8-9 * * mon-fri", "Europe/Berlin");
    // A Friday evening; the clocks there show one hour more.
    let days =
        ["11-23 08:00 +0100", "11-23 08:20 +0100", "11-23 08:40 +0100", "11-23 09:00 +0100", "11-23 09:20 +0100"];
    assert_eq!(ticks(&timing, "2026-11-20T20:00:00Z", 5), days);
    // Both days restricted: either will do, as cron has always had it.
    assert_eq!(
        ticks(&cron("0 0 13 * fri", "UTC"), "2026-11-01T00:00:00Z", 3),
        ["11-06 00:00 +0000", "11-13 00:00 +0000", "11-20 00:00 +0000"]
    );
    assert_eq!(
        ticks(&cron("0 12 L * *", "UTC"), "2027-02-01T00:00:00Z", 2),
        ["02-28 12:00 +0000", "03-31 12:00 +0000"]
    );
    assert_eq!(ticks(&cron("@daily", "Asia/Kathmandu"), "2026-11-21T18:15:00Z", 1), ["11-23 00:00 +0545"]);
    assert_eq!(ticks(&cron("0 0 29 2 *", "UTC"), "2026-11-21T00:00:00Z", 1), ["02-29 00:00 +0000"]);
}

/// Europe/Berlin, 28 March 2027: at 02:00 the clocks are put to 03:00.
#[test]
fn a_local_time_that_does_not_exist_comes_when_the_clocks_have_jumped() {
    let before = "2027-03-27T12:00:00Z";
    assert_eq!(
        ticks(&cron("30 2 * * *", "Europe/Berlin"), before, 3),
        ["03-28 03:00 +0200", "03-29 02:30 +0200", "03-30 02:30 +0200"]
    );
    // What ticks all the time has no time to make up for.
    assert_eq!(
        ticks(&cron("*/30 * * * *", "Europe/Berlin"), "2027-03-28T00:15:00Z", 3),
        ["03-28 01:30 +0100", "03-28 03:00 +0200", "03-28 03:30 +0200"]
    );
    assert_eq!(
        ticks(&cron("0 */2 * * *", "Europe/Berlin"), "2027-03-27T22:30:00Z", 3),
        ["03-28 00:00 +0100", "03-28 04:00 +0200", "03-28 06:00 +0200"]
    );
}

/// Europe/Berlin, 31 October 2027: at 03:00 the clocks are put to 02:00.
#[test]
fn a_local_time_that_exists_twice_comes_once_unless_it_is_one_of_many() {
    assert_eq!(
        ticks(&cron("30 2 * * *", "Europe/Berlin"), "2027-10-30T12:00:00Z", 2),
        ["10-31 02:30 +0200", "11-01 02:30 +0100"]
    );
    assert_eq!(
        ticks(&cron("*/30 * * * *", "Europe/Berlin"), "2027-10-30T23:45:00Z", 6),
        [
            "10-31 02:00 +0200",
            "10-31 02:30 +0200",
            "10-31 02:00 +0100",
            "10-31 02:30 +0100",
            "10-31 03:00 +0100",
            "10-31 03:30 +0100"
        ]
    );
}

#[test]
fn an_interval_knows_no_clocks() {
    let first = utc("2027-03-28T00:30:00Z");
    let upcoming = every("1h").upcoming(first, 3);
    assert!(upcoming.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::hours(1)), "{upcoming:?}");
}

#[test]
fn what_is_wrong_is_told_by_its_field() {
    assert_eq!(fields(None, None, None), ["every"]);
    assert_eq!(fields(Some("15m"), Some("* * * * *"), None), ["cron"]);
    assert_eq!(fields(Some("15m"), None, Some("UTC")), ["time_zone"]);
    assert_eq!(fields(None, Some("* * * * *"), Some("Berlin")), ["time_zone"]);
    assert_eq!(fields(None, Some("nonsense"), Some("Nowhere/At_All")), ["cron", "time_zone"]);
    for text in ["", "15", "m", "-1m", "1.5h", "15 m", "15ms", "2w", "0s", "367d", "99999999999d", "९m"] {
        assert_eq!(fields(Some(text), None, None), ["every"], "{text}");
    }
    for text in [
        "",
        "* * * *",
        "0 * * * * *",
        "0 0 1 1 * 2027",
        "60 * * * *",
        "* 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "5/5 * * * *",
        "*/0 * * * *",
        "30-10 * * * *",
        "0 0 30 2 *",
        "@reboot",
        "@daily * * * *",
        "0 8 * * mon-fry",
        "ä * * * *",
    ] {
        assert_eq!(fields(None, Some(text), None), ["cron"], "{text}");
    }
    let told = &Timing::read(None, Some("0 0 * * * *"), None).expect_err("six fields")[0];
    assert!(told.message.contains("five fields") && told.message.contains("not 6"), "{told}");
}

#[test]
fn what_is_stored_is_read_back() {
    for timing in [every("90s"), every("36h"), cron(" 0 8 * * mon-fri ", "Europe/Berlin"), cron("@hourly", "UTC")] {
        let stored = timing.stored();
        let restored = Timing::restore(stored.every_seconds, stored.cron.as_deref(), stored.time_zone.as_deref());
        assert_eq!(restored.expect("what was stored").stored(), stored);
    }
    for (given, told) in [("90s", "90s"), ("120s", "2m"), ("36h", "36h"), ("48h", "2d"), ("7d", "7d")] {
        assert_eq!(given.parse::<Every>().expect("an interval").to_string(), told);
    }
}

#[test]
fn the_shortest_interval_of_what_ticks_in_bursts_is_that_of_the_burst() {
    let shortest = |timing: &Timing| timing.shortest_interval(utc("2026-11-21T10:00:00Z")).expect("ticks").as_secs();
    assert_eq!(shortest(&every("10s")), 10);
    assert_eq!(shortest(&cron("0,5 8 * * mon", "UTC")), 300);
    assert_eq!(shortest(&cron("0 0 1 * *", "UTC")), 28 * 86_400);
}

/// A part of a cron expression: a list of numbers, ranges and steps.
fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        (low..=high).prop_map(|number| number.to_string()),
        (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (1..=high).prop_map(|step| format!("*/{step}")),
    ];
    let list = proptest::collection::vec(part, 1..3).prop_map(|parts| parts.join(","));
    prop_oneof![Just("*".to_owned()), list]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Days on which clocks are put forward or back are among the times, to the minute.
    #[test]
    fn the_next_tick_is_always_there_and_always_later(
        (minute, hour, weekday) in (field(0, 59), field(0, 23), field(0, 7)),
        zone in proptest::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"]),
        (day, seconds, millis) in (0..400_i64, 0..86_400_i64, 0..1_000_i64),
    ) {
        let timing = cron(&format!("{minute} {hour} * * {weekday}"), zone);
        let mut now = utc("2026-09-01T00:00:00Z") + TimeDelta::days(day) + TimeDelta::seconds(seconds) + TimeDelta::milliseconds(millis);
        for _ in 0..20 {
            let next = timing.next(now, now).expect("a tick");
            prop_assert!(next > now, "{next} is not after {now}");
            prop_assert_eq!(next.timestamp() % 60, 0);
            now = next;
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", zone in "\\PC{0,20}") {
        let _ = Timing::read(None, Some(&text), Some(&zone));
        let _ = Timing::read(Some(&text), None, None);
    }

    #[test]
    fn no_text_of_cron_letters_makes_it_panic(text in "[0-9*/,#LW+?@a-z -]{0,30}") {
        if let Ok(timing) = Timing::read(None, Some(&text), None) {
            let now = utc("2026-11-21T10:00:00Z");
            if let Some(next) = timing.next(now, now) {
                prop_assert!(next > now);
            }
        }
    }
}
