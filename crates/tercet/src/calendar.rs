//! Days as dates of the Gregorian calendar.
//!
//! It knows days alone, and neither clocks nor how a date is written.

/// A day in the words of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// The year, negative before the year 0.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 1 to 366.
    pub day_of_year: u16,
    /// 0 to 6, from Sunday.
    pub weekday: u8,
}

impl Date {
    /// The date of a day counted from 1970-01-01: Hinnant's `civil_from_days`, in whose years March is the first month,
    /// so that a leap day is the last day of one.
    ///
    /// ```
    /// let date = tercet::calendar::Date::of_day(11_016);
    /// assert_eq!((date.year, date.month, date.day, date.day_of_year), (2000, 2, 29, 60));
    /// ```
    pub fn of_day(days: i64) -> Self {
        const DAYS_OF_400_YEARS: i64 = 146_097;
        const MARCH_1_OF_YEAR_0: i64 = -719_468;
        let shifted = days - MARCH_1_OF_YEAR_0;
        let (era, day_of_era) =
            (shifted.div_euclid(DAYS_OF_400_YEARS), shifted.rem_euclid(DAYS_OF_400_YEARS));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let day = from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = 400 * era + year_of_era + i64::from(month <= 2);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if month > 2 { from_march + 60 + i64::from(is_leap) } else { from_march - 305 };
        Date {
            year,
            month: month as u8,
            day: day as u8,
            day_of_year: day_of_year as u16,
            weekday: (days + 4).rem_euclid(7) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, year, month, day, day_of_year, weekday) in [
            (-719_528, 0, 1, 1, 1, 6),
            (-135_081, 1600, 2, 29, 60, 2),
            (-1, 1969, 12, 31, 365, 3),
            (0, 1970, 1, 1, 1, 4),
            (11_016, 2000, 2, 29, 60, 2),
            (11_017, 2000, 3, 1, 61, 3),
            (20_088, 2024, 12, 31, 366, 2),
            (47_541, 2100, 3, 1, 60, 1),
        ] {
            assert_eq!(Date::of_day(days), Date { year, month, day, day_of_year, weekday }, "day {days}");
        }
    }

    #[test]
    fn a_day_follows_the_one_before() {
        let mut last = Date::of_day(-146_098);
        for days in -146_097..146_097 {
            let next = Date::of_day(days);
            let is_next_day = next.day == last.day + 1 && next.month == last.month && next.year == last.year;
            let is_next_month = next.day == 1 && next.month == last.month + 1 && next.year == last.year;
            let is_next_year = next.day_of_year == 1 && last.month == 12 && next.year == last.year + 1;
            assert!(is_next_day || is_next_month || is_next_year, "{last:?}, {next:?}");
            assert!(is_next_year || next.day_of_year == last.day_of_year + 1, "{last:?}, {next:?}");
            assert_eq!(next.weekday, (last.weekday + 1) % 7, "{next:?}");
            last = next;
        }
    }
}
