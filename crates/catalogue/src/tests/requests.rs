//! What a request becomes, and why some are refused.

use super::{compiled, database, letters};
use crate::{App, Engine, Instance, Problem, Request, instantiate, parse};
use api::spec::{Probe, Protocol};
use std::collections::BTreeMap;

fn settings(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn request(app: &App, given: &[(&str, &str)]) -> Request {
    let engine = app.database.as_ref().filter(|database| !database.optional).map(|wanted| wanted.engines[0]);
    let needs = app.needs.iter().map(|need| (need.clone(), format!("{need}.internal"))).collect();
    Request { name: "mine".into(), url: None, settings: settings(given), database: engine.map(database), needs }
}

fn made(app: &App, request: &Request) -> Instance {
    instantiate(app, request, &mut letters()).unwrap_or_else(|why| panic!("{why}"))
}

fn refused(id: &str, change: impl FnOnce(&mut Request)) -> api::Error {
    let catalogue = compiled();
    let app = catalogue.get(id).unwrap();
    let mut request = request(app, &[]);
    change(&mut request);
    instantiate(app, &request, &mut letters()).unwrap_err().into()
}

#[test]
fn wordpress_gets_its_database() {
    let catalogue = compiled();
    let app = catalogue.get("wordpress").unwrap();
    let instance = made(app, &request(app, &[("WORDPRESS_TABLE_PREFIX", "blog_")]));
    assert_eq!(
        instance.env,
        settings(&[
            ("WORDPRESS_DB_HOST", "db-1.internal:3306"),
            ("WORDPRESS_DB_NAME", "wiki"),
            ("WORDPRESS_DB_PASSWORD", "p@ss/word"),
            ("WORDPRESS_DB_USER", "writer"),
            ("WORDPRESS_TABLE_PREFIX", "blog_"),
        ])
    );
    assert_eq!(instance.secrets, ["WORDPRESS_DB_PASSWORD".to_owned()].into());
    assert_eq!(instance.volumes, ["/var/www/html"]);
    assert_eq!((instance.ports[0].number, instance.ports[0].protocol), (80, Protocol::Tcp));
    assert_eq!(instance.check, Some(Probe::Http { port: 80, path: "/wp-login.php".into(), host: None }));
}

/// An app with one of everything.
const ALL: &str = r#"title = "All"
summary = "One of everything"
category = "Test"
home = "https://all.example.org"
licence = "MIT"
image = "docker.io/example/all:1"
url = "optional"
known = "made up"

[database]
engines = ["postgresql", "mysql"]
optional = true
words = { postgresql = "pgsql" }

[settings.A]
value = "${name}"

[settings.B]
secret = 8

[settings.C]
value = "${secret.B}-${setting.A}-${secret.B}"

[settings.D]
secret = 8
form = "hex"
prefix = "x:"

[settings.E]
value = "${url.scheme} ${url.host} ${url}"

[settings.F]
optional = true
sensitive = true

[settings.G]
value = "${setting.F}!"

[settings.H]
value = "${database.engine}"

[settings.I]
value = "only"
engine = "mysql"

[settings.J]
value = "${database.url}"
"#;

#[test]
fn one_of_everything() {
    let app = parse("all", ALL).unwrap_or_else(|why| panic!("{why}"));
    let bare = Request { name: "mine".into(), ..Request::default() };
    let (b, d) = ("aaaaaaaa", "x:6262626262626262");
    let expected = settings(&[("A", "mine"), ("B", b), ("C", "aaaaaaaa-mine-aaaaaaaa"), ("D", d)]);
    assert_eq!(made(&app, &bare).env, expected);

    let full = Request {
        url: Some("https://all.example.org/".into()),
        settings: settings(&[("B", "mine too"), ("F", "f ${name}")]),
        database: Some(database(Engine::Postgresql)),
        ..bare.clone()
    };
    let instance = made(&app, &full);
    let expected = settings(&[
        ("A", "mine"),
        ("B", "mine too"),
        ("C", "mine too-mine-mine too"),
        ("D", "x:6161616161616161"),
        ("E", "https all.example.org https://all.example.org"),
        ("F", "f ${name}"),
        ("G", "f ${name}!"),
        ("H", "pgsql"),
        ("J", "pgsql://writer:p%40ss%2Fword@db-1.internal:3306/wiki"),
    ]);
    assert_eq!(instance.env, expected, "what is given stands as it is given");
    assert_eq!(instance.secrets, ["B", "C", "D", "F", "G", "J"].map(str::to_owned).into());

    let mysql = Request { database: Some(database(Engine::Mysql)), ..bare };
    let env = made(&app, &mysql).env;
    assert_eq!((env["H"].as_str(), env["I"].as_str()), ("mysql", "only"));
}

#[test]
fn a_value_instead_of_one_with_a_secret_in_it_is_a_secret() {
    let app = parse("all", ALL).unwrap_or_else(|why| panic!("{why}"));
    let request = Request { settings: settings(&[("C", "given"), ("A", "open")]), ..Request::default() };
    let secrets = made(&app, &request).secrets;
    assert!(secrets.contains("C") && !secrets.contains("A"));
}

#[test]
fn values_that_double_do_not_outgrow_everything() {
    let double = |step: u32| format!("[settings.S{step}]\nvalue = \"${{setting.S{0}}}${{setting.S{0}}}\"\n", step + 1);
    let doubling: String = (0..60).map(double).collect();
    let text = ALL.split("[database]").next().unwrap().replace("url =", "notes =");
    let app = parse("all", &format!("{text}{doubling}[settings.S60]\nvalue = \"x\"\n")).unwrap_or_else(|why| panic!("{why}"));
    let refused = instantiate(&app, &Request::default(), &mut letters()).unwrap_err();
    assert_eq!(refused, Problem::BadValue { setting: "S42".into(), most: 131_072 });
    let request = Request { settings: settings(&[("S0", "x"), ("S1", "x")]), ..Request::default() };
    assert_eq!(instantiate(&app, &request, &mut letters()).unwrap_err(), refused);
}

#[test]
fn an_address_is_needed_only_where_it_is_used() {
    let error = refused("ghost", |_| ());
    assert_eq!(error.message, "ghost must know the address people reach it at: give it with -u, as in -u ghost.example.org");
    let catalogue = compiled();
    let ghost = catalogue.get("ghost").unwrap();
    let instance = made(ghost, &request(ghost, &[("url", "http://10.0.4.10:2368")]));
    assert_eq!(instance.env["url"], "http://10.0.4.10:2368");
    let error = refused("ghost", |request| request.url = Some("my blog".into()));
    assert_eq!(
        error.message,
        "\"my blog\" is not an address: write a name, as in blog.example.org, or a URL, as in https://example.org/blog"
    );
}

#[test]
fn settings_that_are_unknown_or_missing() {
    let error = refused("wordpress", |request| request.settings = settings(&[("WORDPRESS_DB_HOTS", "x")]));
    assert_eq!(error.message, "wordpress has no setting WORDPRESS_DB_HOTS");
    assert_eq!(error.hint.as_deref(), Some("did you mean WORDPRESS_DB_HOST?"));
    let error = refused("redis", |request| request.settings = settings(&[("PASSWORD", "x")]));
    assert_eq!((error.message.as_str(), error.hint), ("redis has no setting PASSWORD", None));
    let error = refused("minecraft", |_| ());
    assert_eq!(error.message, "minecraft must be told EULA: give each with -s, as in -s EULA=…");
    assert_eq!(error.details, ["EULA: TRUE, when you accept the licence of Minecraft"]);
    let error = refused("roundcube", |_| ());
    assert_eq!(
        error.message,
        "roundcube must be told ROUNDCUBEMAIL_DEFAULT_HOST and ROUNDCUBEMAIL_SMTP_SERVER: \
         give each with -s, as in -s ROUNDCUBEMAIL_DEFAULT_HOST=…"
    );
    let error = refused("mysql", |request| request.settings = settings(&[("MYSQL_USER", "a\0b")]));
    assert_eq!(error.message, "the value of MYSQL_USER cannot be one: at most 131072 bytes, none of them 0");
}

#[test]
fn databases_that_are_missing_or_of_another_kind() {
    let error = refused("nextcloud", |request| request.database = None);
    assert_eq!(error.message, "nextcloud needs a database: mysql or postgresql");
    let error = refused("nextcloud", |request| request.database = Some(database(Engine::Mongodb)));
    assert_eq!(error.message, "nextcloud cannot use mongodb: mysql or postgresql");
    let error = refused("redis", |request| request.database = Some(database(Engine::Redis)));
    assert_eq!(error.message, "redis cannot use redis: it uses no database");
}

#[test]
fn needs_that_are_missing() {
    let error = refused("immich", |request| request.needs.clear());
    assert_eq!(error.message, "immich needs redis beside it, and was not told where that is");
}

#[test]
fn apps_that_are_unknown() {
    let catalogue = compiled();
    let error: api::Error = catalogue.find("wordpres").unwrap_err().into();
    assert_eq!((error.kind, error.message.as_str()), (api::Kind::NotFound, "there is no app wordpres"));
    assert_eq!(error.hint.as_deref(), Some("did you mean wordpress?"));
    let unknown = catalogue.find("qqqqqqqqq").unwrap_err();
    assert_eq!(unknown, Problem::UnknownApp { id: "qqqqqqqqq".into(), near: Vec::new() });
    assert_eq!(api::Error::from(unknown).hint.as_deref(), Some("see: roost apps"));
    assert_eq!(catalogue.find("ghost").map(|app| app.title.as_str()), Ok("Ghost"));
}
