//! When clients are let in, as a service asks for it: days of the week, and times of the day by the local clock.

use std::fmt;

use super::settings::ServiceSettings;
use crate::address::EndpointAddress;

/// The minutes of a day.
const DAY: u16 = 24 * 60;

/// The minutes of a week.
const WEEK: u16 = 7 * DAY;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// When a service lets clients in, and what becomes of the sessions that are open afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HourSettings {
    /// Clients are let in when one of these says so; without any, always.
    pub rules: Vec<TimeRule>,
    /// Whether sessions are reset when none of them does any more.
    pub end_outside: bool,
}

/// Times of some days of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeRule {
    /// How it was written.
    text: String,
    /// The days, Monday first.
    days: [bool; 7],
    /// The times of each of these days.
    ranges: Vec<Range>,
}

/// From one minute of a day to another, at which it is over; beyond [`DAY`], this is one of the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    from: u16,
    to: u16,
}

/// `Mon-Fri 08:00-18:00`
impl fmt::Display for TimeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TimeRule {
    /// Reads days and ranges of times, such as `Mon-Fri 08:00-12:00,13:00-18:00` or `22:00-06:00`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words that can follow the text.
    pub fn parse(text: &str) -> Result<TimeRule, String> {
        let text = text.trim();
        // Days have no digits, and times begin with one.
        let (days, ranges) = text.split_at(text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len()));
        let days = match days.trim() {
            "" if ranges.is_empty() => return Err("expected days and times, such as Mon-Fri 08:00-18:00".to_string()),
            "" => [true; 7],
            days => parse_days(days)?,
        };
        if ranges.is_empty() {
            return Err("expected a range of times after the days; a whole day is 00:00-24:00".to_string());
        }
        let ranges = ranges.split(',').map(|range| parse_range(range.trim())).collect::<Result<_, _>>()?;
        Ok(TimeRule { text: text.to_string(), days, ranges })
    }
}

fn parse_days(text: &str) -> Result<[bool; 7], String> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (parse_day(first)?, parse_day(last)?);
        // A week goes on behind Sunday.
        let count = (last + 7 - first) % 7 + 1;
        (first..first + count).for_each(|day| days[day % 7] = true);
    }
    Ok(days)
}

fn parse_day(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let day = DAYS.iter().position(|day| text.eq_ignore_ascii_case(day));
    day.ok_or_else(|| match text {
        "" => "a day is missing beside a comma or a hyphen".to_string(),
        text => format!("`{text}` is no day: expected Mon, Tue, Wed, Thu, Fri, Sat or Sun, or daily alone"),
    })
}

fn parse_range(text: &str) -> Result<Range, String> {
    if text.is_empty() {
        return Err("a range of times is missing beside a comma".to_string());
    }
    let (from, to) =
        text.split_once('-').ok_or_else(|| format!("`{text}`: expected a range of times, such as 08:00-18:00"))?;
    let (from, to) = (parse_time(from.trim())?, parse_time(to.trim())?);
    match () {
        () if from == DAY => Err(format!("`{text}`: no range begins at 24:00, which is 00:00 of the next day")),
        () if from == to => Err(format!("`{text}`: the range ends when it begins; a whole day is 00:00-24:00")),
        () if from < to => Ok(Range { from, to }),
        () => Ok(Range { from, to: to + DAY }),
    }
}

/// The minute of the day.
fn parse_time(text: &str) -> Result<u16, String> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = |(hour, minute): &(&str, &str)| {
        (1..=2).contains(&hour.len()) && minute.len() == 2 && digits(hour) && digits(minute)
    };
    let expected = || format!("`{text}` is no time: expected hours and minutes, such as 08:00");
    let (hour, minute) = text.split_once(':').filter(is_time).ok_or_else(expected)?;
    match (hour.parse::<u16>().map_err(|_| expected())?, minute.parse::<u16>().map_err(|_| expected())?) {
        (24, 0) => Ok(DAY),
        (24.., _) => Err(format!("`{text}` is no time: the last one of a day is 24:00")),
        (_, 60..) => Err(format!("`{text}` is no time: an hour has 60 minutes, from 00 to 59")),
        (hour, minute) => Ok(hour * 60 + minute),
    }
}

/// All rules of a service together: the times of a week at which one of them lets clients in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Week {
    /// In minutes since Monday began, in their order; they do not touch each other.
    spans: Vec<Range>,
}

/// Whether clients are let in at a time of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// They are.
    pub is_open: bool,
    /// In how many seconds that changes if the clock just goes on; `None`: never.
    pub changes_in: Option<u32>,
}

impl Week {
    /// The length of a week, in seconds.
    pub const SECONDS: u32 = WEEK as u32 * 60;

