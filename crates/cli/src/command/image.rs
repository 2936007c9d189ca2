//! Images: listed, pulled, imported, made from packages, deleted.

use crate::{
    args::TryArgs,
    output::{self, Column, Format, ListArgs, column, wide},
    progress::Line,
    say,
};
use api::{
    Error, Name, Result, Timestamp,
    image::{ImageProgress, ImageRecord},
    path,
    view::{BootstrapRequest, PullRequest},
};
use clap::{Args, Subcommand};
use http::Method;
use std::path::PathBuf;
use wire::client::{Client, Lines};

#[derive(Subcommand)]
pub enum ImageCommand {
    /// List images
    ///
    /// Example: roost image list
    List(ListArgs),
    Show(ShowArgs),
    Pull(PullArgs),
    Import(ImportArgs),
    Bootstrap(BootstrapArgs),
    Delete(DeleteArgs),
}

/// Show an image
///
/// Example: roost image show web
#[derive(Args)]
pub struct ShowArgs {
    /// Its name
    pub name: String,
    /// json or yaml
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    pub output: Format,
}

/// Pull an image from a registry
///
/// Example: roost image pull 127.0.0.1:5000/web:1.2
#[derive(Args)]
pub struct PullArgs {
    /// Its name
    pub image: String,
    /// Server that pulls it; the others fetch it from there when they need it
    #[arg(long)]
    pub server: Option<Name>,
    /// The registry speaks plain HTTP
    #[arg(long)]
    pub insecure: bool,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Take in an archive: an OCI layout, a docker archive, or a root file system, as tar
///
/// Example: roost image import web.tar --name web
#[derive(Args)]
pub struct ImportArgs {
    /// The file; - for standard input
    pub file: PathBuf,
    /// Name of the image; the file's name when absent
    #[arg(short, long)]
    pub name: Option<String>,
    /// Server to keep it on
    #[arg(long)]
    pub server: Option<Name>,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Make a base system from a distribution's packages, with the server's own package sources
///
/// Example: roost image bootstrap debian bookworm --include nginx-light --name nginx -- nginx -g "daemon off;"
#[derive(Args)]
pub struct BootstrapArgs {
    /// debian or ubuntu
    pub distribution: String,
    /// bookworm, trixie, noble…
    pub release: String,
    /// Further packages
    #[arg(long, value_delimiter = ',', value_name = "PACKAGE")]
    pub include: Vec<String>,
    /// Name of the image; distribution/release when absent
    #[arg(short, long)]
    pub name: Option<String>,
    /// Server to make it on
    #[arg(long)]
    pub server: Option<Name>,
    /// Program that containers of it run; a whole system with systemd, or the init among the packages, when absent
    #[arg(last = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub change: TryArgs,
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

fn short(image: &ImageRecord) -> String {
    image.digest.trim_start_matches("sha256:").chars().take(12).collect()
}

fn age(image: &ImageRecord) -> String {
    Timestamp(base::env::now_millis()).since(image.created).to_string()
}

const COLUMNS: &[Column<ImageRecord>] = &[
    column("NAME", |image| image.name.clone()),
    column("DIGEST", short),
    column("KIND", |image| format!("{:?}", image.config.kind).to_lowercase()),
    column("SIZE", |image| image.size.to_string()),
    column("AGE", age),
    wide("ARCH", |image| image.config.architecture.clone()),
    wide("COMMAND", |image| [image.config.entrypoint.as_slice(), &image.config.command].concat().join(" ")),
];

/// Runs an image command.
pub async fn run(client: &Client, command: ImageCommand) -> Result<u8> {
    match command {
        ImageCommand::List(args) => output::list(client.get::<Vec<ImageRecord>>(path::IMAGES).await?, COLUMNS, &args)?,
        ImageCommand::Show(args) => {
            let image: ImageRecord = client.get(&format!("{}/{}", path::IMAGES, path::segment(&args.name))).await?;
            output::one(image, &[], args.output)?
        }
        ImageCommand::Pull(args) if args.change.dry_run => {
            return super::would(&format!("pull image {}", api::image::normalise(&args.image)?));
        }
        ImageCommand::Pull(args) => {
            pull(client, &PullRequest { image: args.image, server: args.server, insecure: args.insecure }).await?
        }
        ImageCommand::Import(args) => return import(client, args).await,
        ImageCommand::Bootstrap(args) => return bootstrap(client, args).await,
        ImageCommand::Delete(args) => return delete(client, args).await,
    }
    Ok(0)
}

/// Gets what a command needed and did not find: `debian/<release>` and `ubuntu/<release>` are made from packages, all else is
/// pulled. The first error, with why, when that fails too.
pub async fn obtain(client: &Client, (image, server): (&str, Option<&Name>), missing: Error) -> Result<()> {
    if let Some(request) = base_system(image) {
        say::note(&format!("image {image} is not there yet: making it from packages"));
        return make(client, &BootstrapRequest { server: server.cloned(), ..request }).await;
    }
    let request = PullRequest { image: image.to_owned(), server: None, insecure: false };
    match pull(client, &request).await {
        Ok(()) => Ok(()),
        Err(why) => Err(Error { details: vec![format!("and it cannot be pulled: {}", why.message)], ..missing }),
    }
}

/// Whether a name means a base system that can be made from packages.
pub fn is_base_system(image: &str) -> bool {
    base_system(image).is_some()
}

/// The base system a name means.
fn base_system(image: &str) -> Option<BootstrapRequest> {
    let (distribution, release) = image.strip_suffix(":latest").unwrap_or(image).split_once('/')?;
    let known = matches!(distribution, "debian" | "ubuntu") && release.bytes().all(|b| b.is_ascii_lowercase());
    known.then(|| BootstrapRequest {
        distribution: distribution.to_owned(),
        release: release.to_owned(),
        include: Vec::new(),
        name: None,
        command: Vec::new(),
        server: None,
    })
}

async fn pull(client: &Client, request: &PullRequest) -> Result<()> {
    let body = serde_json::to_vec(request).map_err(|error| Error::failed(error.to_string()))?;
    let headers = [("content-type", "application/json".to_owned())];
    let lines = client.lines(Method::POST, &format!("{}/pull", path::IMAGES), Some(body.into()), &headers).await?;
    follow(lines, &request.image).await
}

async fn import(client: &Client, args: ImportArgs) -> Result<u8> {
    let stem = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = stem.split('.').next().unwrap_or_default().to_owned();
    let name = args.name.unwrap_or(stem);
    let full = api::image::normalise(&name)?;
    if args.change.dry_run {
        return super::would(&format!("import {} as image {full}", args.file.display()));
    }
    let server = args.server.map(|server| format!("&server={server}")).unwrap_or_default();
    let target = format!("{}/import?name={}{server}", path::IMAGES, path::segment(&name));
    let lines = if args.file.as_os_str() == "-" {
        client.upload(Method::POST, &target, tokio::io::stdin()).await?
    } else {
        let open = tokio::fs::File::open(&args.file).await;
        let file = open.map_err(|error| super::unreadable(&args.file.display().to_string(), &error))?;
        client.upload(Method::POST, &target, file).await?
    };
    follow(lines, &name).await.map(|()| 0)
}

async fn bootstrap(client: &Client, args: BootstrapArgs) -> Result<u8> {
    let name = args.name.clone().unwrap_or_else(|| format!("{}/{}", args.distribution, args.release));
    if args.change.dry_run {
        return super::would(&format!("make image {} of {} {}", api::image::normalise(&name)?, args.distribution, args.release));
    }
    let request = BootstrapRequest {
        distribution: args.distribution,
        release: args.release,
        include: args.include,
        name: args.name,
        command: args.command,
        server: args.server,
    };
    make(client, &request).await.map(|()| 0)
}

/// Has a base system made, and shows how it goes.
async fn make(client: &Client, request: &BootstrapRequest) -> Result<()> {
    let name = request.name.clone().unwrap_or_else(|| format!("{}/{}", request.distribution, request.release));
    let body = serde_json::to_vec(request).map_err(|error| Error::failed(error.to_string()))?;
    let headers = [("content-type", "application/json".to_owned())];
    let lines = client.lines(Method::POST, &format!("{}/bootstrap", path::IMAGES), Some(body.into()), &headers).await?;
    follow(lines, &name).await
}

/// Shows progress until the image is there or failed.
async fn follow(mut lines: Lines<ImageProgress>, name: &str) -> Result<()> {
    let line = Line::new(name);
    while let Some(progress) = lines.next().await {
        match progress? {
            ImageProgress::Fetching { done, total, .. } => line.set(done, total, &api::Bytes(done).to_string()),
            ImageProgress::Working { message } => line.set(0, 0, &message.chars().take(60).collect::<String>()),
            ImageProgress::Failed { error } => {
                line.end();
                return Err(error);
            }
            ImageProgress::Done { image } => {
                let took = line.end();
                say::done(&format!("{}@sha256:{}…   {} in {:.1} s", image.name, short(&image), image.size, took.as_secs_f32()));
                return Ok(());
            }
        }
    }
    Err(Error::unreachable("the connection broke off before the image was there"))
}

async fn delete(client: &Client, args: DeleteArgs) -> Result<u8> {
    let mut code = 0;
    for name in &args.names {
        let path = format!("{}/{}", path::IMAGES, path::segment(name));
        code = code.max(super::change(client, (Method::DELETE, &path), &(), args.change.dry_run).await?);
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_distributions_and_releases_are_base_systems() {
        let made = |name: &str| base_system(name).map(|r| format!("{} {}", r.distribution, r.release));
        assert_eq!(made("debian/bookworm").as_deref(), Some("debian bookworm"));
        assert_eq!(made("ubuntu/noble:latest").as_deref(), Some("ubuntu noble"));
        for other in ["debian", "debian:12", "debian/bookworm:1", "fedora/40", "127.0.0.1:5000/debian/bookworm"] {
            assert_eq!(made(other), None, "{other}");
        }
    }
}
