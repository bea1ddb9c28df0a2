use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Weekday};

use super::*;
use crate::config::hours::TimeRule;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The second of a time at which no clock is ahead.
fn utc(text: &str) -> i64 {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc().timestamp()
}

/// The second at which a month's last Sunday, or the one of this number, has this hour (UTC).
fn sunday(year: i32, month: u32, number: Option<usize>, hour: i64) -> i64 {
    let first = utc(&format!("{year}-{month:02}-01 00:00"));
    let sundays = (0..31).map(|day| DateTime::from_timestamp(first + day * DAY, 0).unwrap());
    let sundays = sundays.filter(|day| day.weekday() == Weekday::Sun && day.month() == month);
    let sundays: Vec<i64> = sundays.map(|day| day.timestamp()).collect();
    sundays[number.unwrap_or(sundays.len()) - 1] + hour * HOUR
}

/// A zone: from which second on its clocks are ahead for how many.
struct Zone(Vec<(i64, i64)>);

impl Zone {
    fn fixed(ahead: i64) -> Zone {
        Zone(vec![(i64::MIN, ahead)])
    }

    /// One whose clocks are changed twice a year.
    fn with_summer(changes: impl Fn(i32) -> [(i64, i64); 2]) -> Zone {
        let mut all = vec![(i64::MIN, changes(2020)[1].1)];
        all.extend((2020..2040).flat_map(changes));
        Zone(all)
    }

    /// Forward at 02:00 on the last Sunday of March, back at 03:00 on that of October.
    fn berlin() -> Zone {
        Zone::with_summer(|year| [(sunday(year, 3, None, 1), 2 * HOUR), (sunday(year, 10, None, 1), HOUR)])
    }

    /// Forward at 02:00 on the second Sunday of March, back at 02:00 on the first of November.
    fn new_york() -> Zone {
        Zone::with_summer(|year| [(sunday(year, 3, Some(2), 7), -4 * HOUR), (sunday(year, 11, Some(1), 6), -5 * HOUR)])
    }

    /// By half an hour, in the south: back at 02:00 on the first Sunday of April, forward at 02:00 on that of October.
    fn lord_howe() -> Zone {
        let forward = |year| sunday(year, 10, Some(1), -8) - HOUR / 2;
        Zone::with_summer(|year| [(sunday(year, 4, Some(1), -9), 21 * HOUR / 2), (forward(year), 11 * HOUR)])
    }

    /// At midnight: there is no hour after it on a Sunday of September, and two before it on one of April.
    fn santiago() -> Zone {
        Zone::with_summer(|year| [(sunday(year, 4, Some(1), 3), -4 * HOUR), (sunday(year, 9, Some(1), 4), -3 * HOUR)])
    }

    /// There was no 30th of December in 2011.
    fn apia() -> Zone {
        Zone(vec![(i64::MIN, -10 * HOUR), (utc("2011-12-30 10:00"), 14 * HOUR)])
    }

    fn ahead(&self, second: i64) -> i64 {
        self.0[self.0.partition_point(|(from, _)| *from <= second) - 1].1
    }
}