    /// That of some rules; `None`: there are none.
    pub fn new(rules: &[TimeRule]) -> Option<Week> {
        let mut all = Vec::new();
        for rule in rules {
            for day in (0..7_u16).filter(|day| rule.days[usize::from(*day)]) {
                for range in &rule.ranges {
                    let (from, to) = (day * DAY + range.from, day * DAY + range.to);
                    all.push(Range { from, to: to.min(WEEK) });
                    // What goes on behind Sunday is on Monday.
                    if to > WEEK {
                        all.push(Range { from: 0, to: to - WEEK });
                    }
                }
            }
        }
        all.sort_unstable_by_key(|span| span.from);
        let mut spans: Vec<Range> = Vec::new();
        for span in all {
            match spans.last_mut() {
                Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
                _ => spans.push(span),
            }
        }
        (!spans.is_empty()).then_some(Week { spans })
    }

    /// What holds at this second, counted from the beginning of Monday; less than [`Week::SECONDS`].
    pub fn at(&self, second: u32) -> Reading {
        let minute = (second / 60) as u16;
        let next = self.spans.partition_point(|span| span.to <= minute);
        // Where the week is over, its first span is the next one.
        let first = self.spans[0];
        let (is_open, change) = match self.spans.get(next) {
            None => (false, WEEK + first.from),
            Some(span) if minute < span.from => (false, span.from),
            Some(span) if span.to == WEEK && first.from == 0 => match first.to {
                WEEK => return Reading { is_open: true, changes_in: None },
                to => (true, WEEK + to),
            },
            Some(span) => (true, span.to),
        };
        Reading { is_open, changes_in: Some(u32::from(change) * 60 - second) }
    }
}

/// What is wrong with hours that cannot do what somebody believes they do: the option, and a line.
pub fn useless_hours(service: &ServiceSettings) -> Option<(&'static str, String)> {
    let HourSettings { rules, end_outside } = &service.hours;
    let is_device = |address: &EndpointAddress| matches!(address, EndpointAddress::Device(..));
    let devices = service.listening().filter(|address| is_device(address)).count();
    if *end_outside && rules.is_empty() {
        let message = "invalid end-outside-time: without an allow-time there is no time that is over";
        return Some((END_OUTSIDE_TIME, message.to_string()));
    }
    if *end_outside && devices > 0 {
        let message = "invalid end-outside-time: the service listens at a device, whose session never is over";
        return Some((END_OUTSIDE_TIME, message.to_string()));
    }
    if !rules.is_empty() && devices > 0 && devices == service.listening().count() {
        let message =
            "invalid allow-time: the service listens at devices only, and what comes from these is always let in";
        return Some((ALLOW_TIME, message.to_string()));
    }
    None
}

/// The option that has rules.
pub const ALLOW_TIME: &str = "allow-time";

/// The option that has sessions end.
pub const END_OUTSIDE_TIME: &str = "end-outside-time";

#[cfg(test)]
mod tests {
    use super::*;

    fn week(rules: &[&str]) -> Week {
        let rules: Vec<TimeRule> = rules.iter().map(|rule| TimeRule::parse(rule).unwrap()).collect();
        Week::new(&rules).unwrap()
    }

    /// The spans of a week, each with its days and times.
    fn spans(rules: &[&str]) -> Vec<String> {
        let time = |minute: u16| {
            let (day, minute) = (usize::from(minute / DAY), minute % DAY);
            format!("{} {:02}:{:02}", DAYS.get(day).unwrap_or(&"end"), minute / 60, minute % 60)
        };
        week(rules).spans.iter().map(|span| format!("{} to {}", time(span.from), time(span.to))).collect()
    }

    #[test]
    fn days_and_times() {
        assert_eq!(spans(&["Mon 08:00-18:00"]), ["Mon 08:00 to Mon 18:00"]);
        assert_eq!(spans(&[" tue  8:05-9:00 , 13:00 - 14:00 "]), ["Tue 08:05 to Tue 09:00", "Tue 13:00 to Tue 14:00"]);
        assert_eq!(spans(&["Mon,Wed-Thu 10:00-11:00"]).len(), 3);
        assert_eq!(spans(&["daily 10:00-11:00"]), spans(&["10:00-11:00"]));
        assert_eq!(spans(&["10:00-11:00"]).len(), 7);
        assert_eq!(spans(&["Sat-Mon 10:00-11:00"]), spans(&["Mon,Sat,Sun 10:00-11:00"]));
        assert_eq!(spans(&["Mon-Sun 10:00-11:00"]), spans(&["Tue-Mon 10:00-11:00"]));
        assert_eq!(spans(&["Sun - Mon , Wed 10:00-11:00"]), spans(&["Mon,Wed,Sun 10:00-11:00"]));
    }

