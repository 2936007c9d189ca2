//! `roost get`: an app of the store with all that belongs to it, in one step, or nothing.

mod images;
mod making;
mod parts;

use crate::{
    output::{self, Format},
    ports::{PairArg, PortArg},
    say, store,
};
use api::{
    Error, Kind, Name, Result, Span,
    app::AppRecord,
    path,
    server::Liveness,
    spec::{Protocol, PublishedPort},
    view::{ContainerView, ServerView, Version},
};
use catalogue::{Address, App, Catalogue, Engine, UrlPart};
use clap::Args;
use images::Origin;
use making::{Making, Place};
use parts::{Asked, Furnished, Part};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};
use tokio::io::AsyncReadExt as _;
use wire::client::Client;

/// Largest file of settings that is read.
const SETTINGS_MAX: u64 = 1 << 20;
/// Port of HTTP when an address says none.
const HTTP: u16 = 80;

/// Get an app of the store, with its database, volumes, passwords and address
///
/// Its image is its makers' own; where that cannot be pulled, and always with --from packages, it is made of Debian's packages. A database
/// it needs becomes a container of its own, on another server when there is one. Passwords are generated and remembered: got again after
/// its containers were removed, the app finds its data.
///
/// Example: roost get wordpress -u blog.example.org
///
/// Example: roost get roundcube mail -s ROUNDCUBEMAIL_DEFAULT_HOST=ssl://imap.example.org -s ROUNDCUBEMAIL_SMTP_SERVER=tls://smtp.example.org
#[derive(Args)]
pub struct GetArgs {
    /// Which app: see roost apps
    pub app: String,
    /// What it is to be called; the app's own name when absent
    pub name: Option<Name>,
    /// Address people reach it at: a host name, or a URL with http://; every server's DNS then knows the name
    #[arg(short, long)]
    pub url: Option<String>,
    /// Set a setting of the app: see roost apps show
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    pub setting: Vec<PairArg>,
    /// Read settings, a KEY=VALUE on each line, from a file; - for standard input. For passwords, which others could read in arguments
    #[arg(long, value_name = "FILE")]
    pub settings_from: Option<PathBuf>,
    /// Lead a further port of its server to it: 8080:80, 53:53/udp
    #[arg(short, long = "publish", value_name = "HOST:PORT")]
    pub publish: Vec<PortArg>,
    /// Server to put the app itself on; chosen when absent
    #[arg(long)]
    pub server: Option<Name>,
    /// What it is made from
    #[arg(long, value_enum)]
    pub from: Option<Origin>,
    /// Kind of database: mysql, postgresql, mongodb or redis; the app's first choice when absent
    #[arg(long, value_name = "KIND")]
    pub database: Option<String>,
    /// Wait no longer than this for each of its containers
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub timeout: Span,
    /// How to show what came of it
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    pub output: Format,
    /// Only say what would change: exit code 0 nothing, 1 error, 2 would change
    #[arg(long)]
    pub dry_run: bool,
}

/// What somebody wants to know once it is there.
#[derive(Serialize)]
struct Got {
    name: String,
    app: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Where each container is, as server:container.
    containers: Vec<String>,
    /// Passwords of the app itself that were made just now. They are shown this once.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
}

