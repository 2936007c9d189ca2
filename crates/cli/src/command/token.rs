//! Join tokens.

use crate::{
    args::TryArgs,
    output::{self, Column, ListArgs, column},
};
use api::{Result, Span, path, view::Token};
use clap::{Args, Subcommand};
use http::Method;
use wire::client::Client;

#[derive(Subcommand)]
pub enum TokenCommand {
    Create(CreateArgs),
    /// List tokens; their secrets are not kept
    ///
    /// Example: roost token list
    List(ListArgs),
    /// Revoke a token
    ///
    /// Example: roost token revoke 1f2e3d4c5b6a
    Revoke {
        /// As in the list
        id: String,
        #[command(flatten)]
        change: TryArgs,
    },
}

/// Make a token that servers join with, and print it
///
/// Example: roost join $(roost token create)
#[derive(Args)]
pub struct CreateArgs {
    /// How long it is good for
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    pub valid: Span,
    /// How many servers may use it
    #[arg(long, default_value_t = 1)]
    pub uses: u32,
    #[command(flatten)]
    pub change: TryArgs,
}

const COLUMNS: &[Column<Token>] = &[
    column("ID", |token| token.id.clone()),
    column("EXPIRES", |token| token.expires.to_string()),
    column("USES-LEFT", |token| token.uses_left.to_string()),
];

/// Runs a token command.
pub async fn run(client: &Client, command: TokenCommand) -> Result<u8> {
    match command {
        TokenCommand::Create(args) if args.change.dry_run => super::would(&format!("make a token for {} servers", args.uses)),
        TokenCommand::Create(args) => {
            let grant = serde_json::json!({"valid": args.valid, "uses": args.uses});
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
