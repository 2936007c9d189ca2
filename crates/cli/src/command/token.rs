//! Join tokens.

use crate::output::{self, Column, ListArgs, column};
use api::{
    Result, Span, path,
    view::{Changed, Token},
};
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
}

const COLUMNS: &[Column<Token>] = &[
    column("ID", |token| token.id.clone()),
    column("EXPIRES", |token| token.expires.to_string()),
    column("USES-LEFT", |token| token.uses_left.to_string()),
];

/// Runs a token command.
pub async fn run(client: &Client, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Create(args) => {
            let grant = serde_json::json!({"valid": args.valid, "uses": args.uses});
            let token: Token = client.send(Method::POST, path::TOKENS, &grant).await?;
            output::print(&(token.token.unwrap_or_default() + "\n"))
        }
        TokenCommand::List(args) => output::list(client.get::<Vec<Token>>(path::TOKENS).await?, COLUMNS, &args),
        TokenCommand::Revoke { id } => {
            let path = format!("{}/{}", path::TOKENS, path::segment(&id));
            client.send::<(), Changed>(Method::DELETE, &path, &()).await.map(drop)
        }
    }
}
