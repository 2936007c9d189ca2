//! What is wrong is refused with one sentence, and its line.

use super::show;

/// Each file is refused with this sentence.
fn refused(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(show(text), *expected, "{text}");
    }
}

#[test]
fn words() {
    refused(&[
        ("FROM x\n\nRUNN ls", "Dockerfile line 3: unknown instruction RUNN: did you mean RUN?"),
        ("FROM x\ncopi a b", "Dockerfile line 2: unknown instruction copi: did you mean COPY?"),
        (
            "FROM x\nRUN a\n  && b",
            "Dockerfile line 3: unknown instruction &&: there are ADD, ARG, CMD, COPY, ENTRYPOINT, ENV, EXPOSE, FROM, HEALTHCHECK, LABEL, MAINTAINER, ONBUILD, RUN, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR",
        ),
        ("FROM x\n\u{8}RG", "Dockerfile line 2: unknown instruction \\u{8}RG: did you mean ARG?"),
        ("FROM x\nRUN", "Dockerfile line 2: RUN says nothing: write RUN and a command"),
        ("FROM x\nRUN --network=none", "Dockerfile line 2: RUN says nothing: write RUN and a command"),
        ("FROM x\nRUN []", "Dockerfile line 2: RUN says nothing: write RUN [\"program\", \"word\"]"),
        ("FROM x\nRUN [\"\"]", "Dockerfile line 2: RUN says nothing: write RUN [\"program\", \"word\"]"),
        ("FROM x\nRUN \\\n# c\n", "Dockerfile line 2: RUN says nothing: write RUN and a command"),
        (
            "FROM x\nCMD [\"a\", 1]",
            "Dockerfile line 2: the JSON list holds 1, which is no text: write each word in double quotes",
        ),
        ("FROM x\nENV", "Dockerfile line 2: ENV says nothing: write ENV NAME=value"),
        ("FROM x\nENV A", "Dockerfile line 2: ENV A has no value: write ENV NAME=value"),
        (
            "FROM x\nENV A=b C",
            "Dockerfile line 2: ENV C has no =: write every name with its value, as in A=b, and values with blanks in quotes",
        ),
        ("FROM x\nLABEL =b", "Dockerfile line 2: LABEL =b has no name: write it before the ="),
        ("FROM x\nARG =b", "Dockerfile line 2: ARG =b has no name: write it before the ="),
        ("FROM x\nARG", "Dockerfile line 2: ARG says nothing: write ARG name, or ARG name=default"),
        ("FROM x\nUSER", "Dockerfile line 2: USER says nothing: write USER name, USER 1000 or USER 1000:1000"),
        ("FROM x\nVOLUME []", "Dockerfile line 2: VOLUME says nothing: write VOLUME /var/lib/data"),
        ("FROM x\nSHELL bash -c", "Dockerfile line 2: SHELL takes a JSON list only: write SHELL [\"/bin/bash\", \"-c\"]"),
        ("FROM x\nRUN <<EOF\na", "Dockerfile line 2: the heredoc EOF never ends: write EOF alone on a line below it"),
    ]);
}

#[test]
fn flags() {
    refused(&[
        ("FROM x\nCOPY --form=y a b", "Dockerfile line 2: COPY has no flag --form: did you mean --from?"),
        ("FROM x\nCOPY --chown a b", "Dockerfile line 2: --chown needs a value: write --chown=…"),
        ("FROM x\nRUN --privileged a", "Dockerfile line 2: RUN has no flag --privileged: it has --mount, --network, --security"),
        ("FROM x\nRUN --network=non a", "Dockerfile line 2: --network non is unknown: did you mean none?"),
        (
            "FROM x\nRUN --security=insecure a",
            "Dockerfile line 2: --security=insecure would give a build rights over the server, which Roost does not do: remove it",
        ),
        ("FROM x\nUSER --x me", "Dockerfile line 2: USER has no flags, but --x stands here"),
        (
            "FROM x\nRUN --mount=type=ssh git clone x",
            "Dockerfile line 2: --mount=type=ssh hands on somebody's SSH agent, which Roost does not do: mount a key as a secret, or fetch before the build",
        ),
        (
            "FROM x\nARG t=ssh\nRUN --mount=type=$t,id=default x",
            "Dockerfile line 3: --mount=type=ssh hands on somebody's SSH agent, which Roost does not do: mount a key as a secret, or fetch before the build",
        ),
        ("FROM x\nRUN --mount=type=bind,target=/ x", "Dockerfile line 2: --mount cannot be at / itself: write target=/…"),
        (
            "FROM x\nRUN --mount=source=../a,target=/a x",
            "Dockerfile line 2: RUN --mount source ../a leaves the build context: copy only what lies in it, or build from a directory above",
        ),
        ("FROM --platfrom=a x", "Dockerfile line 1: FROM has no flag --platfrom: did you mean --platform?"),
    ]);
}

