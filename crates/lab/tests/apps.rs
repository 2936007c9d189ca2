//! The app store: what there is, getting an app with all that belongs to it, and having it again with its data.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use api::app::AppRecord;
use lab::{Lab, OUTSIDE, Output, Root, Typed, binary, eventually};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(60);
/// An app from packages, the first time.
const MADE: Duration = Duration::from_secs(900);

/// A command on a machine that has these files in `/etc/roost/apps`, which nobody else sees.
fn typed_with(folder: &Path, files: &[(&str, &str)], args: &[&str]) -> Typed {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let folder = folder.join(format!("machine-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    let apps = upper.join("roost/apps");
    for made in [&apps, &work] {
        fs::create_dir_all(made).unwrap();
    }
    for (name, text) in files {
        fs::write(apps.join(name), text).unwrap();
    }
    let mount = format!("mount -t overlay apps -o lowerdir=/etc,upperdir={},workdir={} /etc", upper.display(), work.display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{mount} && exec \"$@\""), "sh"]).arg(binary()).args(args);
    Typed::new(command)
}

/// A command of Roost on a machine without a cluster.
fn alone(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args);
    Typed::new(command).env("ROOST_SOCKET", "/nowhere").run()
}

#[test]
fn the_catalogue_is_there_without_a_cluster() {
    let names = alone(&["apps", "-q"]).must(0);
    assert!(names.stdout.lines().count() > 200 && names.stdout.lines().any(|name| name == "wordpress"), "{names}");
    let mail: serde_json::Value = serde_json::from_str(&alone(&["apps", "mail", "-o", "json"]).must(0).stdout).unwrap();
    let mail = mail.as_array().unwrap();
    assert!(mail.len() > 3 && mail.iter().all(|app| app["category"] == "Mail"), "{mail:?}");
    let found = alone(&["search", "wiki"]).must(0);
    assert!(found.stdout.lines().next().unwrap().starts_with("NAME"), "{found}");
    assert!(found.stdout.lines().any(|line| line.starts_with("dokuwiki ")), "{found}");
    let shown = alone(&["apps", "show", "wordpress"]).must(0);
    for fact in ["image: docker.io/library/wordpress:", "WORDPRESS_DB_HOST", "- mysql", "licence: GPL-2.0-or-later"] {
        assert!(shown.stdout.contains(fact), "{fact}: {shown}");
    }
    for (args, code, says) in [
        (&["apps", "weather"][..], 3, "error: no category weather"),
        (&["search", "qqqqq"], 3, "error: no app has qqqqq in its name, category or summary"),
        (&["apps", "show", "wordpres"], 3, "error: there is no app wordpres (did you mean wordpress?)"),
        (&["apps", "got"], 8, "error: "),
    ] {
        let out = alone(args).must(code);
        assert!(out.stderr.starts_with(says), "{out}");
    }
}

/// A file of the catalogue for an image of busybox.
const NOTES: &str = r#"title = "Notes"
summary = "Notes in a file, for tests"
category = "Test"
home = "https://notes.example.org"
licence = "MIT"
image = "test/tiny:1"
web = 8080
ports = ["8080"]
volumes = ["/data"]
known = "made up"
notes = "for tests only"
command = ["/bin/sh", "-c", "echo $TOKEN >> /data/tokens; echo $STORE_URL > /data/store; echo $GREETING > /data/index.html; exec httpd -f -p 8080 -h /data"]

[database]
engines = ["redis"]

[settings.STORE_URL]
value = "${database.url}"

[settings.GREETING]
value = "hello from ${name}"
about = "What it says"

[settings.TOKEN]
secret = 24
about = "Opens it"

[settings.FAIL]
optional = true

[check]
http = "/"
"#;