    #[test]
    fn a_range_over_midnight_belongs_to_the_day_on_which_it_begins() {
        assert_eq!(spans(&["Fri 22:00-06:00"]), ["Fri 22:00 to Sat 06:00"]);
        assert_eq!(spans(&["Sun 22:00-06:00"]), ["Mon 00:00 to Mon 06:00", "Sun 22:00 to end 00:00"]);
        assert_eq!(spans(&["Fri 22:00-24:00"]), ["Fri 22:00 to Sat 00:00"]);
        assert_eq!(spans(&["Fri 22:00-00:00"]), spans(&["Fri 22:00-24:00"]));
        assert_eq!(spans(&["Sun 22:00-00:00"]), ["Sun 22:00 to end 00:00"]);
        assert_eq!(spans(&["Fri 00:00-24:00"]), ["Fri 00:00 to Sat 00:00"]);
    }

    #[test]
    fn times_that_touch_are_one() {
        assert_eq!(spans(&["Mon-Fri 00:00-24:00"]), ["Mon 00:00 to Sat 00:00"]);
        assert_eq!(
            spans(&["Mon 12:00-14:00", "Mon 13:00-15:00,15:00-16:00", "Mon 12:30-13:00"]),
            ["Mon 12:00 to Mon 16:00"]
        );
        assert_eq!(spans(&["00:00-12:00", "12:00-24:00"]), ["Mon 00:00 to end 00:00"]);
    }

    #[test]
    fn the_next_change_is_told_over_the_end_of_the_week() {
        let at = |week: &Week, day: u32, hour: u32, second: u32| {
            let reading = week.at((day * 24 + hour) * 3600 + second);
            (reading.is_open, reading.changes_in)
        };
        let nights = week(&["22:00-06:00"]);
        assert_eq!(at(&nights, 6, 23, 59), (true, Some(7 * 3600 - 59)));
        assert_eq!(at(&nights, 0, 5, 3599), (true, Some(1)));
        assert_eq!(at(&nights, 0, 6, 0), (false, Some(16 * 3600)));
        let mondays = week(&["Mon 08:00-09:00"]);
        assert_eq!(at(&mondays, 0, 7, 0), (false, Some(3600)));
        assert_eq!(at(&mondays, 0, 9, 1), (false, Some(7 * 86400 - 3601)));
        assert_eq!(at(&mondays, 6, 23, 3599), (false, Some(8 * 3600 + 1)));
        assert_eq!(at(&week(&["Sat-Mon 00:00-24:00"]), 5, 0, 0), (true, Some(3 * 86400)));
        assert_eq!(at(&week(&["00:00-24:00"]), 6, 23, 3599), (true, None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let no_day = "is no day: expected Mon, Tue, Wed, Thu, Fri, Sat or Sun, or daily alone";
        for (text, message) in [
            ("", "expected days and times, such as Mon-Fri 08:00-18:00".to_string()),
            ("Mon-Fri", "expected a range of times after the days; a whole day is 00:00-24:00".into()),
            ("daily", "expected a range of times after the days; a whole day is 00:00-24:00".into()),
            ("Mon-Fry 08:00-18:00", format!("`Fry` {no_day}")),
            ("Monday 08:00-18:00", format!("`Monday` {no_day}")),
            ("daily,Mon 08:00-18:00", format!("`daily` {no_day}")),
            ("Mon-Tue-Wed 08:00-18:00", format!("`Tue-Wed` {no_day}")),
            ("Mon Tue 08:00-18:00", format!("`Mon Tue` {no_day}")),
            ("-8:00-18:00", "a day is missing beside a comma or a hyphen".into()),
            ("Mon,,Tue 08:00-18:00", "a day is missing beside a comma or a hyphen".into()),
            ("08:00", "`08:00`: expected a range of times, such as 08:00-18:00".into()),
            ("08:00-09:00,", "a range of times is missing beside a comma".into()),
            ("08:00-18", "`18` is no time: expected hours and minutes, such as 08:00".into()),
            ("08:00-18:00 Mon", "`18:00 Mon` is no time: expected hours and minutes, such as 08:00".into()),
            ("8:0-18:00", "`8:0` is no time: expected hours and minutes, such as 08:00".into()),
            ("08:00-+9:00", "`+9:00` is no time: expected hours and minutes, such as 08:00".into()),
            ("008:00-18:00", "`008:00` is no time: expected hours and minutes, such as 08:00".into()),
            ("08:00:00-18:00", "`08:00:00` is no time: expected hours and minutes, such as 08:00".into()),
            ("08:00-", "`` is no time: expected hours and minutes, such as 08:00".into()),
            ("08:60-18:00", "`08:60` is no time: an hour has 60 minutes, from 00 to 59".into()),
            ("08:00-25:00", "`25:00` is no time: the last one of a day is 24:00".into()),
            ("08:00-24:01", "`24:01` is no time: the last one of a day is 24:00".into()),
            ("24:00-06:00", "`24:00-06:00`: no range begins at 24:00, which is 00:00 of the next day".into()),
            ("08:00-08:00", "`08:00-08:00`: the range ends when it begins; a whole day is 00:00-24:00".into()),
        ] {
            assert_eq!(TimeRule::parse(text), Err(message), "{text}");
        }
    }
}