#[test]
fn ports_signals_checks() {
    refused(&[
        (
            "FROM x\nEXPOSE 70000",
            "Dockerfile line 2: 70000 is no port: write a number from 1 to 65535, as in 80 or 53/udp, or a range, as in 8000-8010",
        ),
        (
            "FROM x\nENV p=0\nEXPOSE $p",
            "Dockerfile line 3: 0 is no port: write a number from 1 to 65535, as in 80 or 53/udp, or a range, as in 8000-8010",
        ),
        ("FROM x\nEXPOSE 80/tpc", "Dockerfile line 2: EXPOSE 80/tpc is unknown: did you mean tcp?"),
        (
            "FROM x\nSTOPSIGNAL SIGTREM",
            "Dockerfile line 2: SIGTREM is no signal: write a number from 1 to 64, or a name, as in SIGTERM",
        ),
        ("FROM x\nSTOPSIGNAL $s", "Dockerfile line 2: STOPSIGNAL $s is empty once its variables are known: give them values"),
        ("FROM x\nHEALTHCHECK curl", "Dockerfile line 2: HEALTHCHECK curl is unknown: there are CMD, NONE"),
        (
            "FROM x\nHEALTHCHECK CMD",
            "Dockerfile line 2: HEALTHCHECK CMD says nothing: write HEALTHCHECK CMD and a command, or HEALTHCHECK NONE",
        ),
        (
            "FROM x\nHEALTHCHECK CMD []",
            "Dockerfile line 2: HEALTHCHECK CMD says nothing: write HEALTHCHECK CMD and a command, or HEALTHCHECK NONE",
        ),
        (
            "FROM x\nHEALTHCHECK NONE x",
            "Dockerfile line 2: HEALTHCHECK NONE stands alone, but x follows: remove it, or write HEALTHCHECK CMD x",
        ),
        (
            "FROM x\nHEALTHCHECK --interval=5 CMD x",
            "Dockerfile line 2: --interval=5 is no duration: write a number with its unit, as in 30s or 1m30s",
        ),
        (
            "FROM x\nHEALTHCHECK --timeout=5us CMD x",
            "Dockerfile line 2: --timeout=5us is less than a millisecond: write 1ms or more, or 0s for the default",
        ),
        (
            "FROM x\nHEALTHCHECK --retries=-1 CMD x",
            "Dockerfile line 2: --retries=-1 is no number: write how many failures in a row make it unhealthy, as in 3",
        ),
        (
            "FROM x\nONBUILD FROM y",
            "Dockerfile line 2: the ONBUILD trigger \"FROM y\" cannot be used: FROM is not possible in one",
        ),
        (
            "FROM x\nONBUILD ONBUILD RUN a",
            "Dockerfile line 2: the ONBUILD trigger \"ONBUILD RUN a\" cannot be used: ONBUILD is not possible in one",
        ),
        (
            "FROM x\nONBUILD RUNN a",
            "Dockerfile line 2: the ONBUILD trigger \"RUNN a\" cannot be used: unknown instruction RUNN: did you mean RUN?",
        ),
    ]);
}