/// Takes the place of the catalogue's own.
const STORE: &str = r#"title = "Redis"
summary = "A store in a file, for tests"
category = "Test"
home = "https://store.example.org"
licence = "MIT"
image = "test/tiny:1"
ports = ["6379"]
volumes = ["/data"]
known = "made up"
command = ["/bin/sh", "-c", "echo $PASSWORD >> /data/passwords; exec httpd -f -p 6379 -h /data"]

[settings.PASSWORD]
secret = 20

[serves]
engine = "redis"
port = 6379
password = "PASSWORD"

[check]
tcp = 6379
"#;

#[test]
fn a_wrong_file_of_ones_own_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = NOTES.replace("ports = [\"8080\"]", "ports = [\"8080\", \"70000\"]");
    for args in [&["apps"][..], &["search", "notes"], &["get", "notes"]] {
        let out = typed_with(folder.path(), &[("notes.toml", &wrong)], args).env("ROOST_SOCKET", "/nowhere").run().must(2);
        assert_eq!(out.stderr, "error: /etc/roost/apps/notes.toml, line 8: port 70000 is not a port: 1 to 65535\n", "{out}");
    }
    let out = typed_with(folder.path(), &[("notes.toml", NOTES)], &["apps", "test", "-q"]).run().must(0);
    assert_eq!(out.stdout, "notes\n");
}

/// A cluster and a machine of its user with the two files above.
struct Store {
    lab: Lab,
}

impl Store {
    fn up(servers: u16) -> Self {
        let lab = Lab::up(servers);
        let archive = lab.files().join("tiny.tar");
        Root::tiny().file("data/first", "the image's\n").write(&archive);
        lab.ok(&["image", "import", &archive.display().to_string(), "--name", "test/tiny:1"]);
        Self { lab }
    }

    fn typed(&self, args: &[&str]) -> Typed {
        let typed = typed_with(self.lab.files(), &[("notes.toml", NOTES), ("redis.toml", STORE)], args);
        typed.env("ROOST_SOCKET", &self.lab.socket("s1").display().to_string())
    }

    fn refused(&self, args: &[&str], code: i32, says: &str) {
        let out = self.typed(args).run().must(code);
        let sentence = format!("error: {says}");
        assert!(out.stderr.lines().any(|line| line.starts_with(&sentence)), "{says}: {out}");
    }

    /// Volumes that are on a server.
    fn volumes(&self, server: &str) -> BTreeSet<String> {
        volumes(&self.lab, server)
    }

    /// A file of a volume, whichever server has it.
    fn file(&self, volume: &str, file: &str) -> String {
        let place = |server: &String| self.lab.server_dir(server).join("lib/agent/volumes").join(volume).join(file);
        let found: Vec<PathBuf> = self.lab.servers().iter().map(place).filter(|path| path.exists()).collect();
        assert_eq!(found.len(), 1, "{volume}/{file} is on {found:?}");
        fs::read_to_string(&found[0]).unwrap()
    }
}

