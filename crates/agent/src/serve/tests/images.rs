//! Images: in and out, made, copied, and made of pods that run.

use super::*;
use api::{
    image::{ConfigChange, ImageProgress, ImageRecord},
    view::{CommitOrder, PullRequest},
};

#[tokio::test]
async fn blobs_for_other_servers_and_a_pull_from_a_server_that_has_it() {
    let api = Api::new().await;
    let mut content = Vec::new();
    let mut stream = api.client.download(&format!("{BLOBS}/{}", testing::DIGEST)).await.unwrap();
    stream.read_to_end(&mut content).await.unwrap();
    assert_eq!(serde_json::from_slice::<api::image::ImageConfig>(&content).unwrap().command, ["serve"]);
    let error = api.client.download(&format!("{BLOBS}/sha256:00")).await.err().unwrap();
    assert_eq!(error.kind, Kind::NotFound);

    // The other side of it: this server as the peer of one that lacks the image.
    let own = identity(&api.authority, &Subject::Server(testing::name("s2")));
    let options = crate::Options {
        server: testing::name("s2"),
        manager: api.address,
        identity: own,
        state_dir: "/nonexistent".into(),
        run_dir: "/nonexistent".into(),
        listen: api.address,
        parallel: 1,
        facts: Default::default(),
        tunnel_socket: None,
        forget_on_refusal: false,
    };
    let source = crate::blobs::sources(&options, tokio::runtime::Handle::current())(&testing::assignment(1));
    let fetched = base::supervise::Scope::blocking(move || {
        let mut fetched = Vec::new();
        std::io::Read::read_to_end(&mut source.open(testing::DIGEST).unwrap(), &mut fetched).unwrap();
        (fetched, source.open("sha256:00").err().unwrap())
    });
    let (fetched, error) = fetched.await.unwrap();
    assert_eq!(fetched, content);
    assert!(error.retryable && error.message.contains("sha256:00 is not here"), "{error}");
}

#[tokio::test]
async fn a_copy_comes_from_elsewhere_and_is_reported() {
    let api = Api::new().await;
    api.bed.images.add("sha256:bb", api::image::ImageConfig::default());
    assert!(!api.agent.engine.report().images.contains(&"sha256:bb".to_owned()));
    let lines = api.client.lines(Method::POST, "/v1/images/sha256:bb/fetch", None, &[]).await.unwrap();
    assert_eq!(record(&all(lines).await).digest, "sha256:bb");
    assert!(api.agent.engine.report().images.contains(&"sha256:bb".to_owned()));
}

#[tokio::test]
async fn a_copy_takes_no_place_of_what_people_ask_for() {
    let api = Api::new().await;
    api.bed.images.add("sha256:bb", api::image::ImageConfig::default());
    api.bed.images.faults.delay("pull", Duration::from_millis(500));
    let pull = || async {
        let request = PullRequest { image: "127.0.0.1:5000/db:1".to_owned(), server: None, insecure: false, login: None };
        let body = serde_json::to_vec(&request).unwrap();
        api.client.lines::<ImageProgress>(Method::POST, "/v1/images/pull", Some(body.into()), &[]).await
    };
    let mut pulls = Vec::new();
    let refused = loop {
        match pull().await {
            Ok(lines) => pulls.push(lines),
            Err(error) => break error,
        }
        assert!(pulls.len() < 10, "no bound");
    };
    assert_eq!(refused.kind, Kind::Conflict, "{refused}");
    let copied = api.client.lines(Method::POST, "/v1/images/sha256:bb/fetch", None, &[]).await.unwrap();
    assert_eq!(record(&all(copied).await).digest, "sha256:bb");
    for lines in pulls {
        record(&all(lines).await);
    }
}

