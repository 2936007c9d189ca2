//! Wrong files, each with the exact sentences it gets.

use super::compiled;
use crate::{Catalogue, parse};

/// A file with nothing wrong.
const GOOD: &str = r#"title = "Blog"
summary = "Says what somebody thinks"
category = "CMS & blogs"
home = "https://blog.example.org"
licence = "MIT"
image = "docker.io/example/blog:1"
web = 80
ports = ["80", "53/udp"]
volumes = ["/data"]
known = "general knowledge"

[database]
engines = ["mysql", "postgresql"]

[[needs]]
app = "redis"

[settings.HOST]
value = "${database.host} ${needs.redis.host} ${url}"

[settings.TOKEN]
secret = 24

[check]
http = "/"
"#;

fn sentences(id: &str, text: &str) -> Vec<String> {
    match parse(id, text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(|complaint| format!("{}: {}", complaint.file, complaint.says)).collect(),
    }
}

/// What is said when a piece of the good file is another one.
#[track_caller]
fn instead(good: &str, wrong: &str, expected: &[&str]) {
    assert!(GOOD.contains(good), "{good}");
    let expected: Vec<String> = expected.iter().map(|says| format!("apps/blog.toml: {says}")).collect();
    assert_eq!(sentences("blog", &GOOD.replacen(good, wrong, 1)), expected, "{wrong}");
}

#[test]
fn nothing_is_wrong_with_the_good_one() {
    assert_eq!(sentences("blog", GOOD), Vec::<String>::new());
}

#[test]
fn the_example_in_the_document_is_right() {
    let document = include_str!("../../../../docs/catalogue.md");
    let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(sentences("notes", example), Vec::<String>::new());
}

#[test]
fn names_and_texts() {
    assert_eq!(
        sentences("My_Blog", GOOD),
        [
            "apps/My_Blog.toml: \"My_Blog\" is not a valid app name: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
        ]
    );
    instead("title = \"Blog\"", "", &["title is missing: its name as its makers write it"]);
    instead("\"Blog\"", "3", &["title cannot be this integer: write a text, in quotes"]);
    instead("\"Blog\"", "\"  \"", &["title is not one line of text"]);
    instead("\"MIT\"", "\"MIT\\nor not\"", &["licence is not one line of text"]);
    instead("https://blog", "blog", &["home \"blog.example.org\" is not an address: begin with https:// or http://"]);
    instead(
        "known =",
        "kown =",
        &["known is missing: where these facts are from", "there is no field kown: did you mean known?"],
    );
    instead(
        "web = 80",
        "web = 80\nauthor = \"me\"",
        &[
            "there is no field author: known are title, summary, category, home, licence, image, web, ports, volumes, known, notes, \
         command, database, needs, settings, check, serves, packages and url",
        ],
    );
    instead("title", "title title", &["line 1 is not TOML: key with no value, expected `=`"]);
}

#[test]
fn images() {
    let image = "docker.io/example/blog:1";
    instead(image, "a blog", &["image: \"a blog\" is not an image name: ' ' cannot be part of one"]);
    instead(
        image,
        "docker.io//blog",
        &["image: \"docker.io//blog\" is not an image name: each part between slashes begins with a letter or digit"],
    );
    instead(image, "docker.io/blog", &["image \"docker.io/blog\" has no tag: say which version, as in docker.io/blog:1"]);
}

#[test]
fn ports_and_volumes() {
    instead("53/udp", "70000", &["port 70000 is not a port: 1 to 65535"]);
    instead("53/udp", "0/udp", &["port 0 is not a port: 1 to 65535"]);
    instead("53/udp", "http", &["port http is not a port: 1 to 65535"]);
    instead("53/udp", "53/sctp", &["port 53/sctp has the protocol \"sctp\": write /udp, or nothing for TCP"]);
    instead("53/udp", "80/tcp", &["port 80 is listed twice: once is enough"]);
    instead(
        "web = 80",
        "web = 70000",
        &["port 70000 is not a port: 1 to 65535", "check.http asks the web port, and there is none: set web"],
    );
    instead("web = 80", "web = 81", &["web is port 81, which it does not listen on: add \"81\" to ports"]);
    instead(
        "[\"80\", \"53/udp\"]",
        "[80]",
        &[
            "ports cannot be this array: write texts, as in [\"a\", \"b\"]",
            "web is port 80, which it does not listen on: add \"80\" to ports",
        ],
    );
    for volume in ["data", "/", "/a/../b", "/a/", "//a", ""] {
        let says = format!("volume {volume:?} is not a directory below /: begin with /, without . and ..");
        instead("\"/data\"", &format!("{volume:?}"), &[&says]);
    }
    instead("\"/data\"", "\"/data\", \"/data\"", &["volume /data is listed twice: once is enough"]);
}