/// Days, Monday first, and a range of times as they are written.
type Rule = (&'static str, &'static str, &'static str);

const RULES: [&[Rule]; 5] = [
    &[("Mon,Tue,Wed,Thu,Fri", "08:00", "12:00"), ("Mon,Tue,Wed,Thu,Fri", "12:45", "18:00")],
    &[("Sat,Sun", "22:00", "06:00"), ("Sun", "01:00", "02:30")],
    &[(DAILY, "02:15", "03:30")],
    &[("Sun", "00:00", "24:00"), ("Sat", "23:30", "00:15"), ("Wed", "23:45", "24:00")],
    &[("Thu,Fri,Sat", "20:00", "19:45"), ("Mon", "00:00", "00:15")],
];

const DAILY: &str = "Mon,Tue,Wed,Thu,Fri,Sat,Sun";

/// A calendar on the wall and the clock beside it: each range by itself, on its day and the next.
struct Model(Vec<([bool; 7], u32, u32)>);

impl Model {
    fn new(rules: &[Rule]) -> Model {
        let minute = |text: &str| text[..2].parse::<u32>().unwrap() * 60 + text[3..].parse::<u32>().unwrap();
        let has = |days: &str| DAILY.split(',').map(|day| days.contains(day)).collect::<Vec<_>>().try_into().unwrap();
        Model(rules.iter().map(|(days, from, to)| (has(days), minute(from), minute(to))).collect())
    }

    fn says(&self, zone: &Zone, second: i64) -> bool {
        let shown = DateTime::from_timestamp(second + zone.ahead(second), 0).unwrap();
        let (today, yesterday) = (shown.weekday(), shown.weekday().pred());
        let [today, yesterday] = [today, yesterday].map(|day| day.num_days_from_monday() as usize);
        let time = shown.hour() * 60 + shown.minute();
        self.0.iter().any(|&(days, from, to)| match from < to {
            true => days[today] && (from..to).contains(&time),
            false => days[today] && from <= time || days[yesterday] && time < to,
        })
    }
}

fn week(rules: &[Rule]) -> Week {
    let rule = |(days, from, to): &Rule| TimeRule::parse(&format!("{days} {from}-{to}")).unwrap();
    Week::new(&rules.iter().map(rule).collect::<Vec<_>>()).unwrap()
}

/// Each quarter of an hour of ten years, in zones with all there is: each answer holds as long as it says, and no longer.
#[test]
fn answers_are_those_of_a_calendar_for_ten_years() {
    const QUARTER: usize = 15 * 60;
    let zones = [
        (Zone::fixed(0), "2025-01-01 00:00"),
        (Zone::fixed(5 * HOUR + 45 * 60), "2025-01-01 00:00"),
        (Zone::berlin(), "2025-01-01 00:00"),
        (Zone::new_york(), "2026-01-01 00:00"),
        (Zone::lord_howe(), "2024-01-01 00:00"),
        (Zone::santiago(), "2025-01-01 00:00"),
        (Zone::apia(), "2006-01-01 00:00"),
    ];
    for (number, (zone, start)) in zones.iter().enumerate() {
        // Two lists of rules in each zone, and every list in some.
        for rules in [RULES[number % 5], RULES[(number + 2) % 5]] {
            let (week, model) = (week(rules), Model::new(rules));
            let (mut now, end) = (utc(start), utc(start) + 3653 * DAY);
            let mut open = 0;
            while now < end {
                let (is_open, holds) = look(&week, now * 1000, 86_400_000, |second| zone.ahead(second));
                let until = now + holds as i64 / 1000;
                assert!(holds > 0 && holds % 1000 == 0, "{number} {now} {holds}");
                // All times and all changes are at full quarters.
                for second in (now..until).step_by(QUARTER) {
                    assert_eq!(model.says(zone, second), is_open, "zone {number}, {second}, {rules:?}");
                }
                let clocks_change = zone.ahead(until) != zone.ahead(now);
                assert!(
                    until - now == DAY || clocks_change || model.says(zone, until) != is_open,
                    "zone {number}, {now} to {until}, {rules:?}"
                );
                open += if is_open { until - now } else { 0 };
                now = until;
            }
            assert!((DAY..3600 * DAY).contains(&open), "zone {number}, {rules:?}: open for {open} s");
        }
    }
}

/// When a range is open, in the time that clocks without summer time show.
fn open(rule: Rule, from: &str, to: &str) -> Vec<String> {
    let zone = Zone::berlin();
    let week = week(&[rule]);
    let (mut now, end) = (utc(from), utc(to));
    let mut changes = Vec::new();
    let mut was_open = false;
    while now < end {
        let (is_open, holds) = look(&week, now * 1000, LOOK_AGAIN, |second| zone.ahead(second));
        if is_open != was_open {
            changes.push(DateTime::from_timestamp(now, 0).unwrap().format("%H:%M").to_string());
            was_open = is_open;
        }
        now += holds as i64 / 1000;
    }
    changes
}

#[test]
fn where_the_clock_is_put_forward_a_range_begins_when_it_jumps() {
    let open = |from, to| open((DAILY, from, to), "2026-03-28 23:00", "2026-03-29 12:00");
    // It jumps from 02:00 to 03:00 at 01:00 UTC.
    assert_eq!(open("02:30", "05:00"), ["01:00", "03:00"]);
    assert_eq!(open("01:00", "02:30"), ["00:00", "01:00"]);
    assert_eq!(open("02:15", "02:45"), [""; 0]);
    assert_eq!(open("01:00", "05:00"), ["00:00", "03:00"]);
    assert_eq!(open("03:00", "05:00"), ["01:00", "03:00"]);
}

#[test]
fn where_the_clock_is_put_back_a_range_holds_both_times() {
    let open = |from, to| open((DAILY, from, to), "2026-10-24 22:00", "2026-10-25 12:00");
    // It jumps from 03:00 to 02:00 at 01:00 UTC.
    assert_eq!(open("01:00", "02:30"), ["23:00", "00:30", "01:00", "01:30"]);
    assert_eq!(open("02:30", "05:00"), ["00:30", "01:00", "01:30", "04:00"]);
    assert_eq!(open("01:00", "05:00"), ["23:00", "04:00"]);
    assert_eq!(open("02:00", "03:00"), ["00:00", "02:00"]);
    assert_eq!(open("03:00", "04:00"), ["02:00", "03:00"]);
}

/// A clock that is set by hand.
#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) now: Arc<AtomicI64>,
    pub(crate) ahead: Arc<AtomicI64>,
}

