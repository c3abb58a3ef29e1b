//! `strftime_now`: the date in Python's format language, in UTC and in English.

use minijinja::{Error, ErrorKind};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// A moment in the calendar.
struct Calendar {
    year: i64,
    month: i64,
    day: i64,
    weekday: usize,
    day_of_year: i64,
    seconds: i64,
}

impl Calendar {
    /// Days to dates by the era method: years begin in March and eras have 400 years (Hinnant, `civil_from_days`).
    fn new(time: SystemTime) -> Self {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX / 2),
            Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX / 2),
        };
        let days = seconds.div_euclid(86_400);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        // March begins on day 59 of an ordinary year, counted from 0.
        let day_of_year = if month > 2 { from_march + 60 + i64::from(leap) } else { from_march - 305 };
        Self {
            year,
            month,
            day: from_march - (153 * month_from_march + 2) / 5 + 1,
            weekday: (days + 4).rem_euclid(7) as usize,
            day_of_year,
            seconds: seconds.rem_euclid(86_400),
        }
    }
}

/// Writes a time. `%-d` and the like leave out the zero.
///
/// # Errors
/// A letter that has no meaning here, named.
pub(super) fn strftime(format: &str, time: SystemTime) -> Result<String, Error> {
    let at = Calendar::new(time);
    let (hour, minute, second) = (at.seconds / 3600, at.seconds / 60 % 60, at.seconds % 60);
    let hour_12 = (hour + 11) % 12 + 1;
    let month = MONTHS[(at.month - 1) as usize];
    let mut out = String::with_capacity(format.len() * 2);
    let mut letters = format.chars();
    while let Some(c) = letters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut letter = letters.next();
        let plain = letter == Some('-');
        if plain {
            letter = letters.next();
        }
        let mut padded = |number: i64, width: usize| {
            let width = if plain { 1 } else { width };
            let _ = write!(out, "{number:0width$}");
        };
        match letter {
            Some('Y') => padded(at.year, 4),
            Some('y') => padded(at.year.rem_euclid(100), 2),
            Some('m') => padded(at.month, 2),
            Some('d') => padded(at.day, 2),
            Some('e') => out.push_str(&format!("{:2}", at.day)),
            Some('j') => padded(at.day_of_year, 3),
            Some('H') => padded(hour, 2),
            Some('I') => padded(hour_12, 2),
            Some('M') => padded(minute, 2),
            Some('S') => padded(second, 2),
            Some('f') => padded(0, 6),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('A') => out.push_str(DAYS[at.weekday]),
            Some('a') => out.push_str(&DAYS[at.weekday][..3]),
            Some('u') => padded((at.weekday as i64 + 6) % 7 + 1, 1),
            Some('w') => padded(at.weekday as i64, 1),
            Some('B') => out.push_str(month),
            Some('b' | 'h') => out.push_str(&month[..3]),
            Some('F') => out.push_str(&format!("{:04}-{:02}-{:02}", at.year, at.month, at.day)),
            Some('T' | 'X') => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            Some('D' | 'x') => out.push_str(&format!("{:02}/{:02}/{:02}", at.month, at.day, at.year.rem_euclid(100))),
            Some('R') => out.push_str(&format!("{hour:02}:{minute:02}")),
            Some('c') => {
                let (day, month) = (&DAYS[at.weekday][..3], &month[..3]);
                out.push_str(&format!("{day} {month} {:2} {hour:02}:{minute:02}:{second:02} {}", at.day, at.year));
            }
            // A time without a zone has no name or offset for it.
            Some('Z' | 'z') => {}
            Some('%') => out.push('%'),
            other => {
                let letter = other.map_or_else(|| "an end".to_owned(), |letter| format!("{letter:?}"));
                let message = format!("strftime_now: % is followed by {letter}, which is no date field");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64, format: &str) -> String {
        strftime(format, UNIX_EPOCH + Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(at(0, "%Y-%m-%d %A %j"), "1970-01-01 Thursday 001");
        assert_eq!(at(951_782_400, "%F %a %j"), "2000-02-29 Tue 060");
        assert_eq!(at(1_735_689_599, "%F %T %j"), "2024-12-31 23:59:59 366");
        assert_eq!(at(1_740_787_200, "%d %B %Y, %j"), "01 March 2025, 060");
        assert_eq!(at(4_107_542_400, "%F"), "2100-03-01");
    }

    #[test]
    fn hours_and_paddings() {
        assert_eq!(at(0, "%I %p %-H %e"), "12 AM 0  1");
        assert_eq!(at(46_800, "%I:%M %p 100%%"), "01:00 PM 100%");
        assert_eq!(at(1_740_787_200, "%-d %b %y"), "1 Mar 25");
    }

    #[test]
    fn unknown_letters_are_errors() {
        assert!(strftime("%Q", UNIX_EPOCH).is_err());
        assert!(strftime("100%", UNIX_EPOCH).is_err());
    }
}