/// `roost get`.
pub async fn get(client: &Client, args: GetArgs) -> Result<u8> {
    let catalogue = store::catalogue()?;
    let app = catalogue.find(&args.app)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => Name::parse("container", &app.id)?,
    };
    let given = settings(&args).await?;
    let record = remembered(client, &name).await?;
    let domain = client.get::<Version>(path::VERSION).await?.domain;
    let wanted = Wanted::of(&catalogue, (app, &name), &args, (record.as_ref(), &domain))?;
    let several = servers(client, args.server.as_ref()).await? > 1;
    let parts = parts::parts(&catalogue, (app, &name), wanted.engine)?;
    let there: Vec<ContainerView> = client.get(path::CONTAINERS).await?;
    let there: BTreeSet<String> = there.into_iter().map(|view| view.name).collect();
    let now = api::Timestamp(base::env::now_millis());
    let standing = parts::standing(&parts, record.as_ref(), (&there, now))?;
    let asked = Asked { url: wanted.url.as_deref(), settings: &given, record: record.as_ref(), domain: &domain };
    // What was typed wrongly is said before anything is fetched.
    parts::furnish(parts.clone(), &asked, &mut random)?;
    if args.dry_run {
        return dry(&parts, &standing);
    }
    let parts = fetched(client, parts, (args.from, record.as_ref(), &standing)).await?;
    let furnished = parts::furnish(parts, &asked, &mut random)?;
    let got = make(client, (app, &name), furnished, Whole { args: &args, wanted: &wanted, record, standing, several }).await?;
    output::one(got, &[], args.output)?;
    Ok(0)
}

/// What is asked for, with what is remembered where nothing was said.
struct Wanted {
    url: Option<String>,
    engine: Option<Engine>,
    publish: Vec<PublishedPort>,
    hosts: Vec<String>,
}

impl Wanted {
    fn of(
        catalogue: &Catalogue,
        (app, name): (&App, &Name),
        args: &GetArgs,
        (record, domain): (Option<&AppRecord>, &str),
    ) -> Result<Self> {
        if let Some(record) = record.filter(|record| record.app != app.id) {
            return Err(Error::conflict(format!("{name} was got as {}, and its data is there", record.app))
                .hint(format!("get {} under another name, or: roost apps delete {name}", app.id)));
        }
        let word = args.database.as_deref();
        let asked = word.map(|word| Engine::of(word).ok_or_else(|| unknown_engine(word))).transpose()?;
        let before = record.and_then(|record| parts::remembered_engine(catalogue, record));
        if let (Some(asked), Some(before)) = (asked, before)
            && asked != before
        {
            return Err(Error::conflict(format!("the data of {name} is in a {before} database, not in {asked}")));
        }
        let url = args.url.clone().or_else(|| record.and_then(|record| record.url.clone()));
        let mut publish: Vec<PublishedPort> = args.publish.iter().map(|PortArg(port)| *port).collect();
        let mut hosts = Vec::new();
        if let Some(url) = &url {
            let (host, port) = address(app, url, domain)?;
            let web = app.web.or_else(|| app.packaged().and_then(|packaged| packaged.web));
            let web = web.ok_or_else(|| {
                Error::usage(format!("{} answers no HTTP: leave -u out", app.id)).hint("publish a port with -p")
            })?;
            publish.push(PublishedPort { host: port, container: web, protocol: Protocol::Tcp });
            hosts.extend(host);
        }
        Ok(Self { url, engine: asked.or(before), publish, hosts })
    }
}

fn unknown_engine(word: &str) -> Error {
    let known: Vec<&str> = Engine::ALL.into_iter().map(Engine::as_str).collect();
    Error::usage(format!("{word:?} is not a kind of database: use one of {}", known.join(", ")))
}

/// The host name of an address, if it is a name, and its port.
fn address(app: &App, url: &str, domain: &str) -> Result<(Option<String>, u16)> {
    let address = Address::parse(url).ok_or_else(|| Error::from(catalogue::Problem::BadUrl { url: url.to_owned() }))?;
    if address.part(UrlPart::Scheme) != "http" {
        return Err(Error::usage(format!("{url} is not served: apps answer HTTP only; write http:// or no scheme"))
            .hint(format!("for HTTPS put a proxy in front of {}", app.id)));
    }
    let host = address.part(UrlPart::Host);
    let is_number = host.parse::<std::net::Ipv4Addr>().is_ok();
    if !is_number {
        api::validate::check(api::validate::hosts(std::slice::from_ref(&host), domain))?;
    }
    Ok((Some(host).filter(|_| !is_number), address.port().unwrap_or(HTTP)))
}

