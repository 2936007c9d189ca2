//! The registry inside: where it is, and what everybody may do there.

use crate::{
    args::TryArgs,
    output::{self, Format},
};
use api::{Result, path, registry::RegistryView};
use clap::{Args, Subcommand};
use http::Method;
use wire::client::Client;

#[derive(Subcommand)]
pub enum RegistryCommand {
    Show(ShowArgs),
    Set(SetArgs),
}

/// Show where the registry is, whom to trust there, and what is set
///
/// Example: roost registry show
#[derive(Args)]
pub struct ShowArgs {
    /// json or yaml
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    pub output: Format,
}

/// Set what everybody may do at the registry
///
/// Example: roost registry set --anonymous-pull true
#[derive(Args)]
pub struct SetArgs {
    /// Whether pulls need no token
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    pub anonymous_pull: bool,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Runs a registry command.
pub async fn run(client: &Client, command: RegistryCommand) -> Result<u8> {
    match command {
        RegistryCommand::Show(args) => {
            let view: RegistryView = client.get(path::REGISTRY).await?;
            output::one(view, &[], args.output).map(|()| 0)
        }
        RegistryCommand::Set(args) => {
            let body = serde_json::json!({"anonymous_pull": args.anonymous_pull});
            super::change(client, (Method::PATCH, path::REGISTRY), &body, args.change.dry_run).await
        }
    }
}