#[test]
fn databases() {
    let engines = "[\"mysql\", \"postgresql\"]";
    instead(
        engines,
        "[\"mysql\", \"oracle\"]",
        &["database engine \"oracle\" is not known: use mysql, postgresql, mongodb or redis"],
    );
    instead(engines, "[\"mysql\", \"mysql\"]", &["database engine mysql is listed twice: once is enough"]);
    instead(engines, "[]", &["database.engines is empty: list mysql, postgresql, mongodb or redis"]);
    instead(
        engines,
        "[\"mysql\"]\nwords = { redis = \"valkey\", mysql = 3 }",
        &[
            "database.words.mysql must be a text: the app's own word for the engine",
            "database.words.redis is a word for an engine that is not among its engines",
        ],
    );
    instead(
        "[database]\nengines = [\"mysql\", \"postgresql\"]",
        "",
        &["settings.HOST refers to ${database.host}, but it has no database: add [database]"],
    );
    instead(
        "secret = 24",
        "secret = 24\nengine = \"redis\"",
        &["settings.TOKEN is for redis, which is not among database.engines"],
    );
}

#[test]
fn settings() {
    let token = "secret = 24";
    instead(token, "", &["settings.TOKEN has no value: give one of value, secret, required or optional"]);
    instead(
        token,
        "secret = 24\nvalue = \"x\"\nrequired = true",
        &["settings.TOKEN has value, secret and required: give exactly one of value, secret, required or optional"],
    );
    instead(token, "secret = 4", &["settings.TOKEN.secret is 4: use 8 to 256"]);
    instead(token, "secret = 24\nform = \"octal\"", &["settings.TOKEN.form \"octal\" is not known: use hex or base64"]);
    instead(token, "value = \"x\"\nform = \"hex\"", &["settings.TOKEN.form belongs to a secret, and there is none"]);
    instead(token, "value = \"x\"\nabot = \"y\"", &["there is no field settings.TOKEN.abot: did you mean about?"]);
    instead(
        "[settings.TOKEN]",
        "[settings.\"A TOKEN\"]",
        &["setting \"A TOKEN\" is not the name of an environment variable: letters, digits and _ . -"],
    );
    instead("[settings.HOST]\nvalue", "[settings]\nHOST", &["settings.HOST must be a table: [settings.HOST], value = \"…\""]);
}

#[test]
fn references() {
    let token = "secret = 24";
    instead(
        "${url}",
        "${setting.TOKE}",
        &["settings.HOST refers to ${setting.TOKE}, but there is no such setting: did you mean TOKEN?"],
    );
    instead("${url}", "${setting.NOBODY}", &["settings.HOST refers to ${setting.NOBODY}, but there is no such setting"]);
    instead(
        "${url}",
        "${secret.HOST}",
        &[
            "settings.HOST refers to ${secret.HOST}, but that is not generated: write ${setting.HOST}",
            "settings.HOST refers to itself: HOST refers to HOST",
        ],
    );
    instead("${url}", "${ulr}", &["settings.HOST: ${ulr} leads nowhere: refer to name, url, database, needs, secret or setting"]);
    instead("${url}", "${url", &["settings.HOST: \"${database.host} ${needs.redis.host} ${url\" has a ${ without its }"]);
    instead(
        "${needs.redis.host}",
        "${needs.valkey.host}",
        &["settings.HOST refers to ${needs.valkey.host}, but it does not need valkey: add [[needs]], app = \"valkey\""],
    );
    instead(
        token,
        "value = \"${setting.HOST}\"\n[settings.A]\nvalue = \"${setting.B}\"\n[settings.B]\nvalue = \"${setting.A}\"",
        &["settings.A refers to itself: A refers to B, B refers to A"],
    );
    instead("known", "url = \"maybe\"\nknown", &["url \"maybe\" is not known: use required or optional"]);
    assert_eq!(
        sentences("blog", &GOOD.replace(" ${url}", "").replace("known", "url = \"optional\"\nknown")),
        ["apps/blog.toml: url says whether its address must be known, but no setting refers to ${url}: leave it out"]
    );
}

