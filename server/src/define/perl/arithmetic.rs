//! Arithmetic in computed values: Perl's operators `+ - * / % **` under `use integer`, and `sprintf` of one number.

use super::PerlError;

/// The text of a capture, by its number.
type Capture<'a> = &'a dyn Fn(usize) -> Option<&'a str>;

/// What an expression comes to. A capture alone keeps its text, zeros before it too.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(i64),
}

impl Value {
    /// Perl's number in a text: its leading digits.
    fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            Self::Text(text) => {
                let text = text.trim_start();
                let unsigned = text.trim_start_matches(['+', '-']);
                let digits = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
                let sign = &text[..text.len() - unsigned.len()];
                let number =
                    unsigned[..digits].parse::<i64>().unwrap_or(if digits == 0 { 0 } else { i64::MAX });
                if sign == "-" { number.wrapping_neg() } else { number }
            }
        }
    }

    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// Why a text is no arithmetic, or has no result.
enum Stop {
    Syntax(&'static str),
    /// Division by zero and the like: Perl's result is empty.
    Undefined,
}

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 32;

/// The result of an expression, in its parentheses.
pub(super) fn calculate<'a>(text: &'a str, capture: Capture<'a>) -> Result<String, PerlError> {
    match evaluate(text, capture) {
        Ok(value) => Ok(value.text()),
        Err(Stop::Undefined) => Ok(String::new()),
        Err(Stop::Syntax(reason)) => Err(PerlError::Arithmetic { text: text.to_owned(), reason }),
    }
}

/// Whether an expression can be calculated at all.
pub(super) fn check(text: &str) -> Result<(), PerlError> {
    calculate(text, &|_| Some("1")).map(drop)
}

fn evaluate<'a>(text: &'a str, capture: Capture<'a>) -> Result<Value, Stop> {
    if text.contains("--") || text.contains("++") {
        return Err(Stop::Syntax(
            "to Perl, -- and ++ are operators of their own; write a space between the signs",
        ));
    }
    let mut reader = Reader { rest: text.trim(), capture, depth: 0 };
    let value = reader.sum()?;
    if reader.rest.is_empty() { Ok(value) } else { Err(Stop::Syntax("a number or an operator is expected")) }
}

struct Reader<'a> {
    rest: &'a str,
    capture: Capture<'a>,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, sign: &str) -> bool {
        let found = self.rest.strip_prefix(sign).map(str::trim_start);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn digits(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    fn sum(&mut self) -> Result<Value, Stop> {
        let mut value = self.product()?;
        loop {
            if self.take("+") {
                value = Value::Number(value.number().wrapping_add(self.product()?.number()));
            } else if self.take("-") {
                value = Value::Number(value.number().wrapping_sub(self.product()?.number()));
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Value, Stop> {
        let mut value = self.signed()?;
        loop {
            let number = if !self.rest.starts_with("**") && self.take("*") {
                value.number().wrapping_mul(self.signed()?.number())
            } else if self.take("/") {
                value.number().checked_div(self.signed()?.number()).ok_or(Stop::Undefined)?
            } else if self.take("%") {
                value.number().checked_rem(self.signed()?.number()).ok_or(Stop::Undefined)?
            } else {
                return Ok(value);
            };
            value = Value::Number(number);
        }
    }

    /// A sign binds less than a power: -2**2 is -4.
    fn signed(&mut self) -> Result<Value, Stop> {
        let mut negative = false;
        loop {
            if self.take("-") {
                negative = !negative;
            } else if !self.take("+") {
                break;
            }
        }
        let value = self.power()?;
        Ok(if negative { Value::Number(value.number().wrapping_neg()) } else { value })
    }

    fn power(&mut self) -> Result<Value, Stop> {
        let base = self.atom()?;
        if !self.take("**") {
            return Ok(base);
        }
        let exponent = u32::try_from(self.signed()?.number()).map_err(|_| Stop::Undefined)?;
        base.number().checked_pow(exponent).map(Value::Number).ok_or(Stop::Undefined)
    }

    fn atom(&mut self) -> Result<Value, Stop> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(Stop::Syntax("parentheses are nested too deeply"));
            }
            let value = self.sum()?;
            self.depth -= 1;
            return if self.take(")") { Ok(value) } else { Err(Stop::Syntax("a parenthesis is not closed")) };
        }
        if self.take("sprintf") {
            return self.sprintf();
        }
        if self.take("$") {
            return self.captured();
        }
        let digits = self.digits();
        let number = match digits {
            "" => return Err(Stop::Syntax("a number or $1, $2… is expected")),
            // A number in the program, unlike one in a name, is octal when it begins with a zero.
            _ if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8),
            _ => digits.parse(),
        };
        self.rest = self.rest.trim_start();
        number.map(Value::Number).map_err(|_| Stop::Syntax("a number is not valid"))
    }

    /// `$1` or `${1}`.
    fn captured(&mut self) -> Result<Value, Stop> {
        let braced = self.take("{");
        let number = self.digits().parse::<usize>().ok().filter(|number| *number > 0);
        let number = number.ok_or(Stop::Syntax("after $ comes a number from 1"))?;
        if braced && !self.take("}") {
            return Err(Stop::Syntax("a brace is not closed"));
        }
        self.rest = self.rest.trim_start();
        Ok(Value::Text((self.capture)(number).unwrap_or_default().to_owned()))
    }

    /// `sprintf("%02d",$1+0)`, of one number.
    fn sprintf(&mut self) -> Result<Value, Stop> {
        let opened = self.take("(");
        let quote = if self.take("\"") { '"' } else { '\'' };
        if quote == '\'' && !self.take("'") {
            return Err(Stop::Syntax("sprintf takes a format in quotes and one number"));
        }
        let (format, rest) = self.rest.split_once(quote).ok_or(Stop::Syntax("a quote is not closed"))?;
        self.rest = rest.trim_start();
        if !self.take(",") {
            return Err(Stop::Syntax("sprintf takes a format in quotes and one number"));
        }
        let value = self.sum()?;
        if opened && !self.take(")") {
            return Err(Stop::Syntax("a parenthesis is not closed"));
        }
        formatted(format, &value).map(Value::Text)
    }
}

/// Perl's `sprintf` with one conversion: `%d %u %x %X %o %s`, with width and zeros.
fn formatted(format: &str, value: &Value) -> Result<String, Stop> {
    const WRONG: Stop = Stop::Syntax("the format must have one of %d %u %x %X %o %s, with a width below 100");
    let (before, conversion) = format.split_once('%').ok_or(WRONG)?;
    let end = conversion.find(|c: char| c.is_ascii_alphabetic()).ok_or(WRONG)?;
    let (spec, letter) = (&conversion[..end], &conversion[end..=end]);
    let after = &conversion[end + 1..];
    let zeros = spec.starts_with('0');
    let width: usize = if spec.is_empty() { 0 } else { spec.parse().map_err(|_| WRONG)? };
    if width > 99 || after.contains('%') {
        return Err(WRONG);
    }
    let number = value.number();
    let text = match letter {
        "d" | "u" if zeros => format!("{number:0width$}"),
        "d" | "u" => format!("{number:width$}"),
        "x" if zeros => format!("{number:0width$x}"),
        "x" => format!("{number:width$x}"),
        "X" if zeros => format!("{number:0width$X}"),
        "X" => format!("{number:width$X}"),
        "o" if zeros => format!("{number:0width$o}"),
        "o" => format!("{number:width$o}"),
        "s" => format!("{:>width$}", value.clone().text()),
        _ => return Err(WRONG),
    };
    Ok(format!("{before}{text}{after}"))
}