#[test]
fn files() {
    refused(&[
        ("FROM x\nCOPY a", "Dockerfile line 2: COPY a has no destination: write COPY source destination"),
        ("FROM x\nCOPY", "Dockerfile line 2: COPY says nothing: write a source and a destination"),
        ("FROM x\nCOPY a b /c", "Dockerfile line 2: COPY has several sources, and /c may be a file: write /c/"),
        ("FROM x\nENV d=/c\nADD a b $d", "Dockerfile line 3: ADD has several sources, and /c may be a file: write /c/"),
        (
            "FROM x\nCOPY ../y /y",
            "Dockerfile line 2: COPY ../y leaves the build context: copy only what lies in it, or build from a directory above",
        ),
        (
            "FROM x\nARG up=..\nCOPY a/$up/../b /y",
            "Dockerfile line 3: COPY a/../../b leaves the build context: copy only what lies in it, or build from a directory above",
        ),
        (
            "FROM x\nADD /../y /y",
            "Dockerfile line 2: ADD /../y leaves the build context: copy only what lies in it, or build from a directory above",
        ),
        ("FROM x\nCOPY $no /y", "Dockerfile line 2: COPY $no is empty once its variables are known: give them values"),
        (
            "FROM x\nCOPY https://example.com/a /y",
            "Dockerfile line 2: COPY does not fetch https://example.com/a: write ADD https://example.com/a",
        ),
        (
            "FROM x\nCOPY --chmod=9 a b",
            "Dockerfile line 2: 9 are no permissions: write octal digits up to 7777, as in 755, or symbols, as in u=rwX,go=rX",
        ),
        (
            "FROM x\nCOPY a <<E\nE",
            "Dockerfile line 2: COPY has a heredoc as its destination: write the destination last, and the heredoc before it",
        ),
        (
            "FROM x\nCOPY <<'a b' /c/\na b",
            "Dockerfile line 2: COPY has a heredoc whose name is not one plain word: write it like <<file.txt",
        ),
        (
            "FROM x\nCOPY <<../a /c/\n../a",
            "Dockerfile line 2: COPY has a heredoc whose name is not one plain word: write it like <<file.txt",
        ),
        (
            "FROM x\nCOPY <<a <<\u{c}b /c/\na",
            "Dockerfile line 2: COPY has a heredoc whose name is not one plain word: write it like <<file.txt",
        ),
        ("FROM x\nCOPY [a /b", "Dockerfile line 2: [a is no pattern: a [ is not closed"),
        ("FROM x\nCOPY --exclude=[a b /b", "Dockerfile line 2: [a is no pattern: a [ is not closed"),
        (
            "FROM x\nADD --checksum=sha256:00 https://example.com/a /b",
            "Dockerfile line 2: sha256:00 is no checksum: write sha256: and 64 hexadecimal digits",
        ),
        (
            "FROM x\nADD --checksum=sha256:00 a /b",
            "Dockerfile line 2: --checksum belongs to one URL: write one source that is a URL",
        ),
        (
            "FROM x\nADD --checksum=x https://example.com/a.git /b",
            "Dockerfile line 2: x is no commit: write its hexadecimal digits",
        ),
    ]);
}

