//! Numbers that are compared and kept as they are written.

/// A number as Postgres writes it: no exponent, no sign of plus, no zeros that say nothing.
#[must_use]
pub fn decimal(text: &str) -> Option<String> {
    const MOST_DIGITS: i64 = 60;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        None => (text, 0),
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
    };
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = [whole, fraction].concat();
    let is_number = !all.is_empty() && all.bytes().all(|byte| byte.is_ascii_digit());
    let point = i64::try_from(whole.len()).ok()? + exponent;
    if !is_number || all.len() > 60 || !(-MOST_DIGITS..=MOST_DIGITS).contains(&point) {
        return None;
    }
    let length = i64::try_from(all.len()).ok()?;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let (whole, fraction) = if point <= 0 {
        (String::new(), zeros(-point) + &all)
    } else if point >= length {
        (all + &zeros(point - length), String::new())
    } else {
        let (whole, fraction) = all.split_at(usize::try_from(point).ok()?);
        (whole.to_owned(), fraction.to_owned())
    };
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && fraction.is_empty() { "" } else { sign };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_out() {
        for (given, expected) in [
            ("1500", "1500"),
            ("1500.50", "1500.5"),
            ("1.5e3", "1500"),
            ("15e-1", "1.5"),
            ("1e-3", "0.001"),
            ("-0.0", "0"),
            ("+007", "7"),
            (".5", "0.5"),
            ("-12.250", "-12.25"),
        ] {
            assert_eq!(decimal(given).as_deref(), Some(expected), "{given}");
        }
        for given in ["", "-", "1,5", "12 EUR", "1e999", "NaN", "1.2.3", "."] {
            assert_eq!(decimal(given), None, "{given}");
        }
    }
}