fn record(lines: &[ImageProgress]) -> &ImageRecord {
    match lines.last() {
        Some(ImageProgress::Done { image }) => image,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn images_come_are_reported_and_go_unless_they_are_needed() {
    let api = Api::new().await;
    let archive = std::io::Cursor::new(b"layers".to_vec());
    let import = api.client.upload::<ImageProgress>(Method::POST, "/v1/images/import?name=web", archive).await.unwrap();
    let lines = all(import).await;
    let image = record(&lines);
    assert_eq!(image.name, "web:latest");
    assert!(api.agent.engine.report().images.contains(&image.digest));
    let pull = PullRequest { image: "127.0.0.1:5000/db:1".to_owned(), server: None, insecure: false, login: None };
    let body = serde_json::to_vec(&pull).unwrap();
    let pulled = api.client.lines::<ImageProgress>(Method::POST, "/v1/images/pull", Some(body.into()), &[]).await.unwrap();
    assert_eq!(record(&all(pulled).await).name, "127.0.0.1:5000/db:1");
    let path = format!("/v1/images/{}", image.digest);
    let () = api.client.send(Method::DELETE, &path, &()).await.unwrap();
    assert!(!api.agent.engine.report().images.contains(&image.digest));
    let error =
        api.client.send::<_, IgnoredAny>(Method::DELETE, &format!("/v1/images/{}", testing::DIGEST), &()).await.unwrap_err();
    assert_eq!((error.kind, error.message.ends_with("is needed by c1 on this server")), (Kind::Conflict, true));
}

#[tokio::test]
async fn images_come_while_others_leave_the_disk() {
    let api = Api::new().await;
    let pull = async |name: &str| {
        let pull = PullRequest { image: format!("127.0.0.1:5000/{name}"), server: None, insecure: false, login: None };
        let body = serde_json::to_vec(&pull).unwrap();
        let lines = api.client.lines::<ImageProgress>(Method::POST, "/v1/images/pull", Some(body.into()), &[]).await.unwrap();
        record(&all(lines).await).digest.clone()
    };
    let old = pull("old:1").await;
    api.bed.builder.faults.delay("prune builds", Duration::from_secs(2));
    let mut left = api.client.lines::<u64>(Method::POST, "/v1/images/prune", Some("[]".into()), &[]).await.unwrap();
    assert!(!api.agent.engine.report().images.contains(&old), "out of sight already");
    let new = pull("new:1").await;
    assert!(left.next().await.unwrap().unwrap() >= 1_000);
    assert!(left.next().await.is_none());
    assert!(api.agent.engine.report().images.contains(&new));
}

/// An archive that asks for a build of this file.
fn asked(text: String) -> std::io::Cursor<Vec<u8>> {
    let request = api::build::BuildRequest { name: "web".to_owned(), text, ..Default::default() };
    std::io::Cursor::new(api::build::member(&serde_json::to_vec(&request).unwrap()).unwrap())
}

#[tokio::test]
async fn a_build_tells_every_step_and_one_nobody_waits_for_is_given_up() {
    let api = Api::new().await;
    let build =
        |lines: usize| api.client.upload::<ImageProgress>(Method::POST, "/v1/images/build", asked("RUN x\n".repeat(lines)));
    let lines = all(build(200).await.unwrap()).await;
    let steps = lines.iter().filter(|line| matches!(line, ImageProgress::Step { of: 200, .. })).count();
    assert_eq!(steps, 200, "none is left out, however slowly they are read");
    assert!(api.agent.engine.report().images.contains(&record(&lines).digest));
    let mut lines = build(1_000_000).await.unwrap();
    assert!(matches!(lines.next().await, Some(Ok(ImageProgress::Step { number: 1, .. }))));
    drop(lines);
    let builder = Arc::clone(&api.bed.builder);
    let given_up = base::supervise::Scope::blocking(move || {
        (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            builder.faults.calls().iter().any(|call| call == "given up web")
        })
    });
    assert!(given_up.await.unwrap());
}

#[tokio::test]
async fn an_import_that_fails_says_so_in_its_last_line_and_a_bad_name_at_once() {
    let api = Api::new().await;
    let nothing = std::io::Cursor::new(Vec::new());
    let import = api.client.upload::<ImageProgress>(Method::POST, "/v1/images/import?name=web", nothing.clone()).await.unwrap();
    let lines = all(import).await;
    assert!(
        matches!(lines.last(), Some(ImageProgress::Failed { error }) if error.message == "archive web is empty"),
        "{lines:?}"
    );
    let error = api.client.upload::<ImageProgress>(Method::POST, "/v1/images/import?name=-", nothing).await.err().unwrap();
    assert_eq!(error.kind, Kind::Usage);
}

impl Api {
    async fn commit(&self, pause: bool) -> Vec<ImageProgress> {
        let labels = [("made".to_owned(), "here".to_owned())].into();
        let order = CommitOrder { container: None, pause, change: ConfigChange { labels, ..ConfigChange::default() } };
        let body = serde_json::to_vec(&order).unwrap();
        let headers = [("content-type", "application/json".to_owned())];
        all(self.client.lines(Method::POST, &self.one("commit"), Some(body.into()), &headers).await.unwrap()).await
    }

    fn froze(&self) -> Vec<String> {
        self.bed
            .runtime
            .faults
            .calls()
            .into_iter()
            .filter(|call| call.starts_with("freeze") || call.starts_with("stop"))
            .collect()
    }

    fn changed(&self) {
        std::fs::create_dir_all(self.bed.directory.path().join(format!("pods/{ONE}/upper/etc"))).unwrap();
    }
}

#[tokio::test]
async fn a_commit_holds_the_pod_still_while_it_is_read_and_no_longer() {
    let api = Api::new().await;
    api.changed();
    let lines = api.commit(true).await;
    let image = record(&lines);
    assert_eq!(image.config.labels["made"], "here");
    assert!(image.digest != testing::DIGEST && api.agent.engine.report().images.contains(&image.digest));
    assert_eq!(api.froze(), [format!("freeze {ONE} true"), format!("freeze {ONE} false")]);
    assert_eq!(api.agent.instance(ONE).unwrap().phase, Phase::Running);
    api.commit(false).await;
    assert_eq!(api.froze().len(), 2, "not held still when that is not wanted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_read_counts_as_running_and_is_not_stopped_before_the_end() {
    let api = Api::new().await;
    api.bed.images.faults.delay("commit", Duration::from_millis(400));
    let reading = async {
        api.commit(true).await;
        api.bed.images.faults.heal();
    };
    let meanwhile = async {
        while api.bed.images.faults.count("commit") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(api.agent.instance(ONE).unwrap().phase, Phase::Running);
        api.agent.tell(2, |told| told.pods.values_mut().for_each(|pod| pod.power = api::spec::Power::Off)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(api.froze(), [format!("freeze {ONE} true")]);
    };
    tokio::join!(reading, meanwhile);
    api.agent.phase(ONE, Phase::Exited).await;
    assert!(api.froze().last().unwrap().starts_with("stop"), "{:?}", api.froze());
}

#[tokio::test]
async fn after_a_commit_that_fails_the_pod_goes_on() {
    let api = Api::new().await;
    api.bed.images.faults.fail("commit", 1, driver::DriverError::fatal("no space left"));
    let lines = api.commit(true).await;
    assert!(matches!(lines.last(), Some(ImageProgress::Failed { error }) if error.message == "no space left"), "{lines:?}");
    api.agent.phase(ONE, Phase::Running).await;
    assert_eq!(api.froze().last().unwrap(), &format!("freeze {ONE} false"));
    // One that cannot be held still is not read.
    api.bed.runtime.faults.fail("freeze", 1, driver::DriverError::retryable("the freezer is stuck"));
    let lines = api.commit(true).await;
    assert!(
        matches!(lines.last(), Some(ImageProgress::Failed { error }) if error.message == "the freezer is stuck"),
        "{lines:?}"
    );
    assert_eq!(api.bed.images.faults.count("commit"), 1);
}
