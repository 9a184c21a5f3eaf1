//! Dates as Python's `strftime` writes them, in UTC and in English.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};
use tercet::calendar::Date;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A moment in this format.
///
/// # Errors
/// If the format has a code that is not among those of C.
pub(crate) fn strftime(time: SystemTime, format: &str) -> Result<String, Error> {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let date = Date::of_day((seconds / DAY_SECONDS) as i64);
    let (hour, minute, second) = (seconds % DAY_SECONDS / 3600, seconds / 60 % 60, seconds % 60);
    let hour_of_12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let day_name = DAYS[usize::from(date.weekday)];
    let month_name = MONTHS[usize::from(date.month) - 1];
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut code = rest.next();
        let is_bare = code == Some('-');
        if is_bare {
            code = rest.next();
        }
        let padded = |number: u64, width: usize| {
            if is_bare { number.to_string() } else { format!("{number:0width$}") }
        };
        text.push_str(&match code {
            Some('Y') => date.year.to_string(),
            Some('y') => padded(date.year.unsigned_abs() % 100, 2),
            Some('m') => padded(date.month.into(), 2),
            Some('d') => padded(date.day.into(), 2),
            Some('e') => format!("{:2}", date.day),
            Some('j') => padded(date.day_of_year.into(), 3),
            Some('H') => padded(hour, 2),
            Some('I') => padded(hour_of_12, 2),
            Some('M') => padded(minute, 2),
            Some('S') => padded(second, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b' | 'h') => month_name[..3].to_owned(),
            Some('w') => date.weekday.to_string(),
            Some('u') => (if date.weekday == 0 { 7 } else { date.weekday }).to_string(),
            Some('F') => format!("{}-{:02}-{:02}", date.year, date.month, date.day),
            Some('T' | 'X') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('R') => format!("{hour:02}:{minute:02}"),
            Some('D' | 'x') => format!("{:02}/{:02}/{:02}", date.month, date.day, date.year % 100),
            Some('z') => String::new(),
            Some('Z') => String::new(),
            Some('n') => "\n".to_owned(),
            Some('t') => "\t".to_owned(),
            Some('%') => "%".to_owned(),
            other => {
                let code = other.map_or_else(String::new, String::from);
                let detail = format!("`strftime_now` knows no `%{code}`");
                return Err(Error::new(ErrorKind::InvalidOperation, detail));
            }
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00:00 Thursday 001"),
            (951_782_400, "2000-02-29 00:00:00 Tuesday 060"),
            (951_868_800, "2000-03-01 00:00:00 Wednesday 061"),
            (1_721_996_645, "2024-07-26 12:24:05 Friday 208"),
            (1_735_689_599, "2024-12-31 23:59:59 Tuesday 366"),
            (1_740_787_200, "2025-03-01 00:00:00 Saturday 060"),
            (4_107_542_400, "2100-03-01 00:00:00 Monday 060"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(strftime(time, "%Y-%m-%d %H:%M:%S %A %j").unwrap(), want);
        }
    }

    #[test]
    fn codes_are_those_of_c() {
        let time = UNIX_EPOCH + Duration::from_secs(1_720_098_245);
        let found = strftime(time, "%d %b %y, %-d %B, %e, %I:%M %p, %a %u %w, %F %T %R, %%").unwrap();
        assert_eq!(found, "04 Jul 24, 4 July,  4, 01:04 PM, Thu 4 4, 2024-07-04 13:04:05 13:04, %");
        assert!(strftime(time, "%Q").is_err());
        assert!(strftime(time, "%").is_err());
    }
}
