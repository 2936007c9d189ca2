//! The registry inside, as Debian's tools and plain HTTP see it.

#![allow(clippy::unwrap_used, reason = "a test")]

use lab::{Background, Lab, OUTSIDE, Output, Root, Typed, eventually};
use serde_json::{Value, json};
use std::{path::PathBuf, process::Command, time::Duration};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);
/// Where it is on the manager.
const HERE: &str = "127.0.0.1:7445";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A program of this machine.
#[track_caller]
fn tool(argv: &[&str]) -> Output {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]);
    Typed::new(command).run().must(0)
}

fn sha(lab: &Lab, bytes: &[u8]) -> String {
    let file = lab.files().join("to-hash");
    std::fs::write(&file, bytes).unwrap();
    format!("sha256:{}", tool(&["sha256sum", &file.display().to_string()]).stdout.split(' ').next().unwrap())
}

/// A cluster, a token that may push, and ways to speak with the registry.
struct Bed {
    lab: Lab,
    token: String,
}

/// An answer over HTTP.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
            .map(|(_, v)| v.trim())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    #[track_caller]
    fn must(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}{}", self.head, self.body);
        self
    }

    /// The only refusal in it: code, and a sentence.
    #[track_caller]
    fn refused(self, status: u16, code: &str) -> String {
        let answer = self.must(status);
        let errors = answer.json()["errors"].clone();
        assert_eq!((errors.as_array().unwrap().len(), errors[0]["code"].as_str()), (1, Some(code)), "{}", answer.body);
        let sentence = errors[0]["message"].as_str().unwrap().to_owned();
        assert!(sentence.len() > 12 && !sentence.ends_with('.'), "{sentence}");
        sentence
    }
}

impl Bed {
    fn up(servers: u16) -> Self {
        let lab = Lab::up(servers);
        let token = lab.ok(&["token", "create", "--registry", "--push"]).text().to_owned();
        Self { lab, token }
    }

    /// A request to the registry by `curl`, on the manager.
    #[track_caller]
    fn ask(&self, path: &str, more: &[&str]) -> Answer {
        self.ask_with(Some(&self.token), path, more)
    }

    #[track_caller]
    fn ask_with(&self, token: Option<&str>, path: &str, more: &[&str]) -> Answer {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("http://{HERE}{path}") };
        let user = token.map(|token| format!("token:{token}"));
        let mut argv = vec!["curl", "-s", "-i", "--max-time", "30"];
        if let Some(user) = &user {
            argv.extend(["-u", user]);
        }
        argv.extend(more);
        argv.push(&url);
        parse(&self.lab.inside("s1", &argv).run().must(0).stdout)
    }

    /// Uploads a blob at once; gives its digest.
    fn blob(&self, name: &str, bytes: &str) -> String {
        let digest = sha(&self.lab, bytes.as_bytes());
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        self.ask(&path, &["-X", "POST", "--data-binary", bytes, "-H", "Content-Type: application/octet-stream"]).must(201);
        digest
    }

    /// Pushes a manifest of something that is no image, about `subject`; gives its digest.
    fn artifact(&self, (name, reference): (&str, &str), kind: &str, subject: Option<Value>) -> (String, Value) {
        let (config, layer) = (self.blob(name, "{}"), self.blob(name, kind));
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "annotations": {"kind": kind},
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": layer, "size": kind.len()}],
        });
        if let Some(subject) = &subject {
            manifest["subject"] = subject.clone();
        }
        let bytes = manifest.to_string();
        let digest = sha(&self.lab, bytes.as_bytes());
        let reference = if reference.is_empty() { digest.clone() } else { reference.to_owned() };
        let path = format!("/v2/{name}/manifests/{reference}");
        let kind = format!("Content-Type: {MANIFEST}");
        let answer = self.ask(&path, &["-X", "PUT", "--data-binary", &bytes, "-H", &kind]).must(201);
        assert_eq!(answer.header("Docker-Content-Digest"), Some(digest.as_str()));
        let about = subject.map(|subject| subject["digest"].as_str().unwrap().to_owned());
        assert_eq!(answer.header("OCI-Subject"), about.as_deref());
        (digest.clone(), json!({"mediaType": MANIFEST, "digest": digest, "size": bytes.len()}))
    }

    /// An OCI layout of one image by `umoci`, for a machine of this architecture (this one when empty).
    fn layout(&self, name: &str, architecture: &str) -> String {
        let path = |end: &str| self.lab.files().join(format!("{name}{end}")).display().to_string();
        let (layout, layer) = (path(""), path(".tar"));
        Root::tiny().file("marker", format!("{name}\n")).write(&PathBuf::from(&layer));
        let image = format!("{layout}:latest");
        tool(&["umoci", "init", "--layout", &layout]);
        tool(&["umoci", "new", "--image", &image]);
        tool(&["umoci", "raw", "add-layer", "--image", &image, &layer]);
        let mut words = vec!["umoci", "config", "--image", &image, "--config.cmd", "/bin/sleep", "--config.cmd", "600"];
        if !architecture.is_empty() {
            words.extend(["--architecture", architecture]);
        }
        tool(&words);
        image
    }

    /// `skopeo copy` on a server.
    fn copy(&self, server: &str, more: &[&str], from: &str, to: &str) -> Typed {
        let creds = format!("token:{}", self.token);
        let mut argv = vec!["skopeo", "--insecure-policy", "copy", "--quiet"];
        if to.contains(HERE) {
            argv.extend(["--dest-creds", &creds, "--dest-tls-verify=false"]);
        }
        if from.contains(HERE) {
            argv.extend(["--src-creds", &creds, "--src-tls-verify=false"]);
        }
        argv.extend(more);
        argv.extend([from, to]);
        self.lab.inside(server, &argv)
    }

    fn push(&self, layout: &str, name: &str) {
        self.copy("s1", &[], &format!("oci:{layout}"), &format!("docker://{HERE}/{name}")).run().must(0);
    }
}

