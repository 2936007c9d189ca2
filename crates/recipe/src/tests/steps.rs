//! One stage: instructions and what they come to.

use super::{options, show, show_with};
use insta::assert_snapshot;

#[test]
fn run() {
    assert_snapshot!(show("FROM debian\nRUN apt-get update && \\\n    apt-get install -y nginx"), @r#"
    run ["/bin/sh","-c","apt-get update &&     apt-get install -y nginx"]
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nrun [\"a\", \"b c\", \"$HOME\"]"), @r#"
    run ["a","b c","$HOME"]
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nRUN ['a', 'b']\nRUN [\"a\"] && b"), @r#"
    run ["/bin/sh","-c","['a', 'b']"]
    run ["/bin/sh","-c","[\"a\"] && b"]
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nSHELL [\"/bin/bash\", \"-c\"]\nRUN a\nRUN --network=none b\nRUN --network=host -- --c"), @r#"
    run ["/bin/bash","-c","a"]
    run ["/bin/bash","-c","b"] network None
    run ["/bin/bash","-c","--c"] network Host
    {"Env":["PATH=/bin"],"WorkingDir":"/","Shell":["/bin/bash","-c"]}
    "#);
    assert_snapshot!(show("FROM php\nRUN composer \\\n # not now\n\n install\nUSER root\nRUN x"), @r#"
    run ["/bin/sh","-c","composer  install"] as www in /var/www with PHP_VERSION=8.4
    run ["/bin/sh","-c","x"] as root in /var/www with PHP_VERSION=8.4
    {"User":"root","Env":["PATH=/php:/bin","PHP_VERSION=8.4"],"Entrypoint":["docker-php-entrypoint"],"Cmd":["php","-a"],"WorkingDir":"/var/www"}
    "#);
}

#[test]
fn heredocs_of_run() {
    assert_snapshot!(show("FROM debian\nRUN <<EOF\nset -e\n# why\nmake $X\nEOF\nRUN x"), @r#"
    run ["/bin/sh","-c","set -e\n# why\nmake $X\n"]
    run ["/bin/sh","-c","x"]
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nRUN <<-EOF\n\t\techo a\n\tEOF\nRUN <<script\n#!/usr/bin/env python3\nprint('a')\nscript"), @r##"
    run ["/bin/sh","-c","echo a\n"]
    run ["/dev/pipes/script"]
      Script { path: "/dev/pipes/script", content: "#!/usr/bin/env python3\nprint('a')\n" }
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "##);
    assert_snapshot!(show("FROM debian\nRUN cat <<'A' - <<B >/x\n$a\nA\n$b\nB"), @r#"
    run ["/bin/sh","-c","cat <<'A' - <<B >/x\n$a\nA\n$b\nB"]
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nRUN python3 <<EOF\nprint(1)\nEOF\n"), @r#"
    run ["/bin/sh","-c","python3 <<EOF\nprint(1)\nEOF"]
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
}

#[test]
fn mounts() {
    assert_snapshot!(show(
        "FROM debian\nWORKDIR /app\nARG id=npm\nRUN --mount=type=cache,target=/root/.npm,id=$id,sharing=locked --mount=type=cache,target=.cache,uid=1000,mode=0750 npm ci"
    ), @r#"
    workdir /app
    run ["/bin/sh","-c","npm ci"] in /app with id=npm
      755 Cache { id: "npm", target: "/root/.npm", from: Scratch, source: ".", sharing: Locked, read_only: false, mode: 493, uid: 0, gid: 0 }
      750 Cache { id: ".cache", target: "/app/.cache", from: Scratch, source: ".", sharing: Shared, read_only: false, mode: 488, uid: 1000, gid: 0 }
    {"Env":["PATH=/bin"],"WorkingDir":"/app"}
    "#);
    assert_snapshot!(show("FROM debian\nRUN --mount=target=/src,source=a/../b --mount=type=bind,from=golang,dst=/go,rw make"), @r#"
    run ["/bin/sh","-c","make"]
      Bind { from: Context, source: "b", target: "/src", read_only: true }
      Bind { from: Image("golang:latest"), source: ".", target: "/go", read_only: false }
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nRUN --mount=type=secret,id=key --mount=type=secret,src=dir/token,env=TOKEN,required --mount=type=secret,target=/k,mode=0444,uid=1 x"), @r#"
    run ["/bin/sh","-c","x"]
      400 Secret { id: "key", target: Some("/run/secrets/key"), env: None, required: false, mode: 256, uid: 0, gid: 0 }
      400 Secret { id: "dir/token", target: None, env: Some("TOKEN"), required: true, mode: 256, uid: 0, gid: 0 }
      444 Secret { id: "k", target: Some("/k"), env: None, required: false, mode: 292, uid: 1, gid: 0 }
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM golang\nWORKDIR /src\nRUN --mount=source=cmd,rw --mount=type=cache,target=x make"), @r#"
    workdir /src
    run ["/bin/sh","-c","make"] in /src
      Bind { from: Context, source: "cmd", target: "/src", read_only: false }
      755 Cache { id: "x", target: "/src/x", from: Scratch, source: ".", sharing: Shared, read_only: false, mode: 493, uid: 0, gid: 0 }
    {"Env":["PATH=/bin"],"WorkingDir":"/src"}
    "#);
    assert_snapshot!(show("FROM debian\nRUN --mount=type=tmpfs,target=/tmp,size=64m x"), @r#"
    run ["/bin/sh","-c","x"]
      Tmpfs { target: "/tmp", size: Some(67108864) }
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
}

#[test]
fn env() {
    assert_snapshot!(show("FROM php\nENV A=1 B=\"two words\" C='$A' D=a\\ b\nENV E $A and \"$B\"\nRUN x"), @r#"
    run ["/bin/sh","-c","x"] as www in /var/www with PHP_VERSION=8.4 A=1 B=two words C=$A D=a b E=1 and two words
    {"User":"www","Env":["PATH=/php:/bin","PHP_VERSION=8.4","A=1","B=two words","C=$A","D=a b","E=1 and two words"],"Entrypoint":["docker-php-entrypoint"],"Cmd":["php","-a"],"WorkingDir":"/var/www"}
    "#);
    assert_snapshot!(show("FROM debian\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc"), @r#"{"Env":["PATH=/bin","abc=bye","def=hello","ghi=bye"],"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM debian\nENV PATH=/opt/bin:$PATH N=${A:-none}${PATH:+x}"), @r#"{"Env":["PATH=/opt/bin:/bin","N=nonex"],"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM debian\nENV a=b\\\n  c=d"), @r#"{"Env":["PATH=/bin","a=b","c=d"],"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM debian\nENV F=/a/b.tar.gz\nENV B=${F##*/} D=${F%/*} N=${F/tar/zip} S=${F//[/]/_}"), @r#"{"Env":["PATH=/bin","F=/a/b.tar.gz","B=b.tar.gz","D=/a","N=/a/b.zip.gz","S=/a/b.tar.gz"],"WorkingDir":"/"}"#);
    assert_snapshot!(show("# escape=`\nFROM debian\nENV p=C:\\x y=a`$b `\n z=1"), @r#"{"Env":["PATH=/bin","p=C:\\x","y=a$b","z=1"],"WorkingDir":"/"}"#);
}

#[test]
fn arguments() {
    assert_snapshot!(show("FROM debian\nARG a=1 b c=$a$a\nRUN x\nLABEL a=$a b=${b:-none} c=$c"), @r#"
    run ["/bin/sh","-c","x"] with a=1 c=11
    {"Env":["PATH=/bin"],"WorkingDir":"/","Labels":{"a":"1","b":"none","c":"11"}}
    "#);
    let mut passed = options();
    for (name, value) in [("a", "passed"), ("HTTP_PROXY", "http://proxy"), ("d", "unasked")] {
        passed.build_args.insert(name.into(), value.into());
    }
    assert_snapshot!(show_with("FROM debian\nRUN early\nARG a=1\nRUN late\nENV d=own", &passed), @r#"
    run ["/bin/sh","-c","early"] proxies HTTP_PROXY=http://proxy http_proxy=http://proxy
    run ["/bin/sh","-c","late"] with a=passed proxies HTTP_PROXY=http://proxy http_proxy=http://proxy
    {"Env":["PATH=/bin","d=own"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show_with("FROM debian\nARG HTTP_PROXY\nRUN x", &passed), @r#"
    run ["/bin/sh","-c","x"] with HTTP_PROXY=http://proxy proxies http_proxy=http://proxy
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show_with("FROM debian\nENV a=env\nARG a\nRUN env-wins", &passed), @r#"
    run ["/bin/sh","-c","env-wins"] with a=env proxies HTTP_PROXY=http://proxy http_proxy=http://proxy
    {"Env":["PATH=/bin","a=env"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show_with("FROM debian\nARG a\nENV a=${a:-v1}\nRUN x", &passed), @r#"
    run ["/bin/sh","-c","x"] with a=passed proxies HTTP_PROXY=http://proxy http_proxy=http://proxy
    {"Env":["PATH=/bin","a=passed"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("ARG v=12\nFROM debian:$v\nRUN not-there\nARG v\nRUN there"), @r#"
    run ["/bin/sh","-c","not-there"]
    run ["/bin/sh","-c","there"] with v=12
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("ARG v=12\nFROM debian\nARG v=13\nRUN own"), @r#"
    run ["/bin/sh","-c","own"] with v=13
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nUSER ${u:-some}\nARG u=what\nUSER $u\nRUN x"), @r#"
    run ["/bin/sh","-c","x"] as what with u=what
    {"User":"what","Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nARG TARGETARCH BUILDPLATFORM TARGETVARIANT\nRUN x"), @r#"
    run ["/bin/sh","-c","x"] with BUILDPLATFORM=linux/amd64 TARGETARCH=amd64 TARGETVARIANT=
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
}

#[test]
fn directories() {
    assert_snapshot!(show("FROM debian\nWORKDIR /a\nWORKDIR b\nUSER me\nWORKDIR ../c/./d\nWORKDIR /\nENV D=/x\nWORKDIR $D/$NO"), @r#"
    workdir /a
    workdir /a/b
    workdir /a/c/d of me
    workdir /x of me
    {"User":"me","Env":["PATH=/bin","D=/x"],"WorkingDir":"/x"}
    "#);
    assert_snapshot!(show("FROM php\nWORKDIR html\nCOPY . .\nCOPY a b/"), @r#"
    workdir /var/www/html of www
    copy . -> /var/www/html/
    copy a -> /var/www/html/b/
    {"User":"www","Env":["PATH=/php:/bin","PHP_VERSION=8.4"],"Entrypoint":["docker-php-entrypoint"],"Cmd":["php","-a"],"WorkingDir":"/var/www/html"}
    "#);
}

#[test]
fn copy() {
    assert_snapshot!(show("FROM debian\nENV v=1\nCOPY a ./b /c *.go [d-f]/x /to$v/"), @r#"
    copy a b c *.go [d-f]/x -> /to1/
    {"Env":["PATH=/bin","v=1"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nCOPY --chown=app:app --chmod=u=rwX,go=rX --link --exclude=*.md --exclude=!x.md . /app"), @r#"
    copy . -> /app owner app:app mode 644 to 644 link without *.md !x.md
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nCOPY [\"a b\", \"/c d/\"]\nCOPY --chmod=0755 $NOT_QUITE.sh /x"), @r#"
    copy a b -> /c d/
    copy .sh -> /x mode 755
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nCOPY --parents a/./b/*.txt ./c/**/d /to/"), @r#"
    copy a/b/*.txt below a c/**/d below . -> /to/
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nCOPY --from=nginx:1.29 /etc/nginx ../x /n/\nCOPY --from=127.0.0.1:5000/x a b"), @r#"
    copy from Image("nginx:1.29") etc/nginx x -> /n/
    copy from Image("127.0.0.1:5000/x:latest") a -> /b
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nCOPY a/../b /x\nCOPY a b .\nCOPY a b ..\nCOPY a ./"), @r#"
    copy b -> /x
    copy a b -> /
    copy a b -> /
    copy a -> /
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nWORKDIR /app\nENV empty=\nCOPY a b $empty"), @r#"
    workdir /app
    copy a b -> /app/
    {"Env":["PATH=/bin","empty="],"WorkingDir":"/app"}
    "#);
    assert_snapshot!(show("FROM debian\nARG o=5 m=g+w\nCOPY --chown=$o --chmod=$m --link=false a /a"), @r#"
    copy a -> /a owner 5 mode 644 to 664
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
}

#[test]
fn heredocs_of_copy() {
    assert_snapshot!(show("FROM debian\nENV n=x\nCOPY <<a.conf <<\"b.conf\" <<-c.conf old /etc/\nit's $n\na.conf\nit's $n\nb.conf\n\ttab\n\tc.conf"), @r#"
    copy old a.conf="it's x\n" b.conf="it's $n\n" c.conf="tab\n" -> /etc/
    {"Env":["PATH=/bin","n=x"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nCOPY --chmod=755 <<EOF /run.sh\n#!/bin/sh\nexec \\$1\nEOF\n"), @r##"
    copy EOF="#!/bin/sh\nexec $1\n" -> /run.sh mode 755
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "##);
    assert_snapshot!(show("FROM debian\nADD <<E /e\nE\n"), @r#"
    add E="" -> /e
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
}

#[test]
fn add() {
    assert_snapshot!(show("FROM debian\nADD a.tar.gz b /to/\nADD --unpack=false a.tar.gz /x"), @r#"
    add unpacked a.tar.gz b -> /to/
    add packed a.tar.gz -> /x
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nADD https://example.com/a%20b.tgz?x=1#y https://example.com/ /to/"), @r#"
    add Url { url: "https://example.com/a%20b.tgz?x=1#y", name: "a b.tgz", checksum: None, unpack: false } Url { url: "https://example.com/", name: "__unnamed__", checksum: None, unpack: false } -> /to/
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    let sum = "0123456789abcdef".repeat(4);
    assert_snapshot!(show(&format!("FROM debian\nARG v=1\nADD --checksum=sha256:{sum} --unpack https://example.com/$v.tgz /x")), @r#"
    add Url { url: "https://example.com/1.tgz", name: "1.tgz", checksum: Some("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), unpack: true } -> /x
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nADD --keep-git-dir git@example.com:a/b.git#v1:sub https://example.com/c.git /src/"), @r#"
    add Repository { url: "git@example.com:a/b.git", reference: Some("v1"), directory: Some("sub"), keep_git_dir: true, checksum: None } Repository { url: "https://example.com/c.git", reference: None, directory: None, keep_git_dir: true, checksum: None } -> /src/
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM debian\nADD --checksum=0123abc https://example.com/c.git#main /src\nADD git://example.com/d /d"), @r#"
    add Repository { url: "https://example.com/c.git", reference: Some("main"), directory: None, keep_git_dir: false, checksum: Some("0123abc") } -> /src
    add Repository { url: "git://example.com/d", reference: None, directory: None, keep_git_dir: false, checksum: None } -> /d
    {"Env":["PATH=/bin"],"WorkingDir":"/"}
    "#);
}

#[test]
fn what_runs() {
    assert_snapshot!(show("FROM php\nENTRYPOINT [\"a\"]"), @r#"{"User":"www","Env":["PATH=/php:/bin","PHP_VERSION=8.4"],"Entrypoint":["a"],"WorkingDir":"/var/www"}"#);
    assert_snapshot!(show("FROM php\nCMD b $X\nENTRYPOINT [\"a\"]"), @r#"{"User":"www","Env":["PATH=/php:/bin","PHP_VERSION=8.4"],"Entrypoint":["a"],"Cmd":["/bin/sh","-c","b $X"],"WorkingDir":"/var/www"}"#);
    assert_snapshot!(show("FROM php\nCMD [\"b\"]"), @r#"{"User":"www","Env":["PATH=/php:/bin","PHP_VERSION=8.4"],"Entrypoint":["docker-php-entrypoint"],"Cmd":["b"],"WorkingDir":"/var/www"}"#);
    assert_snapshot!(show("FROM php\nENTRYPOINT []\nCMD []"), @r#"{"User":"www","Env":["PATH=/php:/bin","PHP_VERSION=8.4"],"WorkingDir":"/var/www"}"#);
    assert_snapshot!(show("FROM debian\nSHELL [\"bash\", \"-lc\"]\nENTRYPOINT exec top -b\nCMD [\"-x\"]"), @r#"{"Env":["PATH=/bin"],"Entrypoint":["bash","-lc","exec top -b"],"Cmd":["-x"],"WorkingDir":"/","Shell":["bash","-lc"]}"#);
}

#[test]
fn metadata() {
    assert_snapshot!(show("FROM debian\nEXPOSE 80 443/tcp 53/UDP 8000-8002 $P\nENV P=\"90 91/udp\"\nEXPOSE $P"), @r#"{"ExposedPorts":{"443/tcp":{},"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"8002/tcp":{},"90/tcp":{},"91/udp":{}},"Env":["PATH=/bin","P=90 91/udp"],"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM debian\nLABEL a=b \"c d\"=\"e f\" g='h \"i\"'\nLABEL x y z\nLABEL multi=\"a \\\n  b\""), @r#"{"Env":["PATH=/bin"],"WorkingDir":"/","Labels":{"a":"b","c d":"e f","g":"h \"i\"","multi":"a   b","x":"y z"}}"#);
    assert_snapshot!(show("FROM debian\nVOLUME /a /b\nVOLUME [\"/c d\"]\nENV v=/e\nVOLUME $v"), @r#"{"Env":["PATH=/bin","v=/e"],"Volumes":{"/a":{},"/b":{},"/c d":{},"/e":{}},"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM debian\nUSER app:app\nSTOPSIGNAL SIGQUIT\nMAINTAINER Me <me@example.com>"), @r#"
    {"User":"app:app","Env":["PATH=/bin"],"WorkingDir":"/","StopSignal":"SIGQUIT"}
    by Me <me@example.com>
    "#);
    assert_snapshot!(show("FROM debian\nHEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --start-interval=500ms --retries=2 CMD curl -f http://localhost/ || exit 1"), @r#"{"Env":["PATH=/bin"],"Healthcheck":{"Test":["CMD-SHELL","curl -f http://localhost/ || exit 1"],"Interval":300000000000,"Timeout":3000000000,"StartPeriod":90000000000,"StartInterval":500000000,"Retries":2},"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM debian\nHEALTHCHECK CMD [\"a\", \"b\"]\nHEALTHCHECK NONE"), @r#"{"Env":["PATH=/bin"],"Healthcheck":{"Test":["NONE"]},"WorkingDir":"/"}"#);
    assert_snapshot!(show("FROM debian\nONBUILD RUN a && \\\n b\nonbuild copy <<E /e\nx\nE\n"), @r#"{"Env":["PATH=/bin"],"WorkingDir":"/","OnBuild":["RUN a &&  b","copy <<E /e\nx\nE"]}"#);
}

#[test]
fn what_a_base_demands() {
    assert_snapshot!(show("FROM onbuild\nRUN own"), @r#"
    copy . -> /app
    run ["/bin/sh","-c","make -C /app"]
    run ["/bin/sh","-c","own"]
    {"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"}
    "#);
    assert_snapshot!(show("FROM scratch\nCOPY a /a\nCMD [\"/a\"]"), @r#"
    copy a -> /a
    {"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["/a"],"WorkingDir":"/"}
    "#);
}
