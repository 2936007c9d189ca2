//! Where in a file a field stands, so that a complaint about it is found at once.

use toml::de::{DeTable, DeValue};

/// The line of a field, from 1: of `ports.1` that of the second port. The line of what is around it when it is not there; 0 when
/// nothing is around it, or the file is not TOML.
pub fn line_of(text: &str, field: &str) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 0 };
    match offset(table.get_ref(), field) {
        Some(offset) => text.get(..offset).unwrap_or_default().matches('\n').count() + 1,
        None => 0,
    }
}

fn offset(table: &DeTable<'_>, field: &str) -> Option<usize> {
    // Names of settings may have dots themselves: the longest that fits is meant.
    let mut fits: Vec<_> = table.iter().filter_map(|(key, value)| Some((key, value, below(field, key.get_ref())?))).collect();
    fits.sort_by_key(|(_, _, rest)| rest.len());
    let (key, value, rest) = fits.first()?;
    let inner = match value.get_ref() {
        DeValue::Table(table) => offset(table, rest),
        DeValue::Array(items) => rest.parse::<usize>().ok().and_then(|index| Some(items.get(index)?.span().start)),
        _ => None,
    };
    inner.or(Some(key.span().start))
}

/// What of a field's path comes after this key.
fn below<'a>(field: &'a str, key: &str) -> Option<&'a str> {
    let rest = field.strip_prefix(key)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let text = "title = \"x\"\nports = [\n  \"80\",\n  \"70000\",\n]\n\n[settings.A]\nvalue = \"a\"\n\n[settings.\"A.b\"]\nvalue = \"b\"\n\n[check]\ntcp = 1\n";
        for (field, line) in [
            ("title", 1),
            ("ports", 2),
            ("ports.1", 4),
            ("ports.9", 2),
            ("settings.A.value", 8),
            ("settings.A.b.value", 11),
            ("settings.A.secret", 7),
            ("check.tcp", 14),
            ("home", 0),
            ("", 0),
        ] {
            assert_eq!(line_of(text, field), line, "{field}");
        }
        assert_eq!(line_of("a = = b", "a"), 0);
    }
}