fn parse(text: &str) -> Answer {
    let text = text.replace("\r\n", "\n");
    let mut rest = text.as_str();
    loop {
        let (head, body) = rest.split_once("\n\n").unwrap_or((rest, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        if status != 100 {
            return Answer { status, head: head.to_owned(), body: body.to_owned() };
        }
        rest = body;
    }
}

fn marker(lab: &Lab, container: &str) -> String {
    lab.ok(&["exec", container, "--", "/bin/cat", "/marker"]).stdout
}

/// Two images of a layout as one index, made by hand: no tool of Debian's does.
fn join(layout: &str, others: &[(&str, &str)]) -> String {
    let folder = PathBuf::from(layout.trim_end_matches(":latest"));
    let read =
        |folder: &PathBuf| -> Value { serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap() };
    let mut manifests = Vec::new();
    for (other, architecture) in others {
        let from = PathBuf::from(other.trim_end_matches(":latest"));
        let mut one = read(&from)["manifests"][0].clone();
        one["platform"] = json!({"os": "linux", "architecture": architecture});
        one.as_object_mut().unwrap().remove("annotations");
        manifests.push(one);
        if from != folder {
            let all = format!("{}/blobs/sha256/.", from.display());
            tool(&["cp", "-r", &all, &format!("{}/blobs/sha256", folder.display())]);
        }
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    let file = folder.join("inner.json");
    std::fs::write(&file, &index).unwrap();
    let digest = tool(&["sha256sum", &file.display().to_string()]).stdout.split(' ').next().unwrap().to_owned();
    std::fs::rename(&file, folder.join("blobs/sha256").join(&digest)).unwrap();
    let named = json!({"org.opencontainers.image.ref.name": "all"});
    let top = json!({"mediaType": INDEX, "digest": format!("sha256:{digest}"), "size": index.len(), "annotations": named});
    std::fs::write(folder.join("index.json"), json!({"schemaVersion": 2, "manifests": [top]}).to_string()).unwrap();
    format!("sha256:{digest}")
}

fn machines() -> (&'static str, &'static str) {
    if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") }
}

#[test]
fn skopeo_copies_in_and_out_and_every_digest_stays() {
    let bed = Bed::up(2);
    let (own, other) = machines();
    let (layout, theirs) = (bed.layout("web", ""), bed.layout("other", other));
    let folder = layout.trim_end_matches(":latest").to_owned();
    let index = join(&layout, &[(&layout, own), (&theirs, other)]);
    bed.copy("s1", &["--all"], &format!("oci:{folder}:all"), &format!("docker://{HERE}/team/web:1")).run().must(0);
    // A pushed tag is an image of the cluster, and this machine's part of it runs, on any server.
    let image = bed.lab.json(&["image", "show", "team/web:1"]);
    assert_eq!(image["index"].as_str(), Some(index.as_str()), "{image}");
    for (server, container) in [("s1", "c1"), ("s2", "c2")] {
        bed.lab.ok(&["run", "-d", &format!("{server}:{container}"), "team/web:1"]);
        assert_eq!(marker(&bed.lab, container), "web\n");
    }
    // Out again, all of it: the same index.
    let back = bed.lab.files().join("back").display().to_string();
    bed.copy("s1", &["--all"], &format!("docker://{HERE}/team/web:1"), &format!("oci:{back}:all")).run().must(0);
    let text = std::fs::read_to_string(PathBuf::from(&back).join("index.json")).unwrap();
    assert!(text.contains(&index), "{text}");
    // And through other registries of Roost's own doing: the index goes with all its images.
    let registry = Debian::start(&bed.lab, "s1", "127.0.0.1:5000");
    bed.lab.ok(&["image", "push", "team/web:1", "127.0.0.1:5000/out/web:1"]);
    let inspect = ["curl", "-s", "-I", "-H", &format!("Accept: {INDEX}"), "http://127.0.0.1:5000/v2/out/web/manifests/1"];
    let out = bed.lab.inside("s1", &inspect).run().must(0).stdout;
    assert!(out.contains(&index), "{out}");
    bed.lab.ok(&["image", "pull", "127.0.0.1:5000/out/web:1"]);
    let pulled = bed.lab.json(&["image", "show", "127.0.0.1:5000/out/web:1"]);
    assert_eq!((&pulled["index"], &pulled["digest"]), (&image["index"], &image["digest"]));
    drop(registry);
    // An image for other machines only is kept, and refused when it is to run.
    bed.push(&theirs, "team/other:1");
    let out = bed.lab.refused(&["run", "-d", "c3", "team/other:1"], 2);
    assert!(out.stderr.contains(&format!("image team/other:1 cannot be run: it is for linux on {other}")), "{out}");
}

/// Debian's registry on a server of the lab, which ends with this.
struct Debian {
    _process: Background,
}

impl Debian {
    fn start(lab: &Lab, server: &str, address: &str) -> Self {
        let (folder, config) = (lab.files().join(format!("debian-{server}")), lab.files().join(format!("debian-{server}.yml")));
        let root = folder.display();
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{delete: {{enabled: true}}, filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: \"{address}\"}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let process = lab.inside(server, &["docker-registry", "serve", &config.display().to_string()]).start();
        let answers =
            || lab.inside(server, &["curl", "-sf", "--max-time", "2", &format!("http://{address}/v2/")]).run().code == 0;
        eventually(SOON, "the registry answers", answers);
        Self { _process: process }
    }
}

#[test]
fn debians_registry_and_ours_serve_the_same() {
    let bed = Bed::up(1);
    let layout = bed.layout("web", "");
    let _debian = Debian::start(&bed.lab, "s1", "127.0.0.1:5000");
    bed.push(&layout, "web:1");
    bed.copy("s1", &["--dest-tls-verify=false"], &format!("oci:{layout}"), "docker://127.0.0.1:5000/web:1").run().must(0);
    let accept = format!("Accept: {MANIFEST}");
    let both = |path: &str, more: &[&str]| {
        let ours = bed.ask(path, more);
        let theirs = bed.ask_with(None, &format!("http://127.0.0.1:5000{path}"), more);
        (ours, theirs)
    };
    let same = |path: &str, more: &[&str]| {
        let (ours, theirs) = both(path, more);
        assert_eq!(ours.status, theirs.status, "{path} {}{}", ours.head, ours.body);
        assert_eq!(ours.body, theirs.body, "{path}");
        for header in ["Content-Type", "Content-Length", "Docker-Content-Digest", "Content-Range", "ETag"] {
            if theirs.header(header).is_some() && theirs.status < 300 {
                assert_eq!(ours.header(header), theirs.header(header), "{path} {more:?} {header}");
            }
        }
        ours
    };
    let manifest = same("/v2/web/manifests/1", &["-H", &accept]).json();
    same("/v2/web/manifests/1", &["-I", "-H", &accept]);
    let digest = sha(&bed.lab, bed.ask("/v2/web/manifests/1", &["-H", &accept]).body.as_bytes());
    same(&format!("/v2/web/manifests/{digest}"), &["-H", &accept]);
    let config = format!("/v2/web/blobs/{}", manifest["config"]["digest"].as_str().unwrap());
    same(&config, &[]);
    same(&config, &["-I"]);
    same(&config, &["-H", "Range: bytes=10-19"]);
    same(&config, &["-H", "Range: bytes=10-"]);
    let (ours, theirs) = (bed.ask("/v2/web/tags/list", &[]).json(), both("/v2/web/tags/list", &[]).1.json());
    assert_eq!(ours, theirs);
    // Where both say no, they say it with the same code.
    let zeros = format!("sha256:{}", "0".repeat(64));
    for path in
        ["/v2/web/manifests/2", &format!("/v2/web/manifests/{zeros}"), &format!("/v2/web/blobs/{zeros}"), "/v2/none/tags/list"]
    {
        let (ours, theirs) = both(path, &[]);
        assert_eq!(
            (ours.status, &ours.json()["errors"][0]["code"]),
            (theirs.status, &theirs.json()["errors"][0]["code"]),
            "{path}"
        );
    }
}

#[test]
fn uploads_in_pieces_and_taken_up_again() {
    let bed = Bed::up(1);
    let digest = sha(&bed.lab, b"hello, world");
    let begun = bed.ask("/v2/web/blobs/uploads/", &["-X", "POST"]).must(202);
    let place = begun.header("Location").unwrap().to_owned();
    assert!(place.starts_with("/v2/web/blobs/uploads/"), "{place}");
    let piece = |bytes: &str, range: &str| {
        let (range, kind) = (format!("Content-Range: {range}"), "Content-Type: application/octet-stream");
        bed.ask(&place, &["-X", "PATCH", "-H", &range, "-H", kind, "--data-binary", bytes])
    };
    let first = piece("hello, ", "0-6").must(202);
    assert_eq!((first.header("Range"), first.header("Location")), (Some("0-6"), Some(place.as_str())));
    assert!(piece("world", "8-12").refused(416, "BLOB_UPLOAD_INVALID").contains("the next one is 7"));
    piece("world", "7-99").refused(416, "BLOB_UPLOAD_INVALID");
    // Whoever lost the connection asks how far it is. The agent may have been another process then.
    let agent = bed.lab.own("s1", "agent").unwrap();
    tool(&["kill", "-9", &agent.pid.to_string()]);
    let far = || {
        let answer = bed.ask(&place, &[]);
        (answer.status == 204).then(|| answer.header("Range").map(str::to_owned))
    };
    assert_eq!(lab::eventually_some(SOON, "the upload is found again", far).as_deref(), Some("0-6"));
    piece("wor", "7-9").must(202);
    let done = bed.ask(&format!("{place}?digest={digest}"), &["-X", "PUT", "--data-binary", "ld"]).must(201);
    assert_eq!(done.header("Location"), Some(format!("/v2/web/blobs/{digest}").as_str()));
    assert_eq!(bed.ask(&format!("/v2/web/blobs/{digest}"), &[]).must(200).body, "hello, world");
    bed.ask(&place, &[]).refused(404, "BLOB_UPLOAD_UNKNOWN");
    // All at once, by POST and PUT; and what is not what it says.
    bed.blob("web", "at once");
    let again = bed.ask("/v2/web/blobs/uploads/", &["-X", "POST"]).must(202).header("Location").unwrap().to_owned();
    let wrong = bed.ask(&format!("{again}?digest={digest}"), &["-X", "PUT", "--data-binary", "hello, World"]);
    assert!(wrong.refused(400, "DIGEST_INVALID").contains("another digest"));
    let gone = bed.ask("/v2/web/blobs/uploads/", &["-X", "POST"]).must(202).header("Location").unwrap().to_owned();
    bed.ask(&gone, &["-X", "DELETE"]).must(204);
    bed.ask(&gone, &["-X", "DELETE"]).refused(404, "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn tokens_decide_who_may_do_what() {
    let bed = Bed::up(1);
    bed.artifact(("web", "1"), "text/one", None);
    let pull = bed.lab.ok(&["token", "create", "--registry"]).text().to_owned();
    for path in ["/v2/", "/v2/web/tags/list", "/v2/web/manifests/1"] {
        let answer = bed.ask_with(None, path, &[]);
        assert_eq!(answer.header("WWW-Authenticate"), Some("Basic realm=\"roost\", charset=\"UTF-8\""));
        answer.refused(401, "UNAUTHORIZED");
        bed.ask_with(Some("wrong"), path, &[]).refused(401, "UNAUTHORIZED");
        bed.ask_with(Some(&pull), path, &[]).must(200);
    }
    let push = ["-X", "POST"];
    bed.ask_with(None, "/v2/web/blobs/uploads/", &push).refused(401, "UNAUTHORIZED");
    assert!(bed.ask_with(Some(&pull), "/v2/web/blobs/uploads/", &push).refused(403, "DENIED").contains("--push"));
    bed.ask_with(Some(&pull), "/v2/web/manifests/1", &["-X", "DELETE"]).refused(403, "DENIED");
    // Tools without a token are told so.
    let layout = bed.layout("app", "");
    let argv = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--dest-tls-verify=false",
        &format!("oci:{layout}"),
        &format!("docker://{HERE}/app:1"),
    ];
    let out = bed.lab.inside("s1", &argv).run();
    assert!(out.code != 0 && out.stderr.to_lowercase().contains("auth"), "{out}");
    // Everybody may pull, if so set; nobody may push for it.
    assert_eq!(bed.lab.roost(&["registry", "set", "--anonymous-pull", "true", "--dry-run"]).code, 2);
    bed.lab.ok(&["registry", "set", "--anonymous-pull", "true"]);
    bed.ask_with(None, "/v2/web/manifests/1", &[]).must(200);
    bed.ask_with(None, "/v2/", &[]).refused(401, "UNAUTHORIZED");
    bed.ask_with(None, "/v2/web/blobs/uploads/", &push).refused(401, "UNAUTHORIZED");
    bed.lab.ok(&["registry", "set", "--anonymous-pull", "false"]);
    bed.ask_with(None, "/v2/web/manifests/1", &[]).refused(401, "UNAUTHORIZED");
    // A revoked one is none; the list says what each is for, and no secret.
    let list = bed.lab.json(&["token", "list"]);
    let id =
        list.as_array().unwrap().iter().find(|token| token["registry"] == "pull").unwrap()["id"].as_str().unwrap().to_owned();
    assert!(!list.to_string().contains(&pull), "{list}");
    bed.lab.ok(&["token", "revoke", &id]);
    bed.ask_with(Some(&pull), "/v2/web/manifests/1", &[]).refused(401, "UNAUTHORIZED");
    // Servers do not join with one, and the registry takes none that they join with.
    let join = bed.lab.ok(&["token", "create"]).text().to_owned();
    bed.ask_with(Some(&join), "/v2/", &[]).refused(401, "UNAUTHORIZED");
    assert!(bed.lab.typed_on(OUTSIDE, &["join", &bed.token]).run().must(2).stderr.contains("that is not a join token"));
}

#[test]
fn tls_with_the_clusters_authority_from_outside() {
    let bed = Bed::up(2);
    bed.artifact(("web", "1"), "text/one", None);
    let shown = bed.lab.json(&["registry", "show"]);
    assert_eq!(shown["address"], "10.200.0.1:7445");
    let authority = bed.lab.files().join("authority.pem");
    std::fs::write(&authority, shown["authority"].as_str().unwrap()).unwrap();
    let url = "https://10.200.0.1:7445/v2/web/tags/list";
    let (user, trusted) = (format!("token:{}", bed.token), authority.display().to_string());
    for place in [OUTSIDE, "s2"] {
        let out = bed.lab.inside(place, &["curl", "-s", "-u", &user, "--cacert", &trusted, url]).run().must(0);
        assert_eq!(serde_json::from_str::<Value>(&out.stdout).unwrap(), json!({"name": "web", "tags": ["1"]}));
        assert_ne!(bed.lab.inside(place, &["curl", "-s", "-u", &user, url]).run().code, 0, "without trust");
        assert_ne!(bed.lab.inside(place, &["curl", "-s", "http://10.200.0.1:7445/v2/"]).run().code, 0, "in the clear");
    }
}

#[test]
fn fifty_pushes_at_once_lose_nothing() {
    let bed = Bed::up(1);
    let layout = bed.layout("web", "");
    let name = |n: usize| format!("team{}/web:{n}", n % 5);
    let from = format!("oci:{layout}");
    let pushes: Vec<Background> =
        (0..50).map(|n| bed.copy("s1", &[], &from, &format!("docker://{HERE}/{}", name(n))).start()).collect();
    for push in pushes {
        push.wait(Duration::from_secs(240)).must(0);
    }
    let images = bed.lab.json(&["image", "list"]);
    let digests: Vec<&str> = images.as_array().unwrap().iter().map(|image| image["digest"].as_str().unwrap()).collect();
    assert_eq!(digests.len(), 50);
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{images}");
    for n in [0, 49] {
        let argv = ["skopeo", "inspect", "--tls-verify=false", "--creds", &format!("token:{}", bed.token)];
        let out = bed.lab.inside("s1", &[&argv[..], &[&format!("docker://{HERE}/{}", name(n))]].concat()).run().must(0);
        assert!(out.stdout.contains(digests[0]), "{out}");
    }
    bed.lab.ok(&["run", "-d", "c1", &name(49)]);
    assert_eq!(marker(&bed.lab, "c1"), "web\n");
}

#[test]
fn lists_mounts_referrers_and_deletes() {
    let bed = Bed::up(1);
    for tag in ["a", "b", "c", "d", "e"] {
        bed.artifact(("team/things", tag), &format!("text/{tag}"), None);
    }
    let first = bed.ask("/v2/team/things/tags/list?n=2", &[]).must(200);
    assert_eq!(first.json(), json!({"name": "team/things", "tags": ["a", "b"]}));
    assert_eq!(first.header("Link"), Some("</v2/team/things/tags/list?n=2&last=b>; rel=\"next\""));
    let last = bed.ask("/v2/team/things/tags/list?n=9&last=b", &[]).must(200);
    assert_eq!((last.json()["tags"].clone(), last.header("Link")), (json!(["c", "d", "e"]), None));
    bed.ask("/v2/team/things/tags/list?n=x", &[]).refused(400, "PAGINATION_NUMBER_INVALID");
    assert_eq!(bed.ask("/v2/_catalog", &[]).must(200).json(), json!({"repositories": ["team/things"]}));
    // A blob of one repository for another, without sending it.
    let blob = sha(&bed.lab, b"text/a");
    let mounted = bed.ask(&format!("/v2/other/blobs/uploads/?mount={blob}&from=team/things"), &["-X", "POST"]).must(201);
    assert_eq!(mounted.header("Location"), Some(format!("/v2/other/blobs/{blob}").as_str()));
    let unknown = format!("sha256:{}", "0".repeat(64));
    bed.ask(&format!("/v2/other/blobs/uploads/?mount={unknown}&from=team/things"), &["-X", "POST"]).must(202);
    // What is about something.
    let (subject, descriptor) = bed.artifact(("team/things", "subject"), "text/subject", None);
    let (signature, _) = bed.artifact(("team/things", ""), "x/signature", Some(descriptor.clone()));
    bed.artifact(("team/things", ""), "x/sbom", Some(descriptor));
    let all = bed.ask(&format!("/v2/team/things/referrers/{subject}"), &[]).must(200);
    assert_eq!((all.header("Content-Type"), all.json()["manifests"].as_array().unwrap().len()), (Some(INDEX), 2));
    let one = bed.ask(&format!("/v2/team/things/referrers/{subject}?artifactType=x/signature"), &[]).must(200);
    assert_eq!(one.header("OCI-Filters-Applied"), Some("artifactType"));
    assert_eq!(one.json()["manifests"][0]["digest"].as_str(), Some(signature.as_str()));
    assert_eq!(one.json()["manifests"][0]["annotations"], json!({"kind": "x/signature"}));
    assert_eq!(bed.ask(&format!("/v2/team/things/referrers/{unknown}"), &[]).must(200).json()["manifests"], json!([]));
    // A tag goes by itself; a digest takes its tags with it, and its content.
    bed.ask("/v2/team/things/manifests/a", &["-X", "DELETE"]).must(202);
    bed.ask("/v2/team/things/manifests/a", &[]).refused(404, "MANIFEST_UNKNOWN");
    let b = bed.ask("/v2/team/things/manifests/b", &["-I"]).must(200).header("Docker-Content-Digest").unwrap().to_owned();
    bed.ask(&format!("/v2/team/things/blobs/{}", sha(&bed.lab, b"text/b")), &["-X", "DELETE"]).refused(403, "DENIED");
    bed.ask(&format!("/v2/team/things/manifests/{b}"), &["-X", "DELETE"]).must(202);
    bed.ask("/v2/team/things/manifests/b", &[]).refused(404, "MANIFEST_UNKNOWN");
    bed.ask(&format!("/v2/team/things/manifests/{b}"), &[]).refused(404, "MANIFEST_UNKNOWN");
    bed.ask(&format!("/v2/team/things/blobs/{}", sha(&bed.lab, b"text/b")), &[]).refused(404, "BLOB_UNKNOWN");
    let fresh = bed.blob("team/things", "nobody needs this");
    bed.ask(&format!("/v2/team/things/blobs/{fresh}"), &["-X", "DELETE"]).must(202);
    bed.ask(&format!("/v2/team/things/blobs/{fresh}"), &["-X", "DELETE"]).refused(404, "BLOB_UNKNOWN");
}

#[test]
fn wrong_input_gets_one_sentence() {
    let bed = Bed::up(1);
    let zeros = format!("sha256:{}", "0".repeat(64));
    let put = |path: &str, body: &str, kind: &str| {
        bed.ask(path, &["-X", "PUT", "--data-binary", body, "-H", &format!("Content-Type: {kind}")])
    };
    bed.ask("/v2/Web/tags/list", &[]).refused(400, "NAME_INVALID");
    bed.ask("/v2/web/tags/list", &[]).refused(404, "NAME_UNKNOWN");
    bed.ask("/v2/web/manifests/1", &[]).refused(404, "MANIFEST_UNKNOWN");
    bed.ask("/v2/web/blobs/sha256:12", &[]).refused(400, "DIGEST_INVALID");
    bed.ask(&format!("/v2/web/blobs/{zeros}"), &[]).refused(404, "BLOB_UNKNOWN");
    bed.ask("/v2/web/blobs/uploads/00ff", &[]).refused(404, "BLOB_UPLOAD_UNKNOWN");
    bed.ask("/v1/search", &[]).refused(405, "UNSUPPORTED");
    bed.ask("/v2/_catalog", &["-X", "POST"]).refused(405, "UNSUPPORTED");
    put("/v2/web/manifests/1", "{", MANIFEST).refused(400, "MANIFEST_INVALID");
    put(&format!("/v2/web/manifests/{zeros}"), "{}", MANIFEST).refused(400, "DIGEST_INVALID");
    put("/v2/web/manifests/.x", "{}", MANIFEST).refused(400, "MANIFEST_INVALID");
    let names = json!({"schemaVersion": 2, "config": {"mediaType": "x", "digest": zeros, "size": 2}, "layers": []}).to_string();
    put("/v2/web/manifests/1", &names, MANIFEST).refused(404, "MANIFEST_BLOB_UNKNOWN");
    put("/v2/web/manifests/1", &names, INDEX).refused(404, "MANIFEST_BLOB_UNKNOWN");
    let large = bed.lab.files().join("large.json");
    std::fs::write(&large, vec![b' '; 5 << 20]).unwrap();
    let kind = format!("Content-Type: {MANIFEST}");
    let from = format!("@{}", large.display());
    bed.ask("/v2/web/manifests/1", &["-X", "PUT", "-H", &kind, "--data-binary", &from]).refused(413, "SIZE_INVALID");
    assert_eq!(bed.lab.json(&["image", "list"]), json!([]));
    for (words, code) in [
        (&["image", "push", "nothing", "127.0.0.1:5000/x:1"][..], 3),
        (&["image", "export", "nothing", "-"], 3),
        (&["image", "pull", "-u", "me", "127.0.0.1:5000/x:1"], 2),
        (&["token", "create", "--push"], 2),
    ] {
        assert_eq!(bed.lab.roost(words).code, code, "{words:?}");
    }
}

#[test]
fn images_of_the_cluster_are_pulled_by_their_names_wherever_they_are() {
    let bed = Bed::up(2);
    let file = bed.lab.files().join("tiny.tar").display().to_string();
    Root::tiny().file("marker", "tiny\n").write(&PathBuf::from(&file));
    bed.lab.ok(&["image", "import", &file, "--name", "team/tiny:1", "--server", "s2"]);
    let digest = bed.lab.json(&["image", "show", "team/tiny:1"])["digest"].as_str().unwrap().to_owned();
    let to = bed.lab.files().join("out").display().to_string();
    let copied = || bed.copy("s1", &[], &format!("docker://{HERE}/team/tiny:1"), &format!("oci:{to}:1")).run().code == 0;
    eventually(SOON, "the report says where it is", copied);
    assert!(std::fs::read_to_string(PathBuf::from(&to).join("index.json")).unwrap().contains(&digest));
    // Written out and taken in again it is the same, and so it is through our own registry with a login.
    let archive = bed.lab.files().join("out.tar").display().to_string();
    bed.lab.ok(&["image", "export", "team/tiny:1", &archive]);
    bed.lab.refused(&["image", "export", "team/tiny:1", &archive], 4);
    bed.lab.ok(&["image", "import", &archive, "--name", "again"]);
    let pull = ["image", "pull", "-u", "token", "127.0.0.1:7445/team/tiny:1"];
    bed.lab.typed(&pull).stdin(bed.token.clone()).run().must(0);
    bed.lab
        .typed(&["image", "push", "-u", "token", "again", "127.0.0.1:7445/copy:1"])
        .stdin(format!("{}\n", bed.token))
        .run()
        .must(0);
    let out = bed.lab.refused(&["image", "push", "again", "127.0.0.1:7445/copy:2"], 1);
    let sentence = "error: registry 127.0.0.1:7445 refuses us copy:2: it does not exist there, or needs a login (--user)\n";
    assert!(out.stderr.ends_with(sentence), "{out}");
    for name in ["again", "127.0.0.1:7445/team/tiny:1", "copy:1"] {
        assert_eq!(bed.lab.json(&["image", "show", name])["digest"].as_str(), Some(digest.as_str()), "{name}");
    }
    let docker = bed.lab.files().join("docker.tar").display().to_string();
    bed.lab.ok(&["image", "export", "copy:1", &docker, "--format", "docker-archive"]);
    bed.lab.ok(&["image", "import", &docker, "--name", "loaded"]);
    bed.lab.ok(&["run", "-d", "c1", "loaded", "--", "/bin/sleep", "600"]);
    assert_eq!(marker(&bed.lab, "c1"), "tiny\n");
}

#[test]
fn prune_never_takes_what_is_needed() {
    let bed = Bed::up(2);
    for name in ["one", "two", "three", "idle"] {
        let layout = bed.layout(name, "");
        bed.push(&layout, &format!("{name}:1"));
    }
    bed.lab.ok(&["addjob", "one:1", "1", "--name", "job", "--stop-timeout", "0"]);
    bed.lab.ok(&["upgradejob", "job", "--image", "two:1"]);
    bed.lab.ok(&["run", "-d", "s2:c1", "three:1"]);
    assert_eq!(marker(&bed.lab, "job/1"), "two\n");
    assert_eq!(bed.lab.roost(&["image", "prune", "--all", "--dry-run"]).code, 2);
    bed.lab.ok(&["image", "prune"]);
    let names = || -> Vec<String> {
        let images = bed.lab.json(&["image", "list"]);
        images.as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(), ["idle:1", "one:1", "three:1", "two:1"]);
    let out = bed.lab.ok(&["image", "prune", "--all"]);
    assert_eq!(names(), ["one:1", "three:1", "two:1"], "{out}");
    bed.ask("/v2/idle/manifests/1", &[]).refused(404, "MANIFEST_UNKNOWN");
    // What it was upgraded from is there still.
    bed.lab.ok(&["rollbackjob", "job"]);
    assert_eq!(marker(&bed.lab, "job/1"), "one\n");
    assert_eq!(marker(&bed.lab, "c1"), "three\n");
    // A tag in use is not deleted by the registry either.
    assert!(bed.ask("/v2/three/manifests/1", &["-X", "DELETE"]).refused(403, "DENIED").contains("is used by container c1"));
}
