//! `events` and `why`.

use crate::output::{self, Format};
use api::{
    Error, Result,
    event::{Event, Noun},
    path,
    view::Why,
};
use clap::Args;
use http::Method;
use wire::client::Client;

/// Show what happened
///
/// Example: roost events -f
#[derive(Args)]
pub struct EventsArgs {
    /// Go on with new events
    #[arg(short, long)]
    pub follow: bool,
    /// table or json
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// Say why a container, instance, job or server is as it is, and what would change it
///
/// Example: roost why web/7
#[derive(Args)]
pub struct WhyArgs {
    /// Its name
    pub what: String,
    /// table or json
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

fn noun(noun: Noun) -> &'static str {
    match noun {
        Noun::Cluster => "cluster",
        Noun::Server => "server",
        Noun::Job => "job",
        Noun::Container => "container",
        Noun::Image => "image",
    }
}

fn show(event: &Event, format: Format) -> Result<()> {
    if format == Format::Json {
        let text = serde_json::to_string(event).map_err(|error| Error::failed(format!("cannot be written as JSON: {error}")))?;
        return output::print(&(text + "\n"));
    }
    output::print(&format!("{}  {:<9} {:<9} {}\n", event.at, noun(event.noun), event.name, event.message))
}

/// `roost events`.
pub async fn events(client: &Client, args: EventsArgs) -> Result<()> {
    if !args.follow {
        let events: Vec<Event> = client.get(path::EVENTS).await?;
        return events.iter().try_for_each(|event| show(event, args.output));
    }
    let mut lines = client.lines::<Event>(Method::GET, &format!("{}?follow=true", path::EVENTS), None, &[]).await?;
    while let Some(event) = lines.next().await {
        show(&event?, args.output)?;
    }
    Ok(())
}

/// `roost why`.
pub async fn why(client: &Client, args: WhyArgs) -> Result<()> {
    let why: Why = client.get(&format!("{}/{}", path::WHY, path::segment(&args.what))).await?;
    if args.output != Format::Table {
        return output::one(why, &[], args.output);
    }
    let facts: String = why.facts.iter().map(|fact| format!("  {fact}\n")).collect();
    let fix = why.fix.as_ref().map(|fix| format!("  fix: {fix}\n")).unwrap_or_default();
    output::print(&format!("{}\n{facts}{fix}", why.answer))
}
