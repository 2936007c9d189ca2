//! The commands: one file for each noun or family of verbs.

pub mod apps;
pub mod build;
pub mod commit;
pub mod container;
pub mod events;
pub mod files;
pub mod foreground;
pub mod get;
pub mod image;
pub mod job;
pub mod list;
pub mod publish;
pub mod registry;
pub mod run;
pub mod server;
pub mod stats;
pub mod stream;
pub mod system;
pub mod template;
pub mod token;

use crate::{
    args::{Command, Global},
    connect,
};
use api::{Result, view::Changed};
use http::Method;
use wire::client::Client;

/// Exit code when a dry run would change something.
const WOULD_CHANGE: u8 = 2;

/// Runs a command; its exit code.
pub async fn run(command: Command, global: &Global) -> Result<u8> {
    // The store's catalogue is there without a cluster.
    let command = match command {
        Command::Apps(args) => return apps::run(global, args).await,
        Command::Search(args) => return apps::search(&args),
        other => other,
    };
    let client = connect::client(global)?;
    let client = &client;
    match command {
        Command::Host(_) => unreachable!("host commands are handed to the caller by `parse`"),
        Command::Apps(_) | Command::Search(_) => unreachable!("these have been run without a client"),
        Command::Get(args) => return get::get(client, args).await,
        Command::Run(args) => return run::run(client, args).await,
        Command::Create(args) => return run::create(client, args).await,
        Command::Exec(args) => return stream::exec(client, args).await,
        Command::Job(args) => return job::run(client, args).await,
        Command::Ls(args) => list::ls(client, args).await,
        Command::Show(args) => list::show(client, args).await,
        Command::Start(args) => return container::power(client, args, container::Verb::Start).await,
        Command::Stop(args) => return container::power(client, args, container::Verb::Stop).await,
        Command::Restart(args) => return container::power(client, args, container::Verb::Restart).await,
        Command::Freeze(args) => return container::power(client, args, container::Verb::Freeze).await,
        Command::Unfreeze(args) => return container::power(client, args, container::Verb::Unfreeze).await,
        Command::Kill(args) => return container::kill(client, args).await,
        Command::Rm(args) => return container::remove(client, args).await,
        Command::Build(args) => return build::build(client, args).await,
        Command::Commit(args) => return commit::commit(client, args).await,
        Command::Clone(args) => return commit::clone(client, args).await,
        Command::Snapshot(args) => return commit::snapshot(client, args).await,
        Command::Rename(args) => return container::rename(client, args).await,
        Command::Set(args) => return system::set(client, args).await,
        Command::Attach(args) => return stream::attach(client, args).await,
        Command::Logs(args) => stream::logs(client, args).await,
        Command::Cp(args) => return files::cp(client, args).await,
        Command::Stats(args) => stats::stats(client, args).await,
        Command::Top(args) => stats::top(client, args).await,
        Command::Publish(args) => return publish::publish(client, args).await,
        Command::Unpublish(args) => return publish::unpublish(client, args).await,
        Command::Image(args) => return image::run(client, args).await,
        Command::Server(args) => return server::run(client, args).await,
        Command::Registry(args) => return registry::run(client, args).await,
        Command::Token(args) => return token::run(client, args).await,
        Command::Events(args) => events::events(client, args).await,
        Command::Why(args) => events::why(client, args).await,
        Command::Metrics => list::metrics(client).await,
        Command::Version(args) => list::version(client, args).await,
    }?;
    Ok(0)
}

/// Why a file of this machine cannot be read.
fn unreadable(file: &str, error: &std::io::Error) -> api::Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => api::Error::not_found(format!("there is no {file} on this machine")),
        _ => api::Error::failed(format!("cannot read {file}: {error}")),
    }
}

/// Asks what a change would do, and says it; the exit code of the dry run.
async fn try_out<B: serde::Serialize + Sync>(client: &Client, (method, path): (Method, &str), body: &B) -> Result<u8> {
    let mark = if path.contains('?') { '&' } else { '?' };
    dry(&client.send(method, &format!("{path}{mark}dry_run=true"), body).await?)
}

/// Makes a change that is true once names and routes have followed, or only says what it would do; its exit code.
async fn change<B: serde::Serialize + Sync>(
    client: &Client,
    (method, path): (Method, &str),
    body: &B,
    dry_run: bool,
) -> Result<u8> {
    if dry_run {
        return try_out(client, (method, path), body).await;
    }
    if !client.send::<_, Changed>(method, path, body).await?.unchanged {
        crate::progress::settled(client).await;
    }
    Ok(0)
}

/// Says what would be done that only its doing could judge.
fn would(line: &str) -> Result<u8> {
    crate::output::print(&format!("{line}\n"))?;
    Ok(WOULD_CHANGE)
}

/// Says what a dry run would change; its exit code.
fn dry(changed: &Changed) -> Result<u8> {
    let text: String = changed.summary.iter().map(|line| format!("{line}\n")).collect();
    crate::output::print(&text)?;
    Ok(if changed.unchanged { 0 } else { WOULD_CHANGE })
}
