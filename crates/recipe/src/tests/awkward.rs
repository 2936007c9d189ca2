//! Files that look odd and are right.

use super::show;
use insta::assert_snapshot;

#[test]
fn spelling() {
    assert_snapshot!(show("\u{feff}# syntax=docker/dockerfile:1\r\n\r\nfrom   debian  as   x\r\n\tRun a\r\n  eXpose\t80\r\n"), @r#"
    run ["/bin/sh","-c","a"]
    {"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nRUN echo a\\\\\nRUN echo \\\n  b  \\\n\n# c\n  c"), @r#"
    run ["/bin/sh","-c","echo a\\\\"]
    run ["/bin/sh","-c","echo   b    c"]
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nENV a=1 \\\n    # one more\n    b=2 \\"), @r#"{"Env":["PATH=/bin","a=1","b=2"],"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM \\\n debian\nRUN a\\\nb"), @r#"
    run ["/bin/sh","-c","ab"]
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nLABEL a=\"b\\\nc\" d=e\\\n\\\nf"), @r#"{"Env":["PATH=/bin"],"WorkingDir":"/","Labels":{"a":"bc","d":"ef"}}"#);
}

#[test]
fn quotes() {
    assert_snapshot!(show("FROM debian\nRUN echo \"it's\" <<< word # $(( 1<<2 ))"), @"Dockerfile line 2: the heredoc 2 never ends: write 2 alone on a line below it");
    assert_snapshot!(show(r#"FROM debian
ENV a="b\"c" d='e\f' g=h\ i j="k\tl"
CMD [ "\/bin\\\"", "♥" ]"#), @r#"{"Env":["PATH=/bin","a=b\"c","d=e\\f","g=h i","j=k\\tl"],"Cmd":["/bin\\\"","♥"],"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM debian\nLABEL maintainer=\"A B <a@b>\"\nLABEL maintainer A B \"c\" $x"), @r#"{"Env":["PATH=/bin"],"WorkingDir":"/","Labels":{"maintainer":"A B c "}}"#);
}

#[test]
fn publishing_is_read_over() {
    assert_snapshot!(show("FROM debian\nEXPOSE 8080:80 127.0.0.1:53:53/udp"), @r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{}},"Env":["PATH=/bin"],"WorkingDir":"/"}"#);
}
