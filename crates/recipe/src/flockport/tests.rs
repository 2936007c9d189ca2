//! Recipes.

use super::{label, parse_recipe, read};
use crate::{
    Kind, parse,
    tests::{options, show_file},
};
use api::spec::{ContainerKind, Probe};
use insta::assert_snapshot;

const WORDPRESS: &str = "\
# A blog
FROM debian/bookworm
ENV DOMAIN=example.com \\
    ROOT=/var/www
RUN apt-get update && \\
    # no recommends
    apt-get install -y php-fpm nginx
COPY --chown=www-data site.conf /etc/nginx/
COPY <<motd /etc/motd
welcome to $DOMAIN
motd
PORT 80 443
VOLUME $ROOT
START nginx -g 'daemon off;'
CHECK http /health
SERVICE blog 80
SERVICE blog-tls 443
LIMIT memory 512M cpu 0.5
LIMIT pids 100
NEEDS mysql redis mysql
TYPE app
";

fn says(text: &str) -> String {
    parse_recipe(text).unwrap_err().to_string()
}

#[test]
fn a_whole_recipe() {
    let recipe = parse_recipe(WORDPRESS).unwrap();
    assert_snapshot!(show_file(&recipe.build, &options()), @r#"
    run ["/bin/sh","-c","apt-get update &&     apt-get install -y php-fpm nginx"] with DOMAIN=example.com ROOT=/var/www
    copy site.conf -> /etc/nginx/ owner www-data
    copy motd="welcome to example.com\n" -> /etc/motd
    {"ExposedPorts":{"443/tcp":{},"80/tcp":{}},"Env":["PATH=/bin","DOMAIN=example.com","ROOT=/var/www"],"Cmd":["/bin/sh","-c","nginx -g 'daemon off;'"],"Volumes":{"/var/www":{}},"WorkingDir":"/","Labels":{"roost.check":"http 80 /health","roost.kind":"app","roost.limits":"memory 512M cpu 0.5 pids 100","roost.needs":"mysql redis","roost.services":"blog 80, blog-tls 443"}}
    "#);
    assert_snapshot!(recipe.build.to_string(), @r#"
    FROM debian/bookworm
    ENV DOMAIN=example.com ROOT=/var/www
    RUN apt-get update &&     apt-get install -y php-fpm nginx
    COPY --chown=www-data site.conf /etc/nginx/
    COPY <<motd /etc/motd
    welcome to $DOMAIN
    motd
    EXPOSE 80 443
    VOLUME ["$ROOT"]
    ENTRYPOINT []
    CMD nginx -g 'daemon off;'
    LABEL roost.kind=app roost.check=http\ 80\ /health roost.services=blog\ 80,\ blog-tls\ 443 roost.limits=memory\ 512M\ cpu\ 0.5\ pids\ 100 roost.needs=mysql\ redis
    "#);
    assert_eq!(recipe.check, Some(Probe::Http { port: 80, path: "/health".into(), host: None }));
    assert_eq!(recipe.kind, ContainerKind::App);
    assert_eq!(recipe.needs.iter().map(api::Name::as_str).collect::<Vec<_>>(), ["mysql", "redis"]);
    assert_eq!(
        recipe.services.iter().map(|service| (service.name.as_str(), service.port)).collect::<Vec<_>>(),
        [("blog", 80), ("blog-tls", 443)]
    );
    assert_eq!(
        (recipe.limits.memory.map(|m| m.0), recipe.limits.cpu.map(|c| c.0), recipe.limits.pids),
        (Some(512 << 20), Some(500), Some(100))
    );
}

#[test]
fn what_it_compiles_to_is_a_dockerfile() {
    let recipe = parse_recipe(WORDPRESS).unwrap();
    let again = parse(&recipe.build.to_string()).unwrap();
    assert_eq!(show_file(&again, &options()), show_file(&recipe.build, &options()));
}

#[test]
fn checks() {
    let label_of = |text: &str| {
        let recipe = parse_recipe(&format!("FROM x\nPORT 80\n{text}")).unwrap();
        show_file(&recipe.build, &options())
    };
    assert_snapshot!(label_of("CHECK tcp 5432"), @r#"{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"WorkingDir":"/","Labels":{"roost.check":"tcp 5432","roost.kind":"app"}}"#);
    assert_snapshot!(label_of("CHECK http 8080 /a"), @r#"{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"WorkingDir":"/","Labels":{"roost.check":"http 8080 /a","roost.kind":"app"}}"#);
    assert_snapshot!(label_of("CHECK command pg_isready -U \"$USER\""), @r#"{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Healthcheck":{"Test":["CMD","/bin/sh","-c","pg_isready -U \"$USER\""]},"WorkingDir":"/","Labels":{"roost.check":"command [\"/bin/sh\",\"-c\",\"pg_isready -U \\\"$USER\\\"\"]","roost.kind":"app"}}"#);
    assert_snapshot!(label_of("CHECK command [\"pg_isready\"]\nLIMIT memory 1000000"), @r#"{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Healthcheck":{"Test":["CMD","pg_isready"]},"WorkingDir":"/","Labels":{"roost.check":"command [\"pg_isready\"]","roost.kind":"app","roost.limits":"memory 1000000"}}"#);
}

#[test]
fn systems() {
    let recipe = parse_recipe("FROM debian\nTYPE system\nRUN systemctl enable ssh").unwrap();
    assert_eq!(recipe.kind, ContainerKind::System);
    assert!(show_file(&recipe.build, &options()).contains(&format!("\"{}\":\"system\"", label::KIND)));
    assert_eq!(
        says("FROM debian\nSTART sshd\nTYPE system"),
        "recipe line 2: START is for apps, and a system starts its own init: remove it, or enable a service with RUN"
    );
}

#[test]
fn refusals() {
    for (text, expected) in [
        ("", "recipe: it has no FROM: begin with FROM and an image, or FROM scratch"),
        ("START x\nFROM y", "recipe line 1: START stands before FROM: write FROM and an image above it"),
        ("LIMIT pids 1\nFROM y", "recipe line 1: LIMIT stands before FROM: write FROM and an image above it"),
        ("FROM x\nFROM y", "recipe line 2: a recipe has one FROM, and another stands in line 1: remove one"),
        ("FROM x AS y", "recipe line 1: a recipe has no stages: remove AS and the name"),
        ("FROM x\nSTRAT y", "recipe line 2: unknown instruction STRAT: did you mean START?"),
        (
            "FROM x\nWORKDIR /y",
            "recipe line 2: unknown instruction WORKDIR: there are CHECK, COPY, ENV, FROM, LIMIT, NEEDS, PORT, RUN, SERVICE, START, TYPE, VOLUME",
        ),
        ("FROM x\nCMD y", "recipe line 2: a recipe does not say CMD: write START"),
        ("FROM x\nexpose 80", "recipe line 2: a recipe does not say expose: write PORT"),
        ("FROM x\nSTART a\nSTART b", "recipe line 3: START stands here a second time, first in line 2: remove one"),
        (
            "FROM x\nPORT 70000",
            "recipe line 2: 70000 is no port: write a number from 1 to 65535, as in 80 or 53/udp, or a range, as in 8000-8010",
        ),
        ("FROM x\nPORT", "recipe line 2: PORT says nothing: write PORT 80, or PORT 53/udp"),
        (
            "FROM x\nCHECK tcp",
            "recipe line 2: CHECK tcp is not understood: write CHECK tcp 80, CHECK http /path or CHECK command program",
        ),
        (
            "FROM x\nCHECK http path",
            "recipe line 2: CHECK http path is not understood: write CHECK tcp 80, CHECK http /path or CHECK command program",
        ),
        ("FROM x\nCHECK htp /path", "recipe line 2: CHECK htp is unknown: did you mean http?"),
        (
            "FROM x\nCHECK http /path",
            "recipe line 2: CHECK http /path does not say which port, and there is no PORT: write CHECK http 8080 /path",
        ),
        (
            "FROM x\nSERVICE mysql",
            "recipe line 2: SERVICE mysql is not understood: write SERVICE name port, as in SERVICE mysql 3306",
        ),
        (
            "FROM x\nSERVICE My_SQL 1",
            "recipe line 2: \"My_SQL\" is not a service name: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit",
        ),
        (
            "FROM x\nSERVICE a 1\nSERVICE a 2",
            "recipe line 3: the service a stands here a second time: give this port another name",
        ),
        ("FROM x\nLIMIT memory lots", "recipe line 2: \"lots\" is not a size: write a number and K, M, G or T, as in 512M"),
        (
            "FROM x\nLIMIT memory",
            "recipe line 2: LIMIT memory is not understood: write LIMIT memory 512M, LIMIT cpu 0.5 or LIMIT pids 100",
        ),
        ("FROM x\nLIMIT memroy 1G", "recipe line 2: LIMIT memroy is unknown: did you mean memory?"),
        (
            "FROM x\nLIMIT pids 0",
            "recipe line 2: LIMIT pids 0 is not understood: write LIMIT memory 512M, LIMIT cpu 0.5 or LIMIT pids 100",
        ),
        ("FROM x\nLIMIT cpu 1\nLIMIT cpu 2", "recipe line 3: the limit cpu stands here a second time: remove one"),
        ("FROM x\nNEEDS", "recipe line 2: NEEDS says nothing: write NEEDS mysql"),
        ("FROM x\nTYPE vm", "recipe line 2: TYPE vm is unknown: there are app, system"),
    ] {
        assert_eq!(says(text), expected, "{text}");
    }
}

#[test]
fn either_language_is_read() {
    assert!(read(Kind::of_file("web.recipe"), "FROM x\nSTART y").is_ok());
    assert_eq!(
        read(Kind::of_file("Dockerfile"), "FROM x\nSTART y").unwrap_err().to_string(),
        "Dockerfile line 2: unknown instruction START: there are ADD, ARG, CMD, COPY, ENTRYPOINT, ENV, EXPOSE, FROM, HEALTHCHECK, LABEL, MAINTAINER, ONBUILD, RUN, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR"
    );
}
