//! Tables of docker's merge rules.

use super::*;
use crate::testing;
use api::name::Name;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn template(entrypoint: Option<&str>, command: Option<&str>) -> ContainerTemplate {
    let mut template = testing::container("main");
    template.entrypoint = entrypoint.map(words);
    template.command = command.map(words);
    template
}

#[test]
fn entrypoint_and_command_merge_as_in_docker() {
    // image entrypoint, image command, given entrypoint, given command → what runs
    let table = [
        ("/entry", "serve", None, None, Some("/entry serve")),
        ("/entry", "serve", None, Some("check now"), Some("/entry check now")),
        ("/entry", "serve", Some("/other"), None, Some("/other")),
        ("/entry", "serve", Some("/other"), Some("x"), Some("/other x")),
        ("/entry", "serve", Some(""), Some("sh -c true"), Some("sh -c true")),
        ("/entry", "serve", Some(""), None, None),
        ("", "serve", None, None, Some("serve")),
        ("/entry", "", None, None, Some("/entry")),
        ("", "", None, Some("sh"), Some("sh")),
        ("", "", None, None, None),
        ("", "serve", None, Some(""), None),
    ];
    for (image_entrypoint, image_command, entrypoint, command, want) in table {
        let config = ImageConfig { entrypoint: words(image_entrypoint), command: words(image_command), ..Default::default() };
        let got = argv(&template(entrypoint, command), &config);
        assert_eq!(got.ok(), want.map(words), "{image_entrypoint:?} {image_command:?} {entrypoint:?} {command:?}");
    }
}

#[test]
fn an_empty_word_as_entrypoint_clears_the_images() {
    let mut own = template(None, Some("sh"));
    own.entrypoint = Some(vec![String::new()]);
    let config = ImageConfig { entrypoint: words("/entry"), ..Default::default() };
    assert_eq!(argv(&own, &config).unwrap(), ["sh"]);
}

#[test]
fn nothing_to_run_is_a_sentence_and_a_system_has_its_init() {
    let none = ImageConfig::default();
    insta::assert_snapshot!(argv(&template(None, None), &none).unwrap_err(), @"image web has neither entrypoint nor command: give container main a command");
    let mut system = template(None, None);
    system.kind = ContainerKind::System;
    assert_eq!(argv(&system, &none).unwrap(), ["/sbin/init"]);
}

#[test]
fn environment_is_overridden_in_place_and_added_at_the_end() {
    let mut own = template(None, None);
    own.env = BTreeMap::from([("A".to_owned(), "mine".to_owned()), ("NEW".to_owned(), "x=y".to_owned())]);
    let config = ImageConfig {
        env: ["PATH=/opt/bin", "A=image", "B=2", "junk", "A=again"].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    assert_eq!(environment(&own, &config, "web-3"), ["PATH=/opt/bin", "HOSTNAME=web-3", "A=mine", "B=2", "NEW=x=y"]);
}

#[test]
fn the_image_or_the_template_may_set_the_host_name_variable_and_a_terminal_brings_term() {
    let mut own = template(None, None);
    own.terminal = true;
    let config = ImageConfig { env: vec!["HOSTNAME=fixed".to_owned()], ..Default::default() };
    let env = environment(&own, &config, "web-3");
    assert_eq!(env[1..], ["HOSTNAME=fixed", "TERM=xterm"]);
    assert!(env[0].starts_with("PATH=/usr/local/sbin:"));
}

#[test]
fn user_and_working_directory_come_from_the_template_first() {
    let config = ImageConfig { workdir: "srv/app".to_owned(), ..Default::default() };
    assert_eq!(workdir(&template(None, None), &config), "/srv/app");
    assert_eq!(workdir(&template(None, None), &ImageConfig::default()), "/");
    let mut own = template(None, None);
    own.workdir = Some("/data".to_owned());
    assert_eq!(workdir(&own, &config), "/data");
}

#[test]
fn a_mount_is_a_path_of_the_server_or_a_volume() {
    let mount = |source: &str| Mount { source: source.to_owned(), target: "/data".to_owned(), read_only: true };
    assert_eq!(mount_run(&mount("/srv/x"), Path::new("/v")).source, Path::new("/srv/x"));
    assert_eq!(mount_run(&mount("db"), Path::new("/v")).source, Path::new("/v/db"));
}

#[test]
fn a_whole_pod() {
    let told = testing::assignment(1);
    let pod = testing::pod("web/3", 5);
    let mut template = testing::template();
    template.containers[0].command = Some(words("serve"));
    template.containers[0].user = Some("www-data".to_owned());
    let images = LocalImages::from([(testing::DIGEST.to_owned(), Arc::new(testing::image(ImageConfig::default())))]);
    let place = Place {
        id: InstanceId(7),
        pod: &pod,
        network: &told.network,
        netns: "/run/netns/7".into(),
        volumes: Path::new("/v"),
        first: true,
    };
    let run = pod_run(&template, &images, &place).unwrap();
    insta::assert_snapshot!(run.resolv_conf, @r"
    nameserver 10.70.1.1
    search internal
    options ndots:1 timeout:2 attempts:3
    ");
    assert_eq!((run.hostname.as_str(), run.address.octets()), ("web-3", [10, 70, 1, 5]));
    let main = &run.containers[0];
    assert_eq!((main.user.as_str(), main.stop_signal, main.workdir.as_str()), ("www-data", 15, "/"));
    assert_eq!(main.layers, [PathBuf::from("/layers/1")]);
    assert_eq!(main.name, Name::parse("container", "main").unwrap());
}

#[test]
fn an_image_that_is_not_here_or_has_no_digest_is_a_sentence() {
    let told = testing::assignment(1);
    let pod = testing::pod("web/3", 5);
    let place =
        Place { id: InstanceId(7), pod: &pod, network: &told.network, netns: "/n".into(), volumes: Path::new("/v"), first: true };
    let error = pod_run(&testing::template(), &LocalImages::new(), &place).unwrap_err();
    assert!(error.contains("is not on this server"), "{error}");
    let mut without = testing::template();
    without.containers[0].image.digest = None;
    assert!(pod_run(&without, &LocalImages::new(), &place).unwrap_err().contains("no digest"));
}
