//! Ranges of seeds as people write them.

use std::ops::RangeInclusive;

/// Reads `A..B`, both included, or a single `A`.
///
/// # Errors
/// A sentence that says what was wrong.
pub fn parse_seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |part: &str| {
        part.trim()
            .parse::<u64>()
            .map_err(|_| format!("`{part}` is not a seed; write A..B with whole numbers, such as 1..100"))
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first)?, number(last.trim_start_matches('='))?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err(format!("{first}..{last} holds no seed; write the smaller number first"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_included() {
        assert_eq!(parse_seeds("1..100"), Ok(1..=100));
        assert_eq!(parse_seeds("7"), Ok(7..=7));
        assert!(parse_seeds("9..2").is_err_and(|e| e.contains("smaller number first")));
        assert!(parse_seeds("1..x").is_err_and(|e| e.contains("1..100")));
    }
}
