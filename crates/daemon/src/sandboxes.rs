//! `roost sandbox`: a cluster of several servers on this machine, made of namespaces and of this same binary.

use crate::{SandboxRequest, say, up::block_on};
use api::{
    Error, Result, path,
    server::Liveness,
    view::{ServerView, Token},
};
use sandbox::{Options, Sandbox, SandboxError};
use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};
use wire::client::Client;

/// How long all servers may take to be there.
const READY: Duration = Duration::from_secs(30);
/// Time between two looks whether they are.
const LOOK: Duration = Duration::from_millis(10);

fn options(sandbox: &str) -> Options {
    Options { name: sandbox.to_owned(), ..Options::default() }
}

fn failed(error: SandboxError) -> Error {
    error.into()
}

fn open(sandbox: &str) -> Result<Sandbox> {
    Sandbox::open(options(sandbox)).map_err(failed)
}

/// Runs a request.
pub fn run(request: SandboxRequest) -> Result<u8> {
    match request {
        SandboxRequest::Up { sandbox, servers } => up(&sandbox, servers)?,
        SandboxRequest::Down { sandbox } => down(&sandbox)?,
        SandboxRequest::List { json } => list(json)?,
        SandboxRequest::Enter { sandbox, server, command } => return enter(&sandbox, &server, command),
        SandboxRequest::Cut { sandbox, server } => open(&sandbox)?.cut(&server).map_err(failed)?,
        SandboxRequest::Heal { sandbox, server } => open(&sandbox)?.heal(&server).map_err(failed)?,
        SandboxRequest::Kill { sandbox, server } => open(&sandbox)?.kill(&server).map_err(failed)?,
        SandboxRequest::Start { sandbox, server } => open(&sandbox)?.start(&server).map_err(failed)?,
        SandboxRequest::Slow { sandbox, server, delay, loss } => {
            if !(0.0..=100.0).contains(&loss) {
                return Err(Error::usage(format!("{loss} is not a loss: use 0 to 100 percent")));
            }
            open(&sandbox)?.slow(&server, delay.duration(), loss).map_err(failed)?;
        }
    }
    Ok(0)
}

/// Starts everything; what was begun is taken back when it fails.
fn up(name: &str, servers: u16) -> Result<()> {
    let started = base::env::instant();
    let sandbox = Sandbox::create(options(name), servers).map_err(failed)?;
    match populate(&sandbox, servers) {
        Ok(()) => {
            let all: Vec<_> = (1..=servers).map(|n| format!("s{n}")).collect();
            say(&format!(
                "{} in namespaces on this machine, {:.1} s     (use them: roost ls, roost sandbox enter s2; break them: roost sandbox kill s2)",
                all.join(" "),
                started.elapsed().as_secs_f32()
            ));
            Ok(())
        }
        Err(error) => {
            let logs = logs(&sandbox, servers);
            let _ = sandbox.down();
            let mut error = error;
            error.details.extend(logs);
            Err(error)
        }
    }
}

/// The last words of every server, for an error that explains itself.
fn logs(sandbox: &Sandbox, servers: u16) -> Vec<String> {
    let mut out = Vec::new();
    for server in (1..=servers).map(|n| format!("s{n}")) {
        for part in ["manager", "agent", "daemon"] {
            let file = sandbox.server_dir(&server).join(format!("lib/log/{part}.log"));
            let text = std::fs::read_to_string(file).unwrap_or_default();
            out.extend(text.lines().rev().take(2).map(|line| format!("{server} {part}: {line}")));
        }
    }
    out
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn populate(sandbox: &Sandbox, servers: u16) -> Result<()> {
    let own =
        std::env::current_exe().map_err(|error| Error::failed(format!("this program's own path cannot be found: {error}")))?;
    let own = own.display().to_string();
    for n in 1..=servers {
        sandbox.set_boot(&format!("s{n}"), &[OsString::from(&own), OsString::from("daemon")]).map_err(failed)?;
    }
    let first = start(sandbox, "s1", words(&format!("{own} up -d --name s1 --cluster sandbox --advertise 10.200.0.1")))?;
    finish("s1", first)?;
    let client = Client::unix(sandbox.socket("s1"));
    let token: Token = block_on(client.send(http::Method::POST, path::TOKENS, &serde_json::json!({ "uses": servers })))?;
    let token = token.token.unwrap_or_default();
    let joining: Vec<_> = (2..=servers)
        .map(|n| {
            let server = format!("s{n}");
            start(sandbox, &server, words(&format!("{own} join {token} --name {server} --advertise 10.200.0.{n}")))
                .map(|child| (server, child))
        })
        .collect::<Result<_>>()?;
    for (server, child) in joining {
        finish(&server, child)?;
    }
    block_on(ready(&client, servers))
}

fn start(sandbox: &Sandbox, server: &str, argv: Vec<OsString>) -> Result<Child> {
    let mut command = sandbox.command(server, &argv).map_err(failed)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().map_err(|error| Error::failed(format!("{server} cannot be started: {error}")))
}

fn finish(server: &str, child: Child) -> Result<()> {
    let output = child.wait_with_output().map_err(|error| Error::failed(format!("{server} was lost: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let mut error = Error::failed(format!("server {server} did not start"));
    error.details.extend(text.lines().map(str::to_owned));
    Err(error)
}

async fn ready(client: &Client, servers: u16) -> Result<()> {
    let started = base::env::instant();
    loop {
        let all: Vec<ServerView> = client.get(path::SERVERS).await?;
        let there = all.iter().filter(|server| server.liveness == Liveness::Alive).count();
        if there >= usize::from(servers) {
            return Ok(());
        }
        if started.elapsed() > READY {
            return Err(Error::failed(format!("only {there} of {servers} servers came up")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn down(name: &str) -> Result<()> {
    Sandbox::remove(options(name)).map_err(failed)?;
    say(&format!("sandbox {name} is gone"));
    Ok(())
}

fn list(json: bool) -> Result<()> {
    let all = Sandbox::list(Path::new(path::SANDBOX_DIR)).map_err(failed)?;
    if json {
        let text = serde_json::to_string_pretty(&all).map_err(|error| Error::failed(error.to_string()))?;
        println!("{text}");
        return Ok(());
    }
    println!("{:<12}{:<8}{:<8}{:<14}PID", "SANDBOX", "SERVER", "STATE", "ADDRESS");
    for sandbox in all {
        for server in &sandbox.servers {
            let state =
                serde_json::to_value(server.state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
            let pid = server.init.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            println!("{:<12}{:<8}{state:<8}{:<14}{pid}", sandbox.name, server.name, server.address.to_string());
        }
        if let Some(why) = &sandbox.broken {
            println!("{:<12}broken: {why}; remove it: roost sandbox down --name {}", sandbox.name, sandbox.name);
        }
    }
    Ok(())
}

/// Becomes the command in the server; returns only when that fails.
fn enter(sandbox: &str, server: &str, command: Vec<String>) -> Result<u8> {
    let mut argv: Vec<OsString> = command.into_iter().map(OsString::from).collect();
    if argv.is_empty() {
        argv.push(std::env::var_os("SHELL").unwrap_or_else(|| OsString::from("/bin/sh")));
    }
    let mut command = open(sandbox)?.command(server, &argv).map_err(failed)?;
    Err(Error::failed(format!("cannot enter {server}: {}", command.exec())))
}
