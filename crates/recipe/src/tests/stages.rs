//! Several stages: which are built, from what, and with what.

use super::{options, show, show_with};
use crate::{
    Base, Config, Effect, Options, Plan, Platform, StageId, StageState,
    effect::{Copied, Origin},
    parse,
};
use insta::assert_snapshot;
use std::collections::BTreeSet;

/// Stages of the plan with what they need.
fn needs(text: &str, options: &Options) -> String {
    let plan = match parse(text).and_then(|file| Plan::of(&file, options)) {
        Ok(plan) => plan,
        Err(error) => return error.to_string(),
    };
    let line = |stage: &crate::Stage| {
        let needs: Vec<String> = stage.needs.iter().map(StageId::to_string).collect();
        let base = match &stage.base {
            Base::Image(name) => name.clone(),
            Base::Stage(id) => format!("stage {id}"),
            Base::Scratch => "scratch".to_owned(),
        };
        let images: Vec<&str> = stage.images.iter().map(String::as_str).collect();
        format!(
            "{} {} from {base} on {} needs [{}] images [{}]",
            stage.id,
            stage.name.as_deref().unwrap_or("-"),
            stage.platform,
            needs.join(" "),
            images.join(" ")
        )
    };
    plan.stages.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn target(name: &str) -> Options {
    Options { target: Some(name.to_owned()), ..options() }
}

const FOUR: &str = "FROM golang AS build\nRUN make\nFROM debian AS assets\nRUN gulp\nFROM build AS test\nRUN check\nFROM scratch\nCOPY --from=BUILD /a /a\nCOPY --from=1 /b /b\n";

#[test]
fn only_what_is_needed() {
    assert_snapshot!(needs(FOUR, &options()), @"
    0 build from golang:latest on linux/amd64 needs [] images []
    1 assets from debian:latest on linux/amd64 needs [] images []
    3 - from scratch on linux/amd64 needs [0 1] images []
    ");
    assert_snapshot!(needs(FOUR, &target("test")), @"
    0 build from golang:latest on linux/amd64 needs [] images []
    2 test from stage 0 on linux/amd64 needs [0] images []
    ");
    assert_snapshot!(needs(FOUR, &target("Assets")), @"1 assets from debian:latest on linux/amd64 needs [] images []");
    assert_snapshot!(needs(FOUR, &target("3")), @"
    0 build from golang:latest on linux/amd64 needs [] images []
    1 assets from debian:latest on linux/amd64 needs [] images []
    3 - from scratch on linux/amd64 needs [0 1] images []
    ");
    assert_snapshot!(needs(FOUR, &target("biuld")), @"Dockerfile: there is no stage biuld: did you mean build?");
    assert_snapshot!(needs(FOUR, &target("nothing-like-it")), @"Dockerfile: there is no stage nothing-like-it: there are build, assets, test");
    assert_snapshot!(needs("FROM debian", &target("x")), @"Dockerfile: there is no stage x: no stage has a name");
}

#[test]
fn side_by_side() {
    let plan = Plan::of(&parse(FOUR).unwrap(), &options()).unwrap();
    assert_eq!(plan.ready(&BTreeSet::new()), [StageId(0), StageId(1)]);
    assert_eq!(plan.ready(&BTreeSet::from([StageId(0)])), [StageId(1)]);
    assert_eq!(plan.ready(&BTreeSet::from([StageId(0), StageId(1)])), [StageId(3)]);
    assert_eq!(plan.images().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["debian:latest", "golang:latest"]);
    assert_eq!((plan.nearest_stage("biuld:latest"), plan.nearest_stage("nginx:latest")), (Some("build"), None));
}

#[test]
fn mounts_and_images_count() {
    assert_snapshot!(needs("FROM a AS x\nFROM b\nRUN --mount=from=x,target=/x --mount=type=cache,target=/y,from=c:1 true\nCOPY --from=d/e a b", &options()), @"
    0 x from a:latest on linux/amd64 needs [] images []
    1 - from b:latest on linux/amd64 needs [0] images [c:1 d/e:latest]
    ");
    assert_snapshot!(needs("FROM a AS x\nONBUILD COPY --from=y . /\nFROM b AS y\nFROM x", &options()), @"
    0 x from a:latest on linux/amd64 needs [] images []
    1 y from b:latest on linux/amd64 needs [] images []
    2 - from stage 0 on linux/amd64 needs [0 1] images []
    ");
    let mut known = options();
    known.triggers.insert("onbuild:latest".into(), vec!["COPY --from=x . /".into(), "RUN --mount=from=d,target=/d x".into()]);
    assert_snapshot!(needs("FROM a AS x\nFROM onbuild", &known), @"
    0 x from a:latest on linux/amd64 needs [] images []
    1 - from onbuild:latest on linux/amd64 needs [0] images [d:latest]
    ");
    assert_snapshot!(needs("FROM a AS x\nFROM onbuild", &options()), @"1 - from onbuild:latest on linux/amd64 needs [] images []");
}

#[test]
fn platforms() {
    let mut cross = Options::new(Platform::linux("arm64"));
    cross.build_platform = Platform::linux("amd64");
    assert_snapshot!(needs("FROM --platform=$BUILDPLATFORM a AS x\nFROM x AS y\nFROM --platform=linux/arm/v7 b AS z\nFROM c\nCOPY --from=y . .\nCOPY --from=z . .", &cross), @"
    0 x from a:latest on linux/amd64 needs [] images []
    1 y from stage 0 on linux/amd64 needs [0] images []
    2 z from b:latest on linux/arm/v7 needs [] images []
    3 - from c:latest on linux/arm64 needs [1 2] images []
    ");
    let plan = Plan::of(&parse("FROM --platform=$BUILDPLATFORM a\nCOPY --from=b . .").unwrap(), &cross).unwrap();
    let images: Vec<String> = plan.images().into_iter().map(|(name, platform)| format!("{name} {platform}")).collect();
    assert_eq!(images, ["a:latest linux/amd64", "b:latest linux/arm64"]);
    assert_snapshot!(needs("FROM --platform=$NO a", &cross), @r#"Dockerfile line 1: "" is no platform: write it like linux/amd64 or linux/arm64"#);
    assert_snapshot!(needs("FROM --platform=windows/amd64 a", &cross), @r#"Dockerfile line 1: "windows/amd64" is a platform Roost does not build for: use linux/…"#);
    assert_snapshot!(show_with("FROM a\nARG TARGETPLATFORM BUILDARCH TARGETSTAGE\nRUN x", &cross), @r#"
    run ["/bin/sh","-c","x"] with BUILDARCH=amd64 TARGETPLATFORM=linux/arm64 TARGETSTAGE=default
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
}

#[test]
fn a_stage_on_a_stage() {
    assert_snapshot!(show("FROM php AS a\nARG x=1\nENV e=1\nWORKDIR b\nCMD [\"c\"]\nMAINTAINER m\nONBUILD RUN triggered\nFROM a\nRUN $x\nENTRYPOINT [\"e\"]"), @r#"
    0: Image("php:latest")
    workdir /var/www/b of www
    1: Stage(StageId(0))
    run ["/bin/sh","-c","triggered"] as www in /var/www/b with PHP_VERSION=8.4 e=1 x=1
    run ["/bin/sh","-c","$x"] as www in /var/www/b with PHP_VERSION=8.4 e=1 x=1
    {"User":"www","Env":["PATH=/php:/bin","PHP_VERSION=8.4","e=1"],"Entrypoint":["e"],"WorkingDir":"/var/www/b"}
    by m
    "#);
    assert_snapshot!(show("FROM scratch AS a\nONBUILD COPY x /\nFROM a AS b\nFROM b"), @r#"
    0: Scratch
    1: Stage(StageId(0))
    copy x -> /
    2: Stage(StageId(1))
    {"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("ARG base=a\nFROM debian AS a\nENV from=a\nFROM $base\nRUN x"), @r#"
    0: Image("debian:latest")
    1: Stage(StageId(0))
    run ["/bin/sh","-c","x"] with from=a
    {"Env":["PATH=/bin","from=a"],"WorkingDir":"/"}
    "#);
}

#[test]
fn what_may_be_a_name() {
    assert_snapshot!(needs("ARG v\nFROM debian:${v:-13} AS A.b-c_1\nFROM a.B-C_1", &options()), @"
    0 a.b-c_1 from debian:13 on linux/amd64 needs [] images []
    1 - from stage 0 on linux/amd64 needs [0] images []
    ");
    assert_snapshot!(needs("FROM debian as x\nfrom x AS y\nFROM x", &options()), @"
    0 x from debian:latest on linux/amd64 needs [] images []
    2 - from stage 0 on linux/amd64 needs [0] images []
    ");
    assert_snapshot!(needs("FROM b AS a\nFROM a AS b", &options()), @"
    0 a from b:latest on linux/amd64 needs [] images []
    1 b from stage 0 on linux/amd64 needs [0] images []
    ");
    assert_snapshot!(needs("FROM debian@sha256:0123 AS x", &options()), @"0 x from debian@sha256:0123 on linux/amd64 needs [] images []");
}

#[test]
fn unused_arguments_are_named() {
    let mut passed = options();
    for name in ["a", "b", "no_proxy", "TARGETARCH", "c"] {
        passed.build_args.insert(name.into(), "1".into());
    }
    let plan = Plan::of(&parse("ARG a\nFROM x\nARG c").unwrap(), &passed).unwrap();
    assert_eq!(plan.unused, ["b"]);
}

#[test]
fn triggers_that_need_a_stage_are_planned() {
    let file = parse("FROM a AS assets\nFROM onbuild").unwrap();
    let triggers = vec!["COPY --from=assets x /x".to_owned()];
    let base = Config { on_build: triggers.clone(), ..Config::default() };
    let plan = Plan::of(&file, &options()).unwrap();
    let refused = StageState::begin(&plan, plan.stages.last().unwrap(), base.clone()).unwrap_err().to_string();
    assert_snapshot!(refused, @"Dockerfile line 2: an ONBUILD trigger of the base needs the stage assets, which is not built before: plan again with the base's triggers");
    let mut known = options();
    known.triggers.insert("onbuild:latest".into(), triggers);
    let plan = Plan::of(&file, &known).unwrap();
    let mut state = StageState::begin(&plan, plan.stages.last().unwrap(), base).unwrap();
    let instructions = state.instructions();
    assert_eq!(
        (instructions.len(), instructions[0].first, instructions[0].text.as_str()),
        (1, 2, "ONBUILD COPY --from=assets x /x")
    );
    let copied = state.step(&instructions[0]).unwrap();
    assert!(matches!(copied, Effect::Copy(Copied { from: Origin::Stage(StageId(0)), .. })));
    assert!(state.config().on_build.is_empty(), "they are not handed on");
}

#[test]
fn a_wrong_trigger_is_named() {
    let plan = Plan::of(&parse("ARG a\n\nFROM x").unwrap(), &options()).unwrap();
    let base = Config { on_build: vec!["RUNN x".into()], ..Config::default() };
    assert_snapshot!(StageState::begin(&plan, &plan.stages[0], base).unwrap_err(), @r#"Dockerfile line 3: the ONBUILD trigger "RUNN x" cannot be used: unknown instruction RUNN: did you mean RUN?"#);
}
