//! Names of images: another one, and one less.

use crate::args::TryArgs;
use api::{Result, path};
use clap::Args;
use http::Method;
use serde_json::json;
use wire::client::Client;

/// Give an image another name, as docker tag does
///
/// A name that leads to another image leads to this one from now on; what runs stays as it is.
///
/// Example: roost image tag web:2 127.0.0.1:5000/team/web:latest
#[derive(Args)]
pub struct TagArgs {
    /// Its name
    pub image: String,
    /// The other name
    pub to: String,
    #[command(flatten)]
    pub change: TryArgs,
}

/// `roost image tag`.
pub async fn tag(client: &Client, args: TagArgs) -> Result<u8> {
    let path = format!("{}/{}/tag", path::IMAGES, path::segment(&args.image));
    crate::command::change(client, (Method::POST, &path), &json!({ "to": args.to }), args.change.dry_run).await
}

/// Delete an image
///
/// Example: roost image delete web
#[derive(Args)]
pub struct DeleteArgs {
    /// Names
    #[arg(required = true)]
    pub names: Vec<String>,
    #[command(flatten)]
    pub change: TryArgs,
}

/// `roost image delete`.
pub async fn delete(client: &Client, args: DeleteArgs) -> Result<u8> {
    let mut code = 0;
    for name in &args.names {
        let path = format!("{}/{}", path::IMAGES, path::segment(name));
        code = code.max(crate::command::change(client, (Method::DELETE, &path), &(), args.change.dry_run).await?);
    }
    Ok(code)
}