#[test]
fn checks_and_commands() {
    let check = "http = \"/\"";
    instead(check, "http = \"health\"", &["check.http \"health\" is not a path: begin with /"]);
    instead(check, "tcp = 70000", &["port 70000 is not a port: 1 to 65535"]);
    instead(check, "tcp = 81", &["check.tcp is port 81, which it does not listen on: add \"81\" to ports"]);
    instead(check, "", &["check is empty: give one of http, tcp or command"]);
    instead(check, "tcp = 80\ncommand = [\"true\"]", &["check has tcp and command: give exactly one of http, tcp or command"]);
    instead(check, "command = []", &["check.command is empty: leave it out, or write the program and its arguments"]);
    instead(
        "known",
        "command = [\"run\", \"${name}\"]\nknown",
        &["command has a ${ in it: only values of settings are filled in"],
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    let wrong = GOOD
        .replace("\"80\", \"53/udp\"", "\"80\", \"70000\"")
        .replace("\"/data\"", "\"data\"")
        .replace("\"mysql\", ", "\"oracle\", ")
        .replace("title", "titel");
    let problems = parse("blog", &wrong).unwrap_err();
    let fields: Vec<&str> = problems.0.iter().map(|complaint| complaint.field.as_str()).collect();
    assert_eq!(fields, ["title", "ports.1", "volumes.0", "database.engines", "titel"]);
    let lines: Vec<usize> = problems.0.iter().map(|complaint| complaint.line).collect();
    assert_eq!(lines, [0, 8, 9, 13, 1]);
    let error = api::Error::from(problems);
    assert_eq!(error.message, "apps/blog.toml: title is missing: its name as its makers write it");
    assert_eq!(error.details.len(), 4);
}

#[test]
fn packages() {
    let packages =
        "[packages]\ninstall = [\"blog\"]\ncommand = [\"/usr/bin/blog\"]\n\n[packages.files]\n\"/etc/blog\" = \"a\"\n\n[check]";
    instead("[check]", packages, &[]);
    let wrong = |good: &str, wrong: &str, expected: &[&str]| {
        assert!(packages.contains(good), "{good}");
        instead("[check]", &packages.replacen(good, wrong, 1), expected);
    };
    wrong("\"blog\"", "", &["packages.install is empty: list the packages it is made from"]);
    wrong("\"blog\"", "\"Blog\"", &["\"Blog\" is not the name of a package: use lower-case letters, digits and +-."]);
    wrong("command = [\"/usr/bin/blog\"]\n", "", &["packages.command is missing: the program that runs, and its arguments"]);
    wrong("\n\n[packages.f", "\nweb = 70000\n\n[packages.f", &["port 70000 is not a port: 1 to 65535"]);
    wrong(
        "\n\n[packages.f",
        "\nweb = 81\n\n[packages.f",
        &["packages.web is port 81, which it does not listen on: add \"81\" to ports"],
    );
    wrong(
        "\"/etc/blog\"",
        "\"/etc/../blog\"",
        &["file \"/etc/../blog\" is not a path: begin with /, and use letters, digits and ._-+"],
    );
    wrong("\"a\"", "3", &["file /etc/blog must be a text: its content"]);
    wrong(
        "install",
        "stop_signal = \"INT\"\nrun = [\"a\\nb\"]\ninstall",
        &[
            "\"a\\nb\" is not one command: longer ones are files that are run",
            "packages.stop_signal \"INT\" is not a signal: write it as in SIGINT",
        ],
    );
}

#[test]
fn serves() {
    let serves = "[serves]\nengine = \"mysql\"\nport = 80\npassword = \"TOKEN\"\n\n[check]";
    instead("[check]", serves, &[]);
    instead("[check]", &serves.replace("80", "70000"), &["port 70000 is not a port: 1 to 65535"]);
    instead("[check]", &serves.replace("TOKEN", "KEY"), &["serves.password is \"KEY\", and there is no such setting"]);
    let engine = "database engine \"sql\" is not known: use mysql, postgresql, mongodb or redis";
    instead("[check]", &serves.replace("\"mysql\"", "\"sql\""), &[engine]);
}

#[test]
fn between_apps() {
    let says = |files: &[(&str, &str)]| {
        let refused = Catalogue::default().extended(files.iter().copied()).map(|_| String::new());
        refused.unwrap_or_else(|problems| problems.to_string())
    };
    let needing = |title: &str, need: &str| {
        GOOD.replace("Blog", title).replace("\"redis\"", &format!("{need:?}")).replace("needs.redis", &format!("needs.{need}"))
    };
    let (a, b, redis) = (needing("A", "b"), needing("B", "a"), needing("Redis", "nobody"));
    assert_eq!(says(&[("a", &a), ("b", &b)]), "apps/a.toml, line 15: it needs itself: a needs b, b needs a");
    assert_eq!(says(&[("redis", &redis)]), "apps/redis.toml, line 15: it needs nobody, which is no app");
    assert_eq!(
        says(&[("radis", &needing("Radis", "redis"))]),
        "apps/radis.toml, line 15: it needs redis, which is no app: did you mean radis?"
    );
    let twice = says(&[("a", &a), ("a", &a)]);
    assert_eq!(twice, "apps/a.toml: there are two files of this name: keep one");
    let titled = compiled().extended([("mine", GOOD.replace("\"Blog\"", "\"wordPress\"").as_str())]).unwrap_err();
    assert_eq!(
        titled.to_string(),
        "apps/mine.toml, line 1: title \"wordPress\" is also that of apps/wordpress.toml: give each its own"
    );
}

#[test]
fn a_file_of_ones_own_takes_the_place_of_another() {
    let own = GOOD.replace("\"Blog\"", "\"WordPress\"");
    let catalogue = compiled().extended([("wordpress", own.as_str()), ("blog", GOOD)]).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(catalogue.get("wordpress").map(|app| app.image.as_str()), Some("docker.io/example/blog:1"));
    assert_eq!(catalogue.apps().count(), compiled().apps().count() + 1);
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let long = format!("{GOOD}# {}", "x".repeat(70_000));
    assert_eq!(sentences("blog", &long), [format!("apps/blog.toml: the file has {} bytes: at most 65536", long.len())]);
}