/// Settings from flags and from a file; flags come last.
async fn settings(args: &GetArgs) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    if let Some(file) = &args.settings_from {
        let shown = file.display().to_string();
        let mut text = String::new();
        let read = if shown == "-" {
            tokio::io::stdin().take(SETTINGS_MAX).read_to_string(&mut text).await
        } else {
            let open = tokio::fs::File::open(file).await.map_err(|error| super::unreadable(&shown, &error))?;
            open.take(SETTINGS_MAX).read_to_string(&mut text).await
        };
        read.map_err(|error| super::unreadable(&shown, &error))?;
        settings = lines(&shown, &text)?;
    }
    settings.extend(args.setting.iter().map(|PairArg(key, value)| (key.clone(), value.clone())));
    Ok(settings)
}

/// `KEY=VALUE` on each line. Values are not repeated in complaints.
fn lines(file: &str, text: &str) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    for (index, line) in numbered {
        let pair = line.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.ok_or_else(|| Error::usage(format!("{file}, line {}: write KEY=VALUE", index + 1)))?;
        settings.insert(key.to_owned(), value.to_owned());
    }
    Ok(settings)
}

async fn remembered(client: &Client, name: &Name) -> Result<Option<AppRecord>> {
    match client.get(&format!("{}/{name}", path::APPS)).await {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// So many random letters and digits.
fn random(length: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let [byte] = base::env::random_bytes::<1>();
        // Bytes beyond the last whole round of the letters would make the first ones likelier.
        if usize::from(byte) < 256 / LETTERS.len() * LETTERS.len() {
            text.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        }
    }
    text
}

/// The parts with what each is made from, which is in the cluster then. What was made before of one thing is not made of another.
async fn fetched(
    client: &Client,
    parts: Vec<Part>,
    (asked, record, standing): (Option<Origin>, Option<&AppRecord>, &BTreeSet<Name>),
) -> Result<Vec<Part>> {
    let mut out = Vec::new();
    let last = parts.last().map(|part| part.container.clone());
    for part in parts {
        let main = last.as_ref() == Some(&part.container);
        let before = record.and_then(|record| record.parts.iter().find(|known| known.container == part.container));
        let origin = origin((&part, main), asked, before.map(|before| before.packages))?;
        let packages = if standing.contains(&part.container) {
            before.is_some_and(|before| before.packages)
        } else {
            images::obtain(client, &part.app, origin).await?
        };
        out.push(Part { packages, ..part });
    }
    Ok(out)
}

fn origin((part, main): (&Part, bool), asked: Option<Origin>, before: Option<bool>) -> Result<Option<Origin>> {
    let before = before.map(|packages| if packages { Origin::Packages } else { Origin::Image });
    // What is needed beside an app may have no recipe though the app has.
    let asked = asked.filter(|origin| *origin != Origin::Packages || part.app.packages.is_some() || main);
    match (asked, before) {
        (Some(asked), Some(before)) if asked != before => {
            let was = if before == Origin::Packages { "packages" } else { "its makers' image" };
            Err(Error::conflict(format!("the data of {} was made with {was}: leave --from out", part.container)))
        }
        (Some(Origin::Packages), _) if part.app.packages.is_none() => Err(images::no_packages(&part.app)),
        (asked, before) => Ok(asked.or(before)),
    }
}

fn dry(parts: &[Part], standing: &BTreeSet<Name>) -> Result<u8> {
    let mut text = String::new();
    for part in parts.iter().filter(|part| !standing.contains(&part.container)) {
        text.push_str(&format!("make container {} ({})\n", part.container, part.app.id));
    }
    super::would(text.trim_end())
}

/// All that the making of an app goes by.
struct Whole<'a> {
    args: &'a GetArgs,
    wanted: &'a Wanted,
    record: Option<AppRecord>,
    standing: BTreeSet<Name>,
    /// There is more than one server to choose from.
    several: bool,
}