fn volumes(lab: &Lab, server: &str) -> BTreeSet<String> {
    let found = fs::read_dir(lab.server_dir(server).join("lib/agent/volumes")).into_iter().flatten().flatten();
    found.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The server of a container.
fn home(lab: &Lab, name: &str) -> String {
    lab.container(name).server.unwrap().to_string()
}

/// A page at a host name, asked from outside of a server's own DNS.
fn page(lab: &Lab, resolver: &str, (host, path): (&str, &str)) -> Output {
    let address = lab.dig(resolver, host).first().copied().unwrap_or_else(|| panic!("{resolver} does not know {host}"));
    let resolve = format!("{host}:80:{address}");
    let url = format!("http://{host}{path}");
    lab.inside(OUTSIDE, &["curl", "-sS", "--fail", "--location", "--max-time", "20", "--resolve", &resolve, &url]).run()
}

#[test]
fn an_app_comes_with_its_database_and_is_had_again_with_its_data() {
    let store = Store::up(2);
    let lab = &store.lab;
    let dry = store.typed(&["get", "notes", "-u", "notes.example", "--dry-run"]).run().must(2);
    assert_eq!(dry.stdout, "make container notes-db (redis)\nmake container notes (notes)\n");
    assert!(lab.containers().is_empty());

    let got = store.typed(&["get", "notes", "-u", "notes.example", "-o", "json"]).run().must(0);
    let shown: serde_json::Value = serde_json::from_str(&got.stdout).unwrap();
    let token = shown["secrets"]["TOKEN"].as_str().unwrap().to_owned();
    assert_eq!((shown["url"].as_str(), shown["notes"].as_str()), (Some("http://notes.example"), Some("for tests only")));
    assert_ne!(home(lab, "notes"), home(lab, "notes-db"), "{got}");
    for server in ["s1", "s2"] {
        assert_eq!(page(lab, server, ("notes.example", "/")).must(0).text(), "hello from notes");
    }
    let password = store.file("notes-db.data", "passwords").trim().to_owned();
    assert_eq!(store.file("notes.data", "store").trim(), format!("redis://:{password}@notes-db.internal:6379/"));
    assert_eq!(store.file("notes.data", "first"), "the image's\n", "a new volume begins with what the image has there");
    lab.ok(&["exec", "notes", "--", "/bin/sh", "-c", "echo mine > /data/first"]);
    secrets_stay_secret(lab, &[&token, &password]);
    while_it_is_there(&store);

    let homes = [home(lab, "notes"), home(lab, "notes-db")];
    lab.ok(&["rm", "-f", "notes", "notes-db"]);
    assert!(lab.dig("s1", "notes.example").is_empty());
    let again = store.typed(&["get", "notes", "-s", "GREETING=back"]).run().must(0);
    assert!(!again.stdout.contains(&token) && again.stdout.contains("url: http://notes.example"), "{again}");
    assert_eq!([home(lab, "notes"), home(lab, "notes-db")], homes);
    assert_eq!(page(lab, "s2", ("notes.example", "/")).must(0).text(), "back");
    assert_eq!(store.file("notes.data", "tokens"), format!("{token}\n{token}\n"));
    assert_eq!(store.file("notes.data", "first"), "mine\n");
    assert_eq!(store.file("notes-db.data", "passwords"), format!("{password}\n{password}\n"));

    // Only itself was removed: its database stays as it is.
    let before = lab.container("notes-db").id;
    lab.ok(&["rm", "-f", "notes"]);
    store.typed(&["get", "notes"]).run().must(0);
    assert_eq!(lab.container("notes-db").id, before);

    let out = lab.refused(&["apps", "delete", "notes"], 4);
    assert!(out.stderr.starts_with("error: app notes has a container notes-db\n"), "{out}");
    lab.ok(&["rm", "-f", "notes", "notes-db"]);
    lab.ok(&["apps", "delete", "notes"]);
    assert_eq!(lab.get::<Vec<AppRecord>>(&["apps", "got"]), Vec::new());
    for server in ["s1", "s2"] {
        assert_eq!(store.volumes(server), BTreeSet::new());
    }
}

fn while_it_is_there(store: &Store) {
    let lab = &store.lab;
    store.refused(&["get", "notes"], 4, "app notes is there already");
    store.refused(
        &["get", "notes", "mine", "-u", "notes.example"],
        4,
        "host name notes.example leads to container notes already",
    );
    assert_eq!(lab.containers().len(), 2);
    let got: Vec<AppRecord> = lab.get(&["apps", "got"]);
    assert!(got.len() == 1 && got[0].parts.iter().all(|part| part.secrets.is_empty()), "{got:?}");
    let shown = lab.ok(&["apps", "got", "notes"]);
    assert!(!shown.stdout.contains("TOKEN"), "{shown}");
    assert!(lab.ok(&["apps", "got", "notes", "--secrets"]).stdout.contains("TOKEN"));
    // A name that leads to a server is no container's.
    assert!(lab.dig("s1", "other.example").is_empty());
    let inside = lab.ok(&["run", "--rm", "test/tiny:1", "--", "/bin/wget", "-q", "-O", "-", "http://notes.example/"]);
    assert_eq!(inside.text(), "hello from notes");
}

/// Nowhere but in the store, the container and its volumes.
fn secrets_stay_secret(lab: &Lab, secrets: &[&str]) {
    let mut seen = lab.ok(&["events"]).stdout;
    for word in ["notes", "notes-db"] {
        seen.push_str(&lab.ok(&["show", word, "-o", "json"]).stdout);
        seen.push_str(&lab.ok(&["logs", word]).stdout);
    }
    for server in lab.servers() {
        for log in fs::read_dir(lab.server_dir(&server).join("lib/log")).unwrap().flatten() {
            seen.push_str(&fs::read_to_string(log.path()).unwrap_or_default());
        }
        for process in lab.processes(&server) {
            seen.push_str(&process.argv.join(" "));
        }
    }
    for secret in secrets {
        assert!(!seen.contains(secret), "a secret stands in logs, events, arguments or answers");
    }
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let store = Store::up(1);
    let lab = &store.lab;
    for (args, code, says) in [
        (&["get", "notess"][..], 3, "there is no app notess (did you mean notes?)"),
        (&["get", "notes", "Bad"], 2, "\"Bad\""),
        (&["get", "notes", "-s", "TOKN=x"], 2, "notes has no setting TOKN (did you mean TOKEN?)"),
        (&["get", "notes", "-u", "https://a.example"], 2, "https://a.example is not served: apps answer HTTP only"),
        (&["get", "notes", "-u", "a b"], 2, "\"a b\" is not an address"),
        (&["get", "notes", "-u", "blog"], 2, "\"blog\" is not a host name"),
        (&["get", "redis", "-u", "a.example"], 2, "redis answers no HTTP: leave -u out"),
        (&["get", "notes", "--database", "oracle"], 2, "\"oracle\" is not a kind of database"),
        (&["get", "notes", "--database", "mysql"], 2, "notes cannot use mysql: redis"),
        (&["get", "notes", "--from", "packages"], 2, "notes cannot be made of packages"),
        (&["get", "notes", "--server", "s9"], 3, "no server s9"),
        (&["get", "notes", "-u", "a.internal"], 2, "a.internal is in the cluster's own domain internal"),
        (&["get", "ghost"], 2, "ghost must know the address people reach it at"),
    ] {
        store.refused(args, code, says);
        assert!(lab.containers().is_empty(), "{args:?}");
        assert_eq!(lab.get::<Vec<AppRecord>>(&["apps", "got"]), Vec::new(), "{args:?}");
        assert_eq!(store.volumes("s1"), BTreeSet::new(), "{args:?}");
    }
    // It fails after its database was made.
    let ends = NOTES.replace("exec httpd -f -p 8080 -h /data", "exit 3");
    let broken = || {
        let typed = typed_with(lab.files(), &[("notes.toml", &ends), ("redis.toml", STORE)], &["get", "notes"]);
        typed.env("ROOST_SOCKET", &lab.socket("s1").display().to_string()).run().must(1)
    };
    let out = broken();
    assert!(out.stderr.contains("error: notes ended with exit code 3\n"), "{out}");
    assert!(out.stderr.contains("what had been made of it was removed again"), "{out}");
    assert!(lab.containers().is_empty());
    assert_eq!(lab.get::<Vec<AppRecord>>(&["apps", "got"]), Vec::new());
    assert_eq!(store.volumes("s1"), BTreeSet::new());
    // Alone, they share the only server; a failure later leaves the data of before.
    store.typed(&["get", "notes"]).run().must(0);
    lab.ok(&["rm", "-f", "notes"]);
    broken();
    assert_eq!(store.volumes("s1"), ["notes-db.data", "notes.data"].map(str::to_owned).into());
    store.typed(&["get", "notes"]).run().must(0);
    assert_eq!(store.file("notes.data", "index.html").trim(), "hello from notes");
}

#[test]
fn whoever_interrupts_a_get_finds_nothing_of_it() {
    let store = Store::up(1);
    let lab = &store.lab;
    let slow = NOTES.replace("exec httpd", "trap exit TERM; sleep 600 & wait; exec httpd");
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let typed = typed_with(lab.files(), &[("notes.toml", &slow), ("redis.toml", STORE)], &["get", "notes"]);
        let getting = typed.env("ROOST_SOCKET", &lab.socket("s1").display().to_string()).start();
        eventually(SOON, "it is being made", || lab.containers().iter().any(|one| one.name == "notes"));
        getting.signal(signal);
        let out = getting.wait(SOON).must(1);
        let says = "error: getting notes was interrupted\n  what had been made of it was removed again\n";
        assert!(out.stderr.ends_with(says), "{signal}: {out}");
        assert!(lab.containers().is_empty(), "{signal}");
        assert_eq!(lab.get::<Vec<AppRecord>>(&["apps", "got"]), Vec::new(), "{signal}");
        assert_eq!(store.volumes("s1"), BTreeSet::new(), "{signal}");
    }
}