#[test]
fn stages() {
    refused(&[
        ("", "Dockerfile: it has no FROM: begin with FROM and an image, or FROM scratch"),
        ("# only this\n", "Dockerfile: it has no FROM: begin with FROM and an image, or FROM scratch"),
        ("ARG a\n", "Dockerfile: it has no FROM: begin with FROM and an image, or FROM scratch"),
        (
            "ARG a\nRUN x\nFROM y",
            "Dockerfile line 2: RUN stands before the first FROM, where only ARG may: write FROM and an image above it",
        ),
        ("FROM", "Dockerfile line 1: FROM says nothing: write FROM debian, or FROM debian AS build"),
        ("FROM a b", "Dockerfile line 1: FROM a b is not understood: write FROM image, or FROM image AS name"),
        (
            "FROM a AS 1",
            "Dockerfile line 1: 1 cannot be the name of a stage: begin with a letter, then letters, digits, -, _ and .",
        ),
        (
            "FROM a AS scratch",
            "Dockerfile line 1: a stage cannot be called scratch, which means no base at all: give it another name",
        ),
        ("FROM a AS x\nFROM b AS X", "Dockerfile line 2: the stage x stands in line 1 already: give this one another name"),
        (
            "FROM ${a}",
            "Dockerfile line 1: FROM ${a} names no image, because a variable in it is empty: give it a default with ARG above, or pass --build-arg",
        ),
        (
            "FROM a:b:c",
            "Dockerfile line 1: FROM a:b:c is no image: \"a:b:c\" is not an image name: a tag has 1 to 128 characters",
        ),
        (
            "FROM a AS build\nFROM b\nCOPY --from=buil/ x y",
            "Dockerfile line 3: COPY --from=buil/ is neither a stage above nor the name of an image: did you mean build?",
        ),
        (
            "FROM a\nCOPY --from=-x y z",
            "Dockerfile line 2: COPY --from=-x is neither a stage above nor the name of an image: \"-x\" is not an image name: each part between slashes begins with a letter or digit",
        ),
        (
            "FROM a\nFROM b\nCOPY --from=2 x y",
            "Dockerfile line 3: COPY --from=2 is no stage: they are numbered from 0, and there are 2",
        ),
        (
            "FROM a\nCOPY --from=$b x y",
            "Dockerfile line 2: --from=$b depends on a variable, which decides too late: write FROM $b AS name above, and use the name",
        ),
        ("FROM a\nCOPY --from= x y", "Dockerfile line 2: --from is empty: name a stage or an image"),
        ("FROM a AS x\nCOPY --from=x y z", "Dockerfile line 2: the stage x needs itself: x needs x"),
        ("FROM a\nCOPY --from=0 y z", "Dockerfile line 2: the stage 0 needs itself: 0 needs 0"),
        (
            "FROM a AS x\nCOPY --from=z . .\nFROM a AS y\nCOPY --from=x . .\nFROM y AS z",
            "Dockerfile line 2: the stage x needs itself: x needs z needs y needs x",
        ),
        (
            "FROM a AS x\nRUN --mount=from=y,target=/y z\nFROM b AS y",
            "Dockerfile line 2: the stage y is needed here, but stands below, in line 3: move it above",
        ),
    ]);
}

#[test]
fn variables() {
    refused(&[
        ("FROM x\nENV a=${b", "Dockerfile line 2: ${b has an open ${: add }"),
        ("FROM x\nENV a=\"${b:?give b}\"", "Dockerfile line 2: b: give b"),
        ("FROM x\nUSER \"me", "Dockerfile line 2: \"me has an open \": close it, or write \\\" if it is meant"),
        ("ARG a=${b}}${\nFROM x", "Dockerfile line 1: ${b}}${ has an open ${: add }"),
        ("FROM x\nENV $no=1", "Dockerfile line 2: ENV =1 has no name: write it before the ="),
        ("FROM x\nWORKDIR $no", "Dockerfile line 2: WORKDIR $no is empty once its variables are known: give them values"),
    ]);
}

#[test]
fn hostile_files_end_soon() {
    let doubling: String = (0..60).map(|_| "ENV a=$a$a$a$a\n").collect();
    assert_eq!(
        show(&format!("FROM x\nENV a=aaaa\n{doubling}")),
        "Dockerfile line 10: ENV has 262144 bytes once its variables are known, and may have 131072"
    );
    assert_eq!(
        show(&format!("FROM x\n{}RUN a", "ONBUILD ".repeat(100_000))).chars().count(),
        "Dockerfile line 2: ".len() + 601,
        "nothing is nested, and a long sentence loses its middle"
    );
    assert_eq!(
        show(&format!("FROM x\n{}", "USER a\n".repeat(20_000))),
        "Dockerfile line 10002: there are more than 10000 instructions"
    );
    let labels: String = (0..500).map(|n| format!("LABEL l{n}=$a\n")).collect();
    let long = "a".repeat(100_000);
    assert!(show(&format!("FROM x\nENV a={long}\n{labels}")).contains("all texts up to here are longer than 4194304 bytes"));
    assert!(
        show(&format!("FROM x\n{}", "EXPOSE 1-65535\n".repeat(9_000)))
            .contains("all texts up to here are longer than 4194304 bytes")
    );
    assert!(
        show(&format!("FROM x\n{}", (0..2_000).map(|n| format!("ENV a{n}=1\n")).collect::<String>()))
            .contains("more than 1024 variables")
    );
    assert_eq!(show(&"FROM x\n".repeat(2_000)), "Dockerfile line 257: there are more than 256 stages");
}
