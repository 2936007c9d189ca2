//! What went wrong with a request, in words.

use super::pool::Endpoint;
use crate::tls::explain_io;
use api::{Error, Kind};
use http::{Method, StatusCode};
use std::{error::Error as StdError, fmt};

/// Characters of a foreign answer that are shown.
const SHOWN: usize = 200;

/// A request, as errors name it.
#[derive(Clone)]
pub(crate) struct Call {
    pub method: Method,
    pub path: String,
}

impl Call {
    pub fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned() }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Endpoint {
    /// The connection broke off before the request was answered.
    pub(crate) fn lost(&self, call: &Call, error: &hyper::Error) -> Error {
        if let Endpoint::Tls(remote) = self
            && let Some(error) = explain_io(error, remote)
        {
            return error;
        }
        if error.is_user() {
            let cause = error.source().map_or_else(|| error.to_string(), innermost);
            return Error::failed(format!("what {call} should send cannot be read: {cause}"));
        }
        let peer = self.name();
        Error::unreachable(format!("{peer} broke off the connection before it answered {call}")).detail(innermost(error))
    }
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// The server's "no": its own words if it is a server of ours.
pub(crate) fn answered(call: &Call, status: StatusCode, body: &[u8]) -> Error {
    if let Ok(error) = serde_json::from_slice::<Error>(body) {
        return error;
    }
    let error = Error::new(kind(status), format!("{call} was answered with {status}"));
    match String::from_utf8_lossy(body).trim() {
        "" => error,
        text => error.detail(text.chars().take(SHOWN).collect::<String>()),
    }
}

fn kind(status: StatusCode) -> Kind {
    match status.as_u16() {
        401 | 403 => Kind::NotAllowed,
        404 => Kind::NotFound,
        409 | 412 => Kind::Conflict,
        502..=504 => Kind::Unreachable,
        400..=499 => Kind::Usage,
        _ => Kind::Failed,
    }
}
