//! Setting values in somebody's spec without making any of them looser.

use serde_json::{Map, Value, map::Entry};
use tsutsumi_model::{Bytes, Count, Limit, Seconds};

/// A value of a foreign policy that cannot be compared with ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("spec.{path} is `{value}`, which cannot be compared with {wanted}")]
pub struct Unreadable {
    /// Where it stands, with dots.
    pub path: String,
    /// What stands there, as JSON.
    pub value: String,
    /// What we would have written.
    pub wanted: String,
}

/// A value that Envoy Gateway knows how to write.
pub(super) trait Written: Copy + Ord {
    /// As it is written.
    fn write(self) -> Value;
    /// Whether what stands there is no looser; none where that cannot be told.
    fn is_met_by(self, present: &Value) -> Option<bool>;
}

impl Written for Seconds {
    fn write(self) -> Value {
        format!("{}s", self.0).into()
    }

    /// Durations as in GEP-2257; none at all is no limit.
    fn is_met_by(self, present: &Value) -> Option<bool> {
        let present = milliseconds(present.as_str()?)?;
        Some(present > 0 && present <= u64::from(self.0.get()) * 1000)
    }
}

impl Written for Count {
    fn write(self) -> Value {
        self.0.get().into()
    }

    fn is_met_by(self, present: &Value) -> Option<bool> {
        Some(present.as_u64()? <= u64::from(self.0.get()))
    }
}

impl Written for Bytes {
    fn write(self) -> Value {
        self.0.to_string().into()
    }

    /// Quantities as Envoy Gateway takes them: a whole number, with a suffix or without.
    fn is_met_by(self, present: &Value) -> Option<bool> {
        let present = match present {
            Value::Number(number) => number.as_u64()?,
            Value::String(text) => quantity(text)?,
            _ => return None,
        };
        Some(present <= self.0.get())
    }
}

/// Sets a value, if there is one, where none stands or a looser one.
pub(super) fn tighten<T: Written, S>(
    spec: &mut Map<String, Value>,
    path: &[&str],
    limit: Option<&Limit<T, S>>,
) -> Result<(), Unreadable> {
    let Some(Limit { value: wanted, .. }) = limit else {
        return Ok(());
    };
    let unreadable = |present: &Value| Unreadable {
        path: path.join("."),
        value: present.to_string(),
        wanted: wanted.write().to_string(),
    };
    let Some((last, parents)) = path.split_last() else {
        return Ok(());
    };
    let mut at = spec;
    for parent in parents {
        let next = at.entry(*parent).or_insert_with(|| Value::Object(Map::new()));
        if !next.is_object() {
            return Err(unreadable(next));
        }
        let Value::Object(next) = next else {
            unreachable!("it was looked at")
        };
        at = next;
    }
    match at.entry(*last) {
        Entry::Vacant(free) => {
            free.insert(wanted.write());
        }
        Entry::Occupied(mut present) => {
            let met = wanted.is_met_by(present.get());
            if !met.ok_or_else(|| unreadable(present.get()))? {
                present.insert(wanted.write());
            }
        }
    }
    Ok(())
}

/// A duration of the Gateway API (GEP-2257): up to four numbers with a unit each.
fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at_checked(digits)?;
        let letters = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = unit.split_at_checked(letters)?;
        let size = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        sum = sum.checked_add(number.checked_mul(size)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

/// A whole number of bytes, decimal or with a suffix of Kubernetes' quantities.
fn quantity(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at_checked(digits)?;
    let power = |letter: char| "KMGTPE".find(letter).and_then(|at| u32::try_from(at + 1).ok());
    let mut letters = suffix.chars();
    let size = match (letters.next(), letters.as_str()) {
        (None, _) => 1,
        (Some(letter), "i") => 1024_u64.checked_pow(power(letter)?)?,
        (Some('k'), "") => 1000,
        (Some(letter), "") => 1000_u64.checked_pow(power(letter)?)?,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(size)
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use serde_json::json;

    use super::*;

    fn after(mut present: Value, path: &[&str], wanted: impl Written) -> Result<Value, Unreadable> {
        let spec = present.as_object_mut().unwrap();
        tighten(spec, path, Some(&Limit::from(wanted)))?;
        Ok(present)
    }

    #[test]
    fn only_what_is_looser_is_replaced() {
        let ten = Seconds(NonZeroU32::new(10).unwrap());
        for (present, expected) in [
            (json!({}), "10s"),
            (json!({"timeout": {"http": {}}}), "10s"),
            (json!({"timeout": {"http": {"idleTimeout": "1h"}}}), "10s"),
            (json!({"timeout": {"http": {"idleTimeout": "10s1ms"}}}), "10s"),
            (json!({"timeout": {"http": {"idleTimeout": "0s"}}}), "10s"),
            (
                json!({"timeout": {"http": {"idleTimeout": "10000ms"}}}),
                "10000ms",
            ),
            (json!({"timeout": {"http": {"idleTimeout": "5s"}}}), "5s"),
        ] {
            let path = ["timeout", "http", "idleTimeout"];
            let written = after(present.clone(), &path, ten).unwrap();
            assert_eq!(written["timeout"]["http"]["idleTimeout"], expected, "{present}");
        }
        let kilobyte = Bytes(NonZeroU64::new(1024).unwrap());
        for (present, expected) in [
            (json!("1Ki"), json!("1Ki")),
            (json!("1k"), json!("1k")),
            (json!(512), json!(512)),
            (json!("2Ki"), json!("1024")),
            (json!("1M"), json!("1024")),
        ] {
            let written = after(json!({"limit": present}), &["limit"], kilobyte).unwrap();
            assert_eq!(written["limit"], expected, "{present}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_named_and_left() {
        let ten = Seconds(NonZeroU32::new(10).unwrap());
        let path = ["timeout", "http", "idleTimeout"];
        for present in [
            json!({"timeout": {"http": {"idleTimeout": "soon"}}}),
            json!({"timeout": {"http": {"idleTimeout": 5}}}),
            json!({"timeout": {"http": {"idleTimeout": "5"}}}),
            json!({"timeout": {"http": {"idleTimeout": ""}}}),
            json!({"timeout": []}),
        ] {
            let error = after(present.clone(), &path, ten).unwrap_err().to_string();
            assert!(
                error.contains("spec.timeout.http.idleTimeout"),
                "{present}: {error}"
            );
        }
        let kilobyte = Bytes(NonZeroU64::new(1024).unwrap());
        for present in ["", "Ki", "1.5Ki", "1KiB", "1x", "99999999999E"] {
            assert!(
                after(json!({"limit": present}), &["limit"], kilobyte).is_err(),
                "{present}"
            );
        }
    }
}