#[test]
fn two_at_once_get_one_app() {
    let store = Store::up(1);
    let all: Vec<_> = (0..3).map(|_| store.typed(&["get", "notes"]).start()).collect();
    let outs: Vec<Output> = all.into_iter().map(|one| one.wait(SOON)).collect();
    let codes: Vec<i32> = outs.iter().map(|out| out.code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?} {outs:?}");
    assert_eq!(codes.iter().filter(|code| **code == 4).count(), 2, "{codes:?} {outs:?}");
    assert_eq!(store.file("notes.data", "index.html").trim(), "hello from notes");
    let password = store.file("notes-db.data", "passwords").trim().to_owned();
    assert!(store.file("notes.data", "store").contains(&password));
}

/// What somebody who installs WordPress types into its first page.
const FIRST_PAGE: &str = "weblog_title=Birds+of+the+town&user_name=admin&admin_password=Correct-Horse-9&admin_password2=Correct-Horse-9&pw_weak=1&\
     admin_email=admin%40blog.example&blog_public=0&Submit=Install+WordPress&language=";

#[test]
fn wordpress_from_packages_keeps_its_data() {
    let lab = Lab::up(3);
    let words = ["get", "wordpress", "blog", "-u", "blog.example", "--from", "packages"];
    let got = lab.typed(&words).limit(MADE).run().must(0);
    assert_ne!(home(&lab, "blog"), home(&lab, "blog-db"), "{got}");
    let first = page(&lab, "s3", ("blog.example", "/wp-admin/install.php")).must(0);
    assert!(first.stdout.contains("WordPress"), "{first}");
    let address = lab.dig("s1", "blog.example")[0];
    let resolve = format!("blog.example:80:{address}");
    let url = "http://blog.example/wp-admin/install.php?step=2";
    let install = ["curl", "-sS", "--fail", "--max-time", "60", "--resolve", &resolve, "--data", FIRST_PAGE, url];
    let installed = lab.inside(OUTSIDE, &install).limit(SOON * 2).run().must(0);
    assert!(installed.stdout.contains("Success!"), "{installed}");
    for server in lab.servers() {
        let shown = page(&lab, &server, ("blog.example", "/")).must(0);
        assert!(shown.stdout.contains("Birds of the town"), "{shown}");
    }
    let homes = [home(&lab, "blog"), home(&lab, "blog-db")];
    lab.ok(&["rm", "-f", "blog", "blog-db"]);
    lab.typed(&words[..3]).limit(MADE).run().must(0);
    assert_eq!([home(&lab, "blog"), home(&lab, "blog-db")], homes);
    let shown = page(&lab, "s2", ("blog.example", "/")).must(0);
    assert!(shown.stdout.contains("Birds of the town") && shown.stdout.contains("Hello world!"), "{shown}");
    let refused = lab.refused(&["get", "wordpress", "blog"], 4);
    assert!(refused.stderr.starts_with("error: app blog is there already\n"), "{refused}");
}

