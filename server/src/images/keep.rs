//! The `keep` attribute of an osimage: which old generations stay.

use std::time::Duration;

use sysclone_image::RetentionRule;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads `5` (the newest five), `30d` (all of the last 30 days) or `5,30d` (whatever one of both keeps).
///
/// # Errors
/// What is expected.
pub fn parse_keep(text: &str) -> Result<RetentionRule, String> {
    let expected = || "a number of generations, a number of days as in 30d, or both: 5,30d".to_owned();
    let mut rule = RetentionRule::default();
    for part in text.split(',') {
        let (digits, of_days) = part.strip_suffix('d').map_or((part, false), |digits| (digits, true));
        let number: u32 = digits.parse().map_err(|_| expected())?;
        let twice = match of_days {
            true => rule.keep_younger.replace(DAY * number).is_some(),
            false => rule.keep_last.replace(number).is_some(),
        };
        if twice || number == 0 {
            return Err(expected());
        }
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_numbers_and_days() {
        let rule = |keep_last, days: Option<u32>| {
            Ok(RetentionRule { keep_last, keep_younger: days.map(|days| DAY * days) })
        };
        assert_eq!(parse_keep("5"), rule(Some(5), None));
        assert_eq!(parse_keep("30d"), rule(None, Some(30)));
        assert_eq!(parse_keep("30d,5"), rule(Some(5), Some(30)));
        for bad in ["", "0", "0d", "-1", "5,6", "30d,1d", "5w", "5,", "99999999999"] {
            assert!(parse_keep(bad).is_err(), "{bad}");
        }
    }
}
