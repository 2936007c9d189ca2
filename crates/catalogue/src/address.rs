//! The address people reach an app at, as somebody typed it: `blog.example.org`, `https://example.org/blog`.

use crate::text::UrlPart;

/// An address in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    host: String,
    /// Port and path, as typed, without a slash at the end.
    rest: String,
}

impl Address {
    /// Takes an address apart; `http` when it does not say.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, after) = match text.split_once("://") {
            Some(("https", after)) => ("https", after),
            Some(("http", after)) => ("http", after),
            Some(_) => return None,
            None => ("http", text),
        };
        let after = after.trim_end_matches('/');
        let end = after.find(['/', ':']).unwrap_or(after.len());
        let (host, rest) = after.split_at(end);
        (is_host(host) && is_rest(rest)).then(|| Self { scheme, host: host.to_ascii_lowercase(), rest: rest.to_owned() })
    }

    /// Its port, if it says one.
    pub fn port(&self) -> Option<u16> {
        let digits = self.rest.strip_prefix(':')?;
        digits.split('/').next()?.parse().ok()
    }

    /// A part of it as text.
    pub fn part(&self, part: UrlPart) -> String {
        match part {
            UrlPart::Whole => format!("{}://{}{}", self.scheme, self.host, self.rest),
            UrlPart::Host => self.host.clone(),
            UrlPart::Scheme => self.scheme.to_owned(),
        }
    }
}

/// Labels of letters, digits and hyphens, with dots between them: names, and IPv4 addresses.
fn is_host(text: &str) -> bool {
    let character = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let label =
        |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(character);
    text.len() <= 253 && text.split('.').all(label)
}

/// `:8443/path`, each part of which may be missing.
fn is_rest(text: &str) -> bool {
    let (port, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let port = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok_and(|port| port != 0));
    port && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_typed() {
        for (typed, whole, host, scheme) in [
            ("blog.example.org", "http://blog.example.org", "blog.example.org", "http"),
            ("https://Blog.example.org/", "https://blog.example.org", "blog.example.org", "https"),
            ("http://localhost:8080", "http://localhost:8080", "localhost", "http"),
            ("https://example.org:8443/a/b/", "https://example.org:8443/a/b", "example.org", "https"),
            ("10.0.4.100", "http://10.0.4.100", "10.0.4.100", "http"),
        ] {
            let address = Address::parse(typed).unwrap();
            assert_eq!(address.part(UrlPart::Whole), whole);
            assert_eq!(address.part(UrlPart::Host), host);
            assert_eq!(address.part(UrlPart::Scheme), scheme);
            assert_eq!(address.port().is_some(), rest_has_port(whole));
        }
    }

    fn rest_has_port(whole: &str) -> bool {
        whole.matches(':').count() > 1
    }

    #[test]
    fn what_is_no_address() {
        for bad in [
            "",
            "/",
            "https://",
            "ftp://a.b",
            "a b",
            "a..b",
            "-a.b",
            "a:0",
            "a:x",
            "a:99999",
            "a/${name}",
            "a?b",
            "u@a.b",
            "ä.org",
        ] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }
}