impl WallClock for Set {
    fn now(&self) -> i64 {
        self.now.load(Relaxed)
    }

    fn ahead(&self, _: i64) -> i64 {
        self.ahead.load(Relaxed)
    }
}

fn settings(rule: &str) -> HourSettings {
    HourSettings { rules: vec![TimeRule::parse(rule).unwrap()], end_outside: true }
}

#[test]
fn an_answer_holds_until_the_next_change_and_a_minute_at_most() {
    let set = Set::default();
    let (clock, zone) = (set.now.clone(), set.ahead.clone());
    let hours = Hours::by(&settings("08:00-18:00"), Box::new(set)).unwrap();
    clock.store((utc("2026-11-22 17:58") + 30) * 1000 + 7, Relaxed);
    assert_eq!(hours.ask(1000), Answer { is_open: true, until: 61_000 });
    // Nobody looks before that.
    clock.store(0, Relaxed);
    assert_eq!(hours.ask(60_999), Answer { is_open: true, until: 61_000 });
    clock.store((utc("2026-11-22 17:59") + 30) * 1000 + 7, Relaxed);
    assert_eq!(hours.ask(61_000), Answer { is_open: true, until: 90_993 });
    clock.store(utc("2026-11-22 18:00") * 1000, Relaxed);
    assert_eq!(hours.ask(90_993), Answer { is_open: false, until: 150_993 });
    // Somebody has changed the zone, and then set the clock.
    zone.store(-2 * HOUR, Relaxed);
    assert_eq!(hours.ask(150_993), Answer { is_open: true, until: 210_993 });
    clock.store(utc("2026-11-22 22:00") * 1000, Relaxed);
    assert_eq!(hours.ask(210_993), Answer { is_open: false, until: 270_993 });
    // It may also be before 1970.
    clock.store(-1, Relaxed);
    zone.store(0, Relaxed);
    assert_eq!(hours.ask(270_993), Answer { is_open: false, until: 330_993 });
}

#[test]
fn the_clock_of_the_system_is_that_of_the_log() {
    let now = SystemClock.now() / 1000;
    assert_eq!(Local.timestamp_opt(now, 0).unwrap().naive_local().and_utc().timestamp(), now + SystemClock.ahead(now));
}