/// How an app of packages shows that it works.
enum Answers {
    /// A page of its web port, with this in it.
    Page(&'static str, &'static str),
    /// A command inside, with this in what it says.
    Command(&'static [&'static str], &'static str),
}
use Answers::{Command as Says, Page};

/// Each app that can be made of packages, save WordPress and MariaDB, which are got above: what it is told, and how it answers.
const PACKAGED: &[(&str, &[&str], Answers)] = &[
    ("nginx", &[], Page("/", "nginx runs")),
    ("httpd", &[], Page("/", "httpd runs")),
    ("haproxy", &[], Page("/", "Statistics Report")),
    ("redis", &[], Says(&["redis-cli", "set", "a", "b"], "OK")),
    (
        "memcached",
        &[],
        Says(
            &[
                "sh",
                "-c",
                "exec 2>&1; perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(\"127.0.0.1:11211\") or die; print $s \"version\\r\\nquit\\r\\n\"; print <$s>'",
            ],
            "VERSION 1.",
        ),
    ),
    (
        "postgresql",
        &["-s", "POSTGRES_DB=birds"],
        Says(&["setpriv", "--reuid=postgres", "--clear-groups", "psql", "-c", "create table t(a int)", "birds"], "CREATE TABLE"),
    ),
    ("mosquitto", &[], Says(&["mosquitto_sub", "-t", "$SYS/broker/version", "-C", "1", "-W", "5"], "mosquitto version")),
    ("prometheus", &[], Page("/-/ready", "Ready")),
    ("registry", &[], Page("/v2/", "{}")),
    ("adminer", &[], Page("/", "Adminer")),
    ("dokuwiki", &[], Page("/", "DokuWiki")),
    (
        "roundcube",
        &["-s", "ROUNDCUBEMAIL_DEFAULT_HOST=ssl://mail.example", "-s", "ROUNDCUBEMAIL_SMTP_SERVER=tls://mail.example"],
        Page("/", "Roundcube Webmail"),
    ),
    (
        "keepalived",
        &[
            "-s",
            "KEEPALIVED_INTERFACE=eth0",
            "-s",
            "KEEPALIVED_VIRTUAL_IPS=10.200.0.100",
            "-s",
            "KEEPALIVED_UNICAST_PEERS=10.200.0.101",
        ],
        Says(&["/usr/local/bin/state"], "MASTER"),
    ),
];

