//! `build`: an image out of a Dockerfile or a recipe, and the folder it lies in.

mod context;
mod show;

use super::image;
use crate::args::TryArgs;
use api::{
    Error, Name, Result,
    build::{BuildRequest, Secret},
    image::{ImageProgress, ImageRecord, normalise},
    path,
    spec::ContainerKind,
};
use base::supervise::Scope;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum};
use http::Method;
use recipe::{Ignore, Kind, Options, Plan, Platform};
use std::{
    fs::{self, File},
    io::Read as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};
use wire::client::{Client, Lines};

/// Files that are looked for, in this order.
const FILES: [&str; 3] = ["Dockerfile", "roost.recipe", "Recipe"];
/// Most bytes of a file that is built: more than `recipe` takes, which says so.
const FILE_MAX: u64 = 4 << 20;
/// Most bytes of one secret.
const SECRET_MAX: u64 = 500 << 10;

/// Build an image from a Dockerfile or a recipe
///
/// The file is Dockerfile in the folder, else roost.recipe, else Recipe. What .dockerignore lists is not sent.
///
/// Example: roost build ./site -t site:2
#[derive(Args)]
pub struct BuildArgs {
    /// The folder that files are copied from
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Name of the image; the folder's when absent
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    pub name: Option<String>,
    /// The file; - for standard input
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// Stop at this stage
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// An argument of the build; its value is taken from the environment when absent
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_arg: Vec<String>,
    /// What steps may read and the image does not keep
    #[arg(long, value_name = "id=NAME,src=FILE")]
    pub secret: Vec<String>,
    /// Do every step again
    #[arg(long)]
    pub no_cache: bool,
    /// app or system; as the file says when absent
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<Type>,
    /// Server to build on
    #[arg(long)]
    pub server: Option<Name>,
    /// Say nothing but how it ends
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub change: TryArgs,
}

/// Kinds of images.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Type {
    /// Runs a program
    App,
    /// Runs a whole system with its own init
    System,
}

impl From<Type> for ContainerKind {
    fn from(kind: Type) -> Self {
        match kind {
            Type::App => Self::App,
            Type::System => Self::System,
        }
    }
}

/// `roost build`.
pub async fn build(client: &Client, args: BuildArgs) -> Result<u8> {
    let folder = folder(&args.folder)?;
    let (file, text) = file(&folder, args.file.as_deref())?;
    let name = args.name.map_or_else(|| name_of(&folder), Ok)?;
    let full = normalise(&name)?;
    let request = BuildRequest {
        name,
        file,
        text,
        target: args.target,
        build_args: args.build_arg.iter().map(|text| argument(text)).collect::<Result<_>>()?,
        no_cache: args.no_cache,
        secrets: args.secret.iter().map(|text| secret(text)).collect::<Result<_>>()?,
        kind: args.kind.map(Into::into),
        images: Default::default(),
    };
    let plan = plan(&request)?;
    for name in &plan.unused {
        crate::say::note(&format!("nothing in {} asks for --build-arg {name}", request.file));
    }
    if args.change.dry_run {
        let steps: usize = plan.stages.iter().map(|stage| 1 + stage.instructions.len()).sum();
        return super::would(&format!("build image {full} in {steps} steps"));
    }
    base_systems(client, &plan, args.server.as_ref()).await?;
    let ignore = ignore(&folder, args.file.as_deref().unwrap_or(Path::new(&request.file)))?;
    let lines = send(client, &request, args.server.as_ref(), move |to| context::pack(&folder, &ignore, to)).await?;
    let (image, took) = show::follow(lines, &full, args.quiet).await?;
    image::announce(&image, took);
    Ok(0)
}

/// Builds an image of files that are at hand: an app's recipe and what it copies.
pub async fn build_files(
    client: &Client,
    request: BuildRequest,
    files: Vec<(String, Vec<u8>)>,
    server: Option<&Name>,
) -> Result<ImageRecord> {
    base_systems(client, &plan(&request)?, server).await?;
    let full = normalise(&request.name)?;
    let lines = send(client, &request, server, move |to| context::pack_files(&files, to)).await?;
    show::follow(lines, &full, false).await.map(|(image, _)| image)
}

/// What will be done. What is wrong in the file is said before anything is sent.
fn plan(request: &BuildRequest) -> Result<Plan> {
    let recipe = recipe::read(Kind::of_file(&request.file), &request.text)?;
    let options = Options {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        // Which it is decides nothing here.
        ..Options::new(Platform::linux("amd64"))
    };
    Ok(Plan::of(&recipe.build, &options)?)
}

/// Makes what the build begins from and is not there yet, where it is a distribution's base system. All else is the builder's to get.
async fn base_systems(client: &Client, plan: &Plan, server: Option<&Name>) -> Result<()> {
    let mut needed: Vec<String> = plan.images().into_iter().map(|(name, _)| name).collect();
    needed.retain(|name| image::is_base_system(name));
    needed.dedup();
    if needed.is_empty() {
        return Ok(());
    }
    let there: Vec<ImageRecord> = client.get(path::IMAGES).await?;
    for name in needed.iter().filter(|name| !there.iter().any(|image| image.name == **name)) {
        image::obtain(client, (name, server), Error::not_found(format!("no image {name}"))).await?;
    }
    Ok(())
}

