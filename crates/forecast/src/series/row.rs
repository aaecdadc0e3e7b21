//! One row: its time and its numbers.

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;

/// A time as a row writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RowTime {
    /// Local time of the file's clock.
    Local(DateTime),
    /// With an offset or `Z`: seconds since 1970.
    Instant(i64),
}

/// Reads `yyyy-mm-dd hh:mm[:ss]`, with `T` or a space, with or without `Z` or an offset, and `dd.mm.yyyy hh:mm[:ss]`.
/// `None` for anything else: dates with slashes are written in two orders, and a guess would be wrong half the time.
pub(super) fn parse_time(text: &str) -> Option<RowTime> {
    let text = text.trim();
    let german = ["%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M"];
    if let Some(time) = german.iter().find_map(|form| DateTime::strptime(form, text).ok()) {
        return Some(RowTime::Local(time));
    }
    let bytes = text.as_bytes();
    if bytes.len() < 16 || bytes.get(4) != Some(&b'-') || bytes.get(13) != Some(&b':') {
        return None;
    }
    let pieces = Pieces::parse(text).ok()?;
    let local = pieces.date().to_datetime(pieces.time()?);
    match pieces.to_numeric_offset() {
        Some(offset) => Some(RowTime::Instant(offset.to_timestamp(local).ok()?.as_second())),
        None => Some(RowTime::Local(local)),
    }
}

/// Reads a decimal number; a comma stands for the point where it is not the delimiter. Neither exponents nor
/// thousands separators nor words such as `inf` and `nan` are numbers here.
pub(super) fn parse_number(text: &str, delimiter: u8) -> Option<f64> {
    let text = text.trim();
    let text = if delimiter == b',' { text.to_owned() } else { text.replacen(',', ".", 1) };
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.len() <= 18 && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    text.parse().ok()
}

/// What of a field a message shows.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(40).collect()
}
