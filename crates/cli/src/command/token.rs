//! Tokens: those servers join with, and those of the registry.

use crate::{
    args::TryArgs,
    output::{self, Column, ListArgs, column},
};
use api::{Result, Span, path, registry::Access, view::Token};
use clap::{Args, Subcommand};
use http::Method;
use wire::client::Client;

#[derive(Subcommand)]
pub enum TokenCommand {
    Create(CreateArgs),
    /// List tokens; their secrets are not kept
    ///
    /// Example: roost token list
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Revoke a token
    ///
    /// Example: roost token revoke 1f2e3d4c5b6a
    #[command(visible_alias = "rm")]
    Revoke {
        /// As in the list
        id: String,
        #[command(flatten)]
        change: TryArgs,
    },
}

/// Make a token and print it: one that servers join with, or one for the registry
///
/// The registry takes it as password of any user: roost token create --registry --push | docker login -u token --password-stdin
/// 127.0.0.1:7445
///
/// Example: roost join $(roost token create)
#[derive(Args)]
pub struct CreateArgs {
    /// How long it is good for; 24h when absent, a year for the registry
    #[arg(long, value_name = "DURATION")]
    pub valid: Option<Span>,
    /// How many servers may use it
    #[arg(long, default_value_t = 1)]
    pub uses: u32,
    /// For the cluster's registry, to pull
    #[arg(long, conflicts_with = "uses")]
    pub registry: bool,
    /// For the cluster's registry, to pull, push and delete
    #[arg(long, requires = "registry")]
    pub push: bool,
    #[command(flatten)]
    pub change: TryArgs,
}

const COLUMNS: &[Column<Token>] = &[
    column("ID", |token| token.id.clone()),
    column("EXPIRES", |token| token.expires.to_string()),
    column("USES-LEFT", |token| if token.registry.is_some() { String::new() } else { token.uses_left.to_string() }),
    column("FOR", |token| match token.registry {
        None => "joining".to_owned(),
        Some(access) => format!("registry, to {access:?}").to_lowercase(),
    }),
];

/// Runs a token command.
pub async fn run(client: &Client, command: TokenCommand) -> Result<u8> {
    match command {
        TokenCommand::Create(args) if args.change.dry_run && args.registry => super::would("make a token for the registry"),
        TokenCommand::Create(args) if args.change.dry_run => super::would(&format!("make a token for {} servers", args.uses)),
        TokenCommand::Create(args) => {
            let access = if args.push { Access::Push } else { Access::Pull };
            let registry = args.registry.then_some(access);
            let grant = serde_json::json!({"valid": args.valid, "uses": args.uses, "registry": registry});
            let token: Token = client.send(Method::POST, path::TOKENS, &grant).await?;
            output::print(&(token.token.unwrap_or_default() + "\n")).map(|()| 0)
        }
        TokenCommand::List(args) => output::list(client.get::<Vec<Token>>(path::TOKENS).await?, COLUMNS, &args).map(|()| 0),
        TokenCommand::Revoke { id, change } => {
            let path = format!("{}/{}", path::TOKENS, path::segment(&id));
            super::change(client, (Method::DELETE, &path), &(), change.dry_run).await
        }
    }
}
