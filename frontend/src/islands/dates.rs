//! Dates as readers see them. The server and the browser write the same text, whatever the reader's clock, language
//! or time zone, so that hydration finds what it expects.

use shared::Timestamp;

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

/// `20 November 2026`.
pub(crate) fn day(at: Timestamp) -> String {
    let (year, month, day) = at.date();
    let month = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    format!("{day} {month} {year}")
}

/// `20 November 2026, 09:38 UTC`.
pub(crate) fn minute(at: Timestamp) -> String {
    let (hour, minute, _, _) = at.time_of_day();
    format!("{}, {hour:02}:{minute:02} UTC", day(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_out() {
        let at: Timestamp = "2026-11-20T09:38:56.123Z".parse().unwrap();
        assert_eq!(day(at), "20 November 2026");
        assert_eq!(minute(at), "20 November 2026, 09:38 UTC");
        assert_eq!(day(Timestamp::MIN), "1 January 0");
        assert_eq!(day(Timestamp::MAX), "31 December 9999");
    }
}