async fn make(client: &Client, (app, name): (&App, &Name), furnished: Vec<Furnished>, whole: Whole<'_>) -> Result<Got> {
    let parts = furnished.iter().map(|one| one.remembered.clone()).collect();
    let generation = whole.record.as_ref().map_or(0, |record| record.generation);
    let record = AppRecord {
        name: name.clone(),
        app: app.id.clone(),
        generation,
        url: whole.wanted.url.clone(),
        parts,
        got: api::Timestamp(0),
        making_until: None,
    };
    let mut making = Making::begin(client, record, (whole.record.is_none(), whole.args.timeout)).await?;
    for one in furnished.iter().filter(|one| !whole.standing.contains(&one.part.container)) {
        let main = one.part.is_main_of(name);
        let place = Place {
            server: whole.args.server.clone().filter(|_| main),
            avoid: one.part.database.clone().filter(|_| whole.several).into_iter().collect(),
            publish: if main { whole.wanted.publish.clone() } else { Vec::new() },
            hosts: if main { whole.wanted.hosts.clone() } else { Vec::new() },
        };
        if let Err(error) = making.part(one, place).await {
            return Err(making.undo(error).await);
        }
    }
    let record = making.end().await?;
    let main = furnished.last();
    let secrets = main
        .map(|main| main.fresh.iter().filter_map(|name| Some((name.clone(), main.instance.env.get(name)?.clone()))).collect());
    let notes = app.notes.clone();
    let url = whole.wanted.url.as_deref().and_then(Address::parse).map(|address| address.part(UrlPart::Whole));
    say::done(&format!("{name} is there{}", url.as_ref().map_or_else(String::new, |url| format!(" · {url}"))));
    let containers = record.parts.iter().map(|part| match &part.server {
        Some(server) => format!("{server}:{}", part.container),
        None => part.container.to_string(),
    });
    let containers = containers.collect();
    Ok(Got { name: name.to_string(), app: app.id.clone(), url, containers, secrets: secrets.unwrap_or_default(), notes })
}

/// How many servers take containers. The one asked for must be there.
async fn servers(client: &Client, asked: Option<&Name>) -> Result<usize> {
    let servers: Vec<ServerView> = client.get(path::SERVERS).await?;
    if let Some(asked) = asked.filter(|asked| servers.iter().all(|server| server.spec.name != **asked)) {
        let known: Vec<&str> = servers.iter().map(|server| server.spec.name.as_str()).collect();
        return Err(Error::not_found(format!("no server {asked}")).hint(format!("did you mean {}?", known.join(", "))));
    }
    Ok(servers.iter().filter(|server| server.liveness == Liveness::Alive && !server.spec.draining).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let catalogue = Catalogue::compiled().unwrap();
        let app = catalogue.get("wordpress").unwrap();
        let of = |url: &str| address(app, url, "internal").map_err(|error| error.message);
        assert_eq!(of("blog.example"), Ok((Some("blog.example".into()), 80)));
        assert_eq!(of("http://Blog.example:8080/"), Ok((Some("blog.example".into()), 8080)));
        assert_eq!(of("10.0.0.5"), Ok((None, 80)));
        assert_eq!(
            of("https://blog.example"),
            Err("https://blog.example is not served: apps answer HTTP only; write http:// or no scheme".into())
        );
        assert!(of("ftp://blog.example").is_err_and(|why| why.contains("is not an address")));
        assert!(of("blog").is_err_and(|why| why.contains("\"blog\" is not a host name")));
    }

    #[test]
    fn settings_of_a_file() {
        let read = lines("f", "# a comment\nA=1\n\nB=x=y\n").unwrap();
        assert_eq!(read, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())].into());
        let error = lines("f", "A=1\nhidden\n").unwrap_err();
        assert_eq!(error.message, "f, line 2: write KEY=VALUE");
    }

    #[test]
    fn secrets_are_letters_and_digits_and_never_the_same() {
        let (one, other) = (random(24), random(24));
        assert!(one.len() == 24 && one.bytes().all(|b| b.is_ascii_alphanumeric()) && one != other);
    }
}
