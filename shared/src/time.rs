//! Points in time in events and answers.
//!
//! Written by hand because it is part of the browser's WebAssembly, whose size is limited. Tests compare it with the
//! calendar library `jiff`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

const MS_PER_DAY: i64 = 86_400_000;

/// A point in time in UTC, in milliseconds since 1970, between the years 0 and 9999.
///
/// In JSON an RFC 3339 string with exactly three decimals and `Z`, so that the order of the strings is the order in
/// time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// The text is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as in 2026-11-20T09:38:56.123Z (RFC 3339)")]
pub struct BadTimestamp;

impl Timestamp {
    /// The earliest point: the year 0.
    pub const MIN: Timestamp = Timestamp(-62_167_219_200_000);
    /// The latest point: the last millisecond of the year 9999.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

    /// From milliseconds since 1970, clamped to the range.
    pub fn from_unix_ms(ms: i64) -> Self {
        Self(ms.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(self) -> i64 {
        self.0
    }

    /// Rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Clamped to the range.
    pub fn plus_ms(self, ms: i64) -> Self {
        Self::from_unix_ms(self.0.saturating_add(ms))
    }

    /// Negative if `earlier` is later.
    pub fn ms_since(self, earlier: Timestamp) -> i64 {
        self.0 - earlier.0
    }

    /// Year, month (1 to 12) and day (1 to 31).
    pub fn date(self) -> (i64, u32, u32) {
        // Howard Hinnant's civil-from-days: years begin in March, so that the leap day comes last.
        let z = self.0.div_euclid(MS_PER_DAY) + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month as u32, day as u32)
    }

    /// Hour, minute, second and millisecond of the day.
    pub fn time_of_day(self) -> (u32, u32, u32, u32) {
        let ms = self.0.rem_euclid(MS_PER_DAY) as u32;
        (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let (h, m, s, ms) = self.time_of_day();
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

/// Takes `len` digits off the front of `text`.
fn digits(text: &mut &[u8], len: usize) -> Option<i64> {
    let (head, rest) = text.split_at_checked(len)?;
    *text = rest;
    head.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// Takes one of `wanted` off the front of `text`.
fn symbol(text: &mut &[u8], wanted: &[u8]) -> Option<u8> {
    let (first, rest) = text.split_first()?;
    *text = rest;
    wanted.contains(first).then_some(*first)
}

fn parse(mut text: &[u8]) -> Option<Timestamp> {
    let text = &mut text;
    let year = digits(text, 4)?;
    symbol(text, b"-")?;
    let month = digits(text, 2)?;
    symbol(text, b"-")?;
    let day = digits(text, 2)?;
    symbol(text, b"Tt ")?;
    let hour = digits(text, 2)?;
    symbol(text, b":")?;
    let minute = digits(text, 2)?;
    symbol(text, b":")?;
    let second = digits(text, 2)?;
    let mut ms = 0;
    if text.first() == Some(&b'.') {
        symbol(text, b".")?;
        let len = text.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&len) {
            return None;
        }
        ms = digits(text, len)? * 1000 / 10_i64.pow(len as u32);
    }
    let offset = match symbol(text, b"Zz+-")? {
        sign @ (b'+' | b'-') => {
            let hours = digits(text, 2)?;
            symbol(text, b":")?;
            let minutes = digits(text, 2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == b'+' { 60_000 } else { -60_000 }
        }
        _ => 0,
    };
    let in_range = text.is_empty()
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let total =
        days_from_civil(year, month, day) * MS_PER_DAY + ((hour * 60 + minute) * 60 + second) * 1000 + ms
            - offset;
    let point = Timestamp::from_unix_ms(total);
    (in_range && point.0 == total).then_some(point)
}

impl std::str::FromStr for Timestamp {
    type Err = BadTimestamp;
    /// Reads any RFC 3339 time and drops what is finer than a millisecond.
    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        parse(text.as_bytes()).ok_or(BadTimestamp)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_writes_what_a_calendar_library_writes(ms in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let ours = Timestamp::from_unix_ms(ms).to_string();
            let theirs = jiff::Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(&ours, &format!("{theirs:.3}"));
            prop_assert_eq!(ours.parse(), Ok(Timestamp(ms)));
        }

        #[test]
        fn offsets_mean_what_they_mean_to_a_calendar_library(
            ms in -1_000_000_000_000_i64..4_000_000_000_000, hours in -12_i64..=14, minutes in 0_i64..60
        ) {
            let sign = if hours < 0 { '-' } else { '+' };
            let local = Timestamp::from_unix_ms(ms).to_string().replace('Z', "");
            let text = format!("{local}{sign}{:02}:{minutes:02}", hours.abs());
            let theirs: jiff::Timestamp = text.parse().unwrap();
            prop_assert_eq!(text.parse::<Timestamp>().unwrap().unix_ms(), theirs.as_millisecond());
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Timestamp>();
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2026",
            "2026-11-20",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T09:38:56",
            "2026-11-20T09:38:56.Z",
            "2026-11-20T09:38:56Zx",
            "2026-11-20T09:38:56+1:00",
            "+026-11-20T09:38:56Z",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(BadTimestamp), "{bad:?}");
        }
    }

    #[test]
    fn order_of_texts_is_order_in_time() {
        let (a, b) = (Timestamp::from_unix_ms(999), Timestamp::from_unix_ms(1000));
        assert!(a.to_string() < b.to_string());
        assert_eq!(b.ms_since(a), 1);
        assert_eq!(a.plus_ms(1), b);
    }
}
