//! Images: listed, pulled, pushed, taken in, written out, made from packages, deleted.

mod names;

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
    view::{BootstrapRequest, Login, Pruned, PullRequest, PushRequest},
};
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use std::{path::PathBuf, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::client::{Client, Lines};

#[derive(Subcommand)]
pub enum ImageCommand {
    /// List images
    ///
    /// Example: roost image list
    #[command(visible_alias = "ls")]
    List(ImagesArgs),
    Show(ShowArgs),
    Pull(PullArgs),
    Push(PushArgs),
    Import(ImportArgs),
    Export(ExportArgs),
    Bootstrap(BootstrapArgs),
    Tag(names::TagArgs),
    #[command(visible_alias = "rm")]
    Delete(names::DeleteArgs),
    Prune(PruneArgs),
}

/// Flags of the list.
#[derive(Args)]
pub struct ImagesArgs {
    /// Snapshots as well, and what clones and jobs of containers were made of
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub list: ListArgs,
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
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub change: TryArgs,
}

/// How to speak with a registry.
#[derive(Args)]
pub struct RegistryArgs {
    /// The registry speaks plain HTTP
    #[arg(long)]
    pub insecure: bool,
    /// User at the registry; the password is read from standard input
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
}

/// Push an image to a registry
///
/// Example: roost image push web 127.0.0.1:5000/team/web:1.2
#[derive(Args)]
pub struct PushArgs {
    /// Its name in the cluster
    pub image: String,
    /// Where it goes: registry/name:tag
    pub to: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Write an image as an archive that image import, skopeo and docker load take in
///
/// Example: roost image export web web.tar
#[derive(Args)]
pub struct ExportArgs {
    /// Its name
    pub image: String,
    /// The file, which must not be there; - for standard output
    pub file: PathBuf,
    /// oci (an image layout) or docker-archive
    #[arg(long, value_enum, default_value_t = Archive::Oci)]
    pub format: Archive,
}

/// Forms of archives.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Archive {
    /// An OCI image layout
    Oci,
    /// As docker save writes it
    DockerArchive,
}

/// Remove content that nothing needs from every server
///
/// What containers and jobs are made from, and could be rolled back to, always stays.
///
/// Example: roost image prune --all
#[derive(Args)]
pub struct PruneArgs {
    /// Also names of images that nothing is made from
    #[arg(short, long)]
    pub all: bool,
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

fn short(image: &ImageRecord) -> String {
    image.digest.trim_start_matches("sha256:").chars().take(12).collect()
}

fn kind(image: &ImageRecord) -> String {
    match image.unusable {
        Some(_) => "other".to_owned(),
        None => format!("{:?}", image.config.kind).to_lowercase(),
    }
}

fn age(image: &ImageRecord) -> String {
    Timestamp(base::env::now_millis()).since(image.created).to_string()
}

const COLUMNS: &[Column<ImageRecord>] = &[
    column("NAME", |image| image.name.clone()),
    column("DIGEST", short),
    column("KIND", kind),
    column("SIZE", |image| image.size.to_string()),
    column("AGE", age),
    wide("INDEX", |image| image.index.clone().unwrap_or_default()),
    wide("ARCH", |image| image.config.architecture.clone()),
    wide("COMMAND", |image| [image.config.entrypoint.as_slice(), &image.config.command].concat().join(" ")),
];

/// Runs an image command.
pub async fn run(client: &Client, command: ImageCommand) -> Result<u8> {
    match command {
        ImageCommand::List(args) => {
            let mut images: Vec<ImageRecord> = client.get(path::IMAGES).await?;
            images.retain(|image| args.all || !image.is_ours());
            output::list(images, COLUMNS, &args.list)?
        }
        ImageCommand::Show(args) => {
            let image: ImageRecord = client.get(&format!("{}/{}", path::IMAGES, path::segment(&args.name))).await?;
            output::one(image, &[], args.output)?
        }
        ImageCommand::Pull(args) if args.change.dry_run => {
            return super::would(&format!("pull image {}", api::image::normalise(&args.image)?));
        }
        ImageCommand::Pull(args) => {
            let login = login(args.registry.user).await?;
            let (image, server, insecure) = (args.image, args.server, args.registry.insecure);
            pull(client, &PullRequest { image, server, insecure, login }).await?
        }
        ImageCommand::Push(args) => return push(client, args).await,
        ImageCommand::Export(args) => return export(client, args).await,
        ImageCommand::Prune(args) => return prune(client, args).await,
        ImageCommand::Import(args) => return import(client, args).await,
        ImageCommand::Bootstrap(args) => return bootstrap(client, args).await,
        ImageCommand::Tag(args) => return names::tag(client, args).await,
        ImageCommand::Delete(args) => return names::delete(client, args).await,
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
    let request = PullRequest { image: image.to_owned(), server: None, insecure: false, login: None };
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

/// The login for a user whose password comes on standard input, up to the end of its line.
async fn login(user: Option<String>) -> Result<Option<Login>> {
    /// Longest password that is read.
    const PASSWORD_MAX: u64 = 64 << 10;
    let Some(user) = user else { return Ok(None) };
    let mut text = String::new();
    let read = tokio::io::stdin().take(PASSWORD_MAX).read_to_string(&mut text).await;
    read.map_err(|error| Error::usage(format!("the password cannot be read from standard input: {error}")))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(password) => Ok(Some(Login { user, password: password.to_owned() })),
        None => Err(Error::usage(format!("the password of {user} is expected on standard input"))),
    }
}

async fn push(client: &Client, args: PushArgs) -> Result<u8> {
    if args.change.dry_run {
        return super::would(&format!("push image {} to {}", api::image::normalise(&args.image)?, args.to));
    }
    let request = PushRequest {
        image: args.image.clone(),
        to: args.to.clone(),
        insecure: args.registry.insecure,
        login: login(args.registry.user).await?,
    };
    let body = serde_json::to_vec(&request).map_err(|error| Error::failed(error.to_string()))?;
    let headers = [("content-type", "application/json".to_owned())];
    let lines = client.lines(Method::POST, &format!("{}/push", path::IMAGES), Some(body.into()), &headers).await?;
    follow(lines, &args.to).await.map(|()| 0)
}

async fn export(client: &Client, args: ExportArgs) -> Result<u8> {
    let format = if args.format == Archive::Oci { "oci" } else { "docker-archive" };
    let target = format!("{}/{}/export?format={format}", path::IMAGES, path::segment(&args.image));
    let mut archive = Box::pin(client.download(&target).await?);
    let broken = |error: std::io::Error| Error::failed(format!("image {} cannot be written: {error}", args.image));
    if args.file.as_os_str() == "-" {
        let mut out = tokio::io::stdout();
        tokio::io::copy(&mut archive, &mut out).await.map_err(broken)?;
        return out.flush().await.map_err(broken).map(|()| 0);
    }
    let opened = tokio::fs::File::create_new(&args.file).await;
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::conflict(format!("{} is there already", args.file.display())),
        _ => Error::failed(format!("cannot write {}: {error}", args.file.display())),
    })?;
    let written = tokio::io::copy(&mut archive, &mut file).await;
    match written.and(file.flush().await) {
        Ok(()) => Ok(0),
        Err(error) => {
            // Half an archive is worse than none.
            let _ = tokio::fs::remove_file(&args.file).await;
            Err(broken(error))
        }
    }
}

async fn prune(client: &Client, args: PruneArgs) -> Result<u8> {
    let (all, dry_run) = (args.all, args.change.dry_run);
    let pruned: Pruned = client.send(Method::POST, &format!("{}/prune?all={all}&dry_run={dry_run}", path::IMAGES), &()).await?;
    if dry_run {
        return super::would(&format!("remove {} names, and content that nothing needs", pruned.names));
    }
    say::done(&format!("{} names gone, {} freed", pruned.names, pruned.freed));
    Ok(0)
}

/// Has an image pulled, and shows how it goes.
pub async fn pull(client: &Client, request: &PullRequest) -> Result<()> {
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
pub async fn make(client: &Client, request: &BootstrapRequest) -> Result<()> {
    let name = request.name.clone().unwrap_or_else(|| format!("{}/{}", request.distribution, request.release));
    let body = serde_json::to_vec(request).map_err(|error| Error::failed(error.to_string()))?;
    let headers = [("content-type", "application/json".to_owned())];
    let lines = client.lines(Method::POST, &format!("{}/bootstrap", path::IMAGES), Some(body.into()), &headers).await?;
    follow(lines, &name).await
}

/// How it ended well.
enum End {
    Here(Box<ImageRecord>),
    /// It is in another registry, under this digest.
    Pushed(String),
}

/// Shows progress until the image is there or failed, and says so.
async fn follow(lines: Lines<ImageProgress>, name: &str) -> Result<()> {
    match end(lines, name).await? {
        (End::Here(image), took) => announce(&image, took),
        (End::Pushed(digest), took) => say::done(&format!("{name} {digest} in {:.1} s", took.as_secs_f32())),
    }
    Ok(())
}

/// Says that an image is there.
pub fn announce(image: &ImageRecord, took: Duration) {
    say::done(&format!("{}@sha256:{}…   {} in {:.1} s", image.name, short(image), image.size, took.as_secs_f32()));
}

/// Shows progress until the image is there or failed.
pub async fn arrival(lines: Lines<ImageProgress>, name: &str) -> Result<(ImageRecord, Duration)> {
    match end(lines, name).await? {
        (End::Here(image), took) => Ok((*image, took)),
        (End::Pushed(_), _) => Err(Error::failed(format!("{name} went elsewhere"))),
    }
}

async fn end(mut lines: Lines<ImageProgress>, name: &str) -> Result<(End, Duration)> {
    let line = Line::new(name);
    while let Some(progress) = lines.next().await {
        match progress? {
            ImageProgress::Fetching { done, total, .. } => line.set(done, total, &api::Bytes(done).to_string()),
            ImageProgress::Working { message } => line.set(0, 0, &message.chars().take(60).collect::<String>()),
            ImageProgress::Failed { error } => {
                line.end();
                return Err(error);
            }
            ImageProgress::Step { text, .. } => line.set(0, 0, &text.chars().take(60).collect::<String>()),
            ImageProgress::Output { .. } => {}
            ImageProgress::Pushed { digest } => return Ok((End::Pushed(digest), line.end())),
            ImageProgress::Done { image } => return Ok((End::Here(image), line.end())),
        }
    }
    Err(Error::unreachable("the connection broke off before the image was there"))
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
