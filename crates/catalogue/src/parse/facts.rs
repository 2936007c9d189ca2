//! Fields that stand for themselves: home, image, ports, volumes, command.

use crate::{
    app::{App, Check, Port},
    fields::{Complaints, Fields},
};
use api::spec::{Protocol, limits};
use std::collections::BTreeSet;

/// Most volumes of one app.
const VOLUMES: usize = 32;

/// Its web site.
pub fn home(fields: &mut Fields, out: &mut Complaints) -> String {
    let home = fields.line("home", "its web site", out);
    let rest = home.strip_prefix("https://").or_else(|| home.strip_prefix("http://"));
    let site = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !home.contains(char::is_whitespace));
    if !home.is_empty() && !site {
        out.say("home", format!("home {home:?} is not an address: begin with https:// or http://"));
    }
    home
}

/// Its image, which must say which version.
pub fn image(fields: &mut Fields, out: &mut Complaints) -> String {
    let image = fields.line("image", "where it is fetched from, with a tag", out);
    if image.is_empty() {
        return image;
    }
    match api::image::normalise(&image) {
        Err(error) => out.say("image", format!("image: {}", error.message)),
        Ok(normal) if normal != image => {
            out.say("image", format!("image {image:?} has no tag: say which version, as in {image}:1"))
        }
        Ok(_) => {}
    }
    image
}

/// The port that answers HTTP.
pub fn web(fields: &mut Fields, out: &mut Complaints) -> Option<u16> {
    let path = fields.path("web");
    let number = fields.number("web", out)?;
    let port = port(&number.to_string());
    if port.is_none() {
        out.say(path, not_a_port(&number.to_string()));
    }
    port
}

/// Every port.
pub fn ports(fields: &mut Fields, out: &mut Complaints) -> Vec<Port> {
    optional_ports(fields, out).unwrap_or_default()
}

/// Every port, if any are written down.
pub fn optional_ports(fields: &mut Fields, out: &mut Complaints) -> Option<Vec<Port>> {
    let path = fields.path("ports");
    let texts = fields.texts("ports", out)?;
    if texts.len() > limits::PORTS_PER_POD {
        out.say(&path, format!("there are {} ports: at most {}", texts.len(), limits::PORTS_PER_POD));
    }
    let mut ports = Vec::new();
    for (index, text) in texts.into_iter().enumerate() {
        let field = format!("{path}.{index}");
        let (number, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(&text), Protocol::Tcp),
            Some((number, "udp")) => (number, Protocol::Udp),
            Some((_, other)) => {
                out.say(field, format!("port {text} has the protocol {other:?}: write /udp, or nothing for TCP"));
                continue;
            }
        };
        match port(number).map(|number| Port { number, protocol }) {
            None => out.say(field, not_a_port(number)),
            Some(port) if ports.contains(&port) => out.say(field, format!("port {port} is listed twice: once is enough")),
            Some(port) => ports.push(port),
        }
    }
    Some(ports)
}

/// Directories that must outlive a container.
pub fn volumes(fields: &mut Fields, out: &mut Complaints) -> Vec<String> {
    optional_volumes(fields, out).unwrap_or_default()
}

/// The same, if any are written down.
pub fn optional_volumes(fields: &mut Fields, out: &mut Complaints) -> Option<Vec<String>> {
    let path = fields.path("volumes");
    let volumes = fields.texts("volumes", out)?;
    if volumes.len() > VOLUMES {
        out.say(&path, format!("there are {} volumes: at most {VOLUMES}", volumes.len()));
    }
    let mut known = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let field = format!("{path}.{index}");
        if !is_path(volume) {
            out.say(field, format!("volume {volume:?} is not a directory below /: begin with /, without . and .."));
        } else if !known.insert(volume) {
            out.say(field, format!("volume {volume} is listed twice: once is enough"));
        }
    }
    Some(volumes)
}

/// Absolute, below the root, each part a name, no slash at the end.
pub fn is_path(text: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    text.strip_prefix('/').is_some_and(|below| below.split('/').all(part))
}

/// Program and arguments, if they are given.
pub fn command(fields: &mut Fields, name: &'static str, out: &mut Complaints) -> Option<Vec<String>> {
    let words = fields.texts(name, out)?;
    let path = fields.path(name);
    if words.first().is_none_or(String::is_empty) {
        out.say(&path, format!("{path} is empty: leave it out, or write the program and its arguments"));
    }
    if words.iter().any(|word| word.contains("${")) {
        out.say(&path, format!("{path} has a ${{ in it: only values of settings are filled in"));
    }
    Some(words)
}

/// A port from its digits.
pub fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// Why a port is none.
pub fn not_a_port(text: &str) -> String {
    format!("port {text} is not a port: 1 to 65535")
}

/// Complains when the web port, or the one that is checked, is not among its TCP ports, or is not there.
///
/// `inside` is what the fields' names begin with.
pub fn ports_agree(inside: &str, app: &App, out: &mut Complaints) {
    let checked = match app.check {
        // 0 has been complained about.
        Some(Check::Tcp(port)) if port != 0 => Some(port),
        _ => None,
    };
    for (field, number) in [("web", app.web), ("check.tcp", checked)] {
        let listed = |number| app.ports.contains(&Port { number, protocol: Protocol::Tcp });
        if let Some(number) = number
            && !listed(number)
        {
            let field = format!("{inside}{field}");
            out.say(&field, format!("{field} is port {number}, which it does not listen on: add \"{number}\" to ports"));
        }
    }
    if matches!(app.check, Some(Check::Http(_))) && app.web.is_none() {
        let field = format!("{inside}check.http");
        out.say(&field, format!("{field} asks the web port, and there is none: set web"));
    }
}