#[test]
fn every_app_of_packages_is_installed_and_answers() {
    let lab = Lab::up(1);
    for (app, told, answers) in PACKAGED {
        let publish: &[&str] = if matches!(answers, Page(..)) { &["-u", "app.example"] } else { &[] };
        // One finds out by itself that no registry can be reached from a sandbox.
        let by_itself = *app == "memcached";
        let from: &[&str] = if by_itself { &[] } else { &["--from", "packages"] };
        let got = lab.typed(&[&["get", *app], from, *told, publish].concat()).limit(MADE).run().must(0);
        assert_eq!(got.stderr.contains("cannot be pulled"), by_itself, "{got}");
        eprintln!("{app} was got in {:?}", got.took);
        match answers {
            Page(path, text) => {
                let shown = page(&lab, "s1", ("app.example", path)).must(0);
                assert!(shown.stdout.contains(text), "{app}: {shown}");
            }
            Says(command, text) => {
                let says = || lab.roost(&[&["exec", *app, "--"], *command].concat());
                eventually(SOON, app, || says().stdout.contains(text));
            }
        }
        lab.ok(&["rm", "-f", app]);
        lab.ok(&["apps", "delete", app]);
        assert_eq!(volumes(&lab, "s1"), BTreeSet::new(), "{app}");
    }
}
