//! Times and durations as people write them.

use std::time::{Duration, SystemTime};

use session_token_filter::time::UnixTime;

/// Now, by this machine's clock.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::default().after(since)
}

/// Seconds since 1970, or RFC 3339 in UTC: `2026-01-31T12:00:00Z`.
pub(crate) fn parse_time(text: &str) -> Result<UnixTime, String> {
    let parsed = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok().map(UnixTime::from_secs)
    } else {
        parse_rfc3339(text)
    };
    parsed.ok_or_else(|| "must be seconds since 1970, or like 2026-01-31T12:00:00Z".to_owned())
}

fn parse_rfc3339(text: &str) -> Option<UnixTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator| -> Option<Vec<i64>> {
        text.split(separator).map(|part| part.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), time.as_slice()) else {
        return None;
    };
    let in_range = (1970..=9999).contains(year)
        && (1..=12).contains(month)
        && (1..=31).contains(day)
        && (0..24).contains(hour)
        && (0..60).contains(minute)
        && (0..61).contains(second);
    // Beyond the month's end the date would come out as another one.
    let days = days_of(*year, *month, *day)?;
    if !in_range || date_of(days)? != (*year, *month, *day) {
        return None;
    }
    let minutes =
        days.checked_mul(24)?.checked_add(*hour)?.checked_mul(60)?.checked_add(*minute)?;
    u64::try_from(minutes.checked_mul(60)?.checked_add(*second)?).ok().map(UnixTime::from_secs)
}

/// `2026-01-31T12:00:00Z`; fractions are dropped.
pub(crate) fn time_text(time: UnixTime) -> String {
    let seconds = time.as_millis() / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let date = i64::try_from(days).ok().and_then(date_of);
    let (year, month, day) = date.unwrap_or_default();
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `in 3m`, `2h5m ago`.
pub(crate) fn distance_text(time: UnixTime, now: UnixTime) -> String {
    if time > now {
        format!("in {}", duration_text(time.since(now)))
    } else {
        format!("{} ago", duration_text(now.since(time)))
    }
}

/// The two largest units: `1h30m`, `250ms`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis > 0 && millis < 1_000 {
        return format!("{millis}ms");
    }
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (size, unit) in units {
        let (count, left) = (rest.checked_div(size).unwrap_or(0), rest.checked_rem(size));
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
        rest = left.unwrap_or(0);
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Hinnant, "chrono-compatible low-level
/// date algorithms", `days_from_civil`).
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month.checked_sub(3)? } else { month.checked_add(9)? };
    let day_of_year =
        shifted.checked_mul(153)?.checked_add(2)?.div_euclid(5).checked_add(day)?.checked_sub(1)?;
    let day_of_era = year_of_era
        .checked_mul(365)?
        .checked_add(year_of_era.div_euclid(4))?
        .checked_sub(year_of_era.div_euclid(100))?
        .checked_add(day_of_year)?;
    era.checked_mul(146_097)?.checked_add(day_of_era)?.checked_sub(719_468)
}

/// The same the other way (`civil_from_days`).
fn date_of(days: i64) -> Option<(i64, i64, i64)> {
    let days = days.checked_add(719_468)?;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = day_of_era
        .checked_sub(day_of_era.div_euclid(1_460))?
        .checked_add(day_of_era.div_euclid(36_524))?
        .checked_sub(day_of_era.div_euclid(146_096))?
        .div_euclid(365);
    let before = year_of_era
        .checked_mul(365)?
        .checked_add(year_of_era.div_euclid(4))?
        .checked_sub(year_of_era.div_euclid(100))?;
    let day_of_year = day_of_era.checked_sub(before)?;
    let shifted = day_of_year.checked_mul(5)?.checked_add(2)?.div_euclid(153);
    let start = shifted.checked_mul(153)?.checked_add(2)?.div_euclid(5);
    let day = day_of_year.checked_sub(start)?.checked_add(1)?;
    let month = if shifted < 10 { shifted.checked_add(3)? } else { shifted.checked_sub(9)? };
    let year = year_of_era.checked_add(era.checked_mul(400)?)?;
    Some((if month <= 2 { year.checked_add(1)? } else { year }, month, day))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-11-22T07:17:27Z", 1_795_331_847),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            let time = UnixTime::from_secs(seconds);
            assert_eq!(time_text(time), text);
            assert_eq!(parse_time(text), Ok(time));
            assert_eq!(parse_time(&seconds.to_string()), Ok(time));
        }
        for text in
            ["", "x", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01", "-1", "1.5"]
        {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (millis, text) in [
            (0, "0s"),
            (250, "250ms"),
            (5_000, "5s"),
            (90_000, "1m30s"),
            (5_400_000, "1h30m"),
            (86_400_000 + 61_000, "1d1m"),
            (1_500, "1s"),
        ] {
            assert_eq!(duration_text(Duration::from_millis(millis)), text);
        }
    }
}