/// Sends request and context, and gives what is said about it.
async fn send(
    client: &Client,
    request: &BuildRequest,
    server: Option<&Name>,
    pack: impl FnOnce(File) -> std::io::Result<()> + Send + 'static,
) -> Result<Lines<ImageProgress>> {
    let json = serde_json::to_vec(request).map_err(|error| Error::failed(format!("cannot write the request: {error}")))?;
    let member = api::build::member(&json)?;
    let query = server.map(|server| format!("?server={server}")).unwrap_or_default();
    let target = format!("{}/build{query}", path::IMAGES);
    let (reader, writer): (OwnedFd, OwnedFd) =
        nix::unistd::pipe().map_err(|error| Error::failed(format!("cannot make a pipe: {error}")))?;
    let packing = Scope::blocking(move || {
        let mut to = File::from(writer);
        std::io::Write::write_all(&mut to, &member).and_then(|()| pack(to))
    });
    let sending = client.upload(Method::POST, &target, tokio::fs::File::from_std(File::from(reader)));
    let (packed, sent) = tokio::join!(packing, sending);
    // An answer says more than that it came before all was sent.
    let lines = sent?;
    match packed.map_err(Error::failed)? {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("the build's folder cannot be read: {error}")))
        }
        _ => Ok(lines),
    }
}

fn folder(path: &Path) -> Result<PathBuf> {
    let shown = path.display().to_string();
    let found = path.canonicalize().map_err(|error| super::unreadable(&shown, &error))?;
    if found.is_dir() {
        Ok(found)
    } else {
        Err(Error::usage(format!("{shown} is a file: give the folder it lies in, and -f {shown}")))
    }
}

/// The file to build, its name and what is in it.
fn file(folder: &Path, asked: Option<&Path>) -> Result<(String, String)> {
    let path = match asked {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            let read = std::io::stdin().take(FILE_MAX).read_to_string(&mut text);
            read.map_err(|error| Error::usage(format!("standard input cannot be read as text: {error}")))?;
            return Ok(("Dockerfile".to_owned(), text));
        }
        Some(path) => path.to_owned(),
        None => {
            let found = FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
            found.ok_or_else(|| {
                Error::not_found(format!("there is no {} in {}", FILES.join(", "), folder.display()))
                    .hint("give the file with -f")
            })?
        }
    };
    let shown = path.display().to_string();
    let file = File::open(&path).map_err(|error| super::unreadable(&shown, &error))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(|error| super::unreadable(&shown, &error))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::usage(format!("{shown} is no text (UTF-8)")))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, text))
}

/// The image's name by the folder's: what cannot be part of one becomes a hyphen.
fn name_of(folder: &Path) -> Result<String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '.', '_']);
    if name.is_empty() {
        return Err(Error::usage(format!("{} has no name an image could have: give one with -t", folder.display())));
    }
    Ok(name.to_owned())
}

/// `NAME=VALUE`, or a name whose value is in the environment.
fn argument(text: &str) -> Result<(String, String)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => {
            let value = std::env::var(text);
            (
                text,
                value.map_err(|_| Error::usage(format!("--build-arg {text} has no value, and the environment has no {text}")))?,
            )
        }
    };
    if name.is_empty() { Err(Error::usage(format!("--build-arg {text} has no name"))) } else { Ok((name.to_owned(), value)) }
}

/// `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`.
fn secret(text: &str) -> Result<(String, Secret)> {
    let wrong = |why: &str| Error::usage(format!("--secret {text}: {why}: write id=NAME,src=FILE"));
    let (mut id, mut src, mut env) = (None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("src" | "source", value)) => src = Some(value),
            Some(("env", value)) => env = Some(value),
            Some(("type", "file" | "env")) => {}
            _ => return Err(wrong(&format!("{field} is not understood"))),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| wrong("it has no id"))?;
    let bytes = match (src, env) {
        (Some(src), None) => {
            let mut bytes = Vec::new();
            let read = File::open(src).and_then(|file| file.take(SECRET_MAX + 1).read_to_end(&mut bytes));
            read.map_err(|error| super::unreadable(src, &error))?;
            bytes
        }
        (None, Some(env)) => std::env::var(env).map_err(|_| wrong(&format!("the environment has no {env}")))?.into_bytes(),
        _ => return Err(wrong("it needs one source")),
    };
    if bytes.len() as u64 > SECRET_MAX {
        return Err(Error::usage(format!("the secret {id} is larger than {} bytes", SECRET_MAX)));
    }
    Ok((id.to_owned(), Secret(STANDARD.encode(bytes))))
}

/// What is not sent: the file's own list, else the folder's.
fn ignore(folder: &Path, file: &Path) -> Result<Ignore> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = match file.parent().filter(|_| file.components().count() > 1) {
        Some(parent) => parent.join(format!("{name}.dockerignore")),
        None => folder.join(format!("{name}.dockerignore")),
    };
    let list = [own, folder.join(".dockerignore")].into_iter().find(|path| path.is_file());
    let Some(path) = list else { return Ok(Ignore::default()) };
    let text = fs::read_to_string(&path).map_err(|error| super::unreadable(&path.display().to_string(), &error))?;
    Ok(Ignore::parse(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders() {
        let name = |text: &str| name_of(Path::new(text)).map_err(|error| error.message);
        assert_eq!(name("/src/Web Site").as_deref(), Ok("web-site"));
        assert_eq!(name("/src/.hidden").as_deref(), Ok("hidden"));
        assert_eq!(name("/").unwrap_err(), "/ has no name an image could have: give one with -t");
    }

    #[test]
    fn arguments_and_secrets_as_typed() {
        assert_eq!(argument("A=b=c").unwrap(), ("A".to_owned(), "b=c".to_owned()));
        assert!(argument("=b").is_err() && argument("NO_SUCH_VARIABLE_HERE").is_err());
        for wrong in ["", "id=a", "src=/x", "id=,src=/x", "id=a,src=/x,env=Y", "id=a,colour=red"] {
            assert!(secret(wrong).unwrap_err().message.starts_with(&format!("--secret {wrong}: ")), "{wrong}");
        }
        assert_eq!(secret("id=a,src=/no/such/file").unwrap_err().kind, api::Kind::NotFound);
    }
}
