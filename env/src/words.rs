//! Durations and sizes as people write them, and the nearest known word to a misspelt one: what comes
//! from outside is words, and every part reads them the same way.

use std::time::Duration;

/// Reads `250us`, `100ms`, `10s`, `2m`, `1h`.
///
/// # Errors
/// A sentence that says what was wrong.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let unit_seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "`{text}` is not a duration; write a number and a unit, such as 100ms, 10s or 2m"
            ));
        }
    };
    let seconds =
        number.ok_or_else(|| format!("`{text}` has no number before the unit `{unit}`"))? * unit_seconds;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is out of range for a duration"))
}

/// Writes a duration so that [`parse_duration`] reads it back.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let us = duration.as_micros();
    if !us.is_multiple_of(1_000) {
        format!("{us}us")
    } else if !us.is_multiple_of(1_000_000) {
        format!("{}ms", us / 1_000)
    } else {
        format!("{}s", us / 1_000_000)
    }
}

/// Reads `512`, `16 KiB`, `1MiB`, `2 GiB`.
///
/// # Errors
/// A sentence that says what was wrong.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let scale: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("`{text}` is not a size; write bytes, KiB, MiB or GiB, such as 64 KiB")),
    };
    let number = number.ok_or_else(|| format!("`{text}` has no number"))?;
    let bytes = number * scale as f64;
    if !(0.0..=9e15).contains(&bytes) {
        return Err(format!("`{text}` is out of range for a size"));
    }
    Ok(bytes as u64)
}

/// Writes a size so that [`parse_bytes`] reads it back.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    for (scale, unit) in [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{} {unit}", bytes / scale);
        }
    }
    bytes.to_string()
}

fn split_unit(text: &str) -> (Option<f64>, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    (text[..end].parse().ok(), text[end..].trim())
}

/// The known word closest to `given`, if any is close enough to be a slip of the pen.
#[must_use]
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let limit = (given.chars().count() / 3).max(2);
    known.iter().map(|k| (edit_distance(given, k), *k)).filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_back_as_written() {
        for text in ["250us", "100ms", "10s", "3600s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap_or_default()), text);
        }
        for (text, bytes) in [("0", 0), ("16 KiB", 16_384), ("1MiB", 1 << 20), ("1025", 1025)] {
            assert_eq!(parse_bytes(text), Ok(bytes));
            assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }
    }

    #[test]
    fn nonsense_is_refused_with_what_to_write_instead() {
        assert!(parse_duration("10 parsecs").is_err_and(|e| e.contains("100ms")));
        assert!(parse_duration("ms").is_err_and(|e| e.contains("no number")));
        assert!(parse_bytes("12 KB").is_err_and(|e| e.contains("KiB")));
    }

    #[test]
    fn a_slip_of_the_pen_finds_the_word_meant() {
        assert_eq!(nearest("read_qorum", &["read_quorum", "write_quorum"]), Some("read_quorum"));
        assert_eq!(nearest("colour", &["read_quorum", "write_quorum"]), None);
    }
}
