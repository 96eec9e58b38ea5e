//! Comparisons of `tabdump -w`, which are those of SQL.

use std::str::FromStr;

use crate::cli::console::Usage;

/// A comparison of a column with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Where {
    pub(super) column: String,
    operator: &'static str,
    value: String,
}

/// Those that begin like others come before them.
const OPERATORS: [&str; 8] = ["==", "!=", "=~", "!~", "<=", ">=", "<", ">"];

impl FromStr for Where {
    type Err = Usage;

    fn from_str(text: &str) -> Result<Self, Usage> {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        let (column, rest) = text.split_at(end);
        let found = OPERATORS.iter().find_map(|op| Some((*op, rest.strip_prefix(op)?)));
        match found {
            Some((operator, value)) if !column.is_empty() => {
                Ok(Self { column: column.to_owned(), operator, value: value.to_owned() })
            }
            Some(_) | None => {
                Err(Usage(format!("'{text}' is not column==value, !=, <, <=, >, >=, =~ or !~")))
            }
        }
    }
}

impl Where {
    /// Whether a value fits. Texts are compared byte by byte.
    pub(super) fn holds(&self, found: &str) -> bool {
        let value = self.value.as_str();
        match self.operator {
            "==" => found == value,
            "!=" => found != value,
            "=~" => like(found, value),
            "!~" => !like(found, value),
            "<=" => found <= value,
            ">=" => found >= value,
            "<" => found < value,
            _ => found > value,
        }
    }
}

/// SQL's LIKE: `%` is any text, `_` any character.
fn like(text: &str, pattern: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = chars.as_str();
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.any(|at| like(&text[at..], rest))
        }
        Some(wanted) => {
            let mut rest = text.chars();
            rest.next().is_some_and(|found| wanted == '_' || found == wanted)
                && like(rest.as_str(), chars.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_as_sql_does() {
        for (condition, value, fits) in [
            ("groups=~all%", "all,aix", true),
            ("groups=~all", "all,aix", false),
            ("groups!~all", "aix", true),
            ("groups=~%a_x", "all,aix", true),
            ("groups==aix", "aix", true),
            ("groups!=linux", "aix", true),
            ("t>2011-04-18", "2011-04-19", true),
            ("t>2011-04-18", "2011-04-18", false),
            ("t>=2011-04-18", "2011-04-18", true),
            ("t<2011-04-19", "2011-04-18", true),
            ("t<=2011-04-18", "2011-04-19", false),
        ] {
            assert_eq!(condition.parse::<Where>().unwrap().holds(value), fits, "{condition} of {value}");
        }
        for wrong in ["groups", "=~all", "groups~all", ""] {
            wrong.parse::<Where>().unwrap_err();
        }
    }
}
