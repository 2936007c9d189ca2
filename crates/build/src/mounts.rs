//! `RUN --mount`: what is only there while a command runs. Made in the build's own directory, and gone with it.

use crate::{
    cache::{lock_of, try_lock, try_share},
    copy::{self, Files},
    error::{Error, Result, about},
    root::{Ids, Root, is_directory, relative},
    stage::Site,
    tree::{Copier, Copying},
    view::{self, Writable},
    work::{self, Work},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use driver::runtime::MountRun;
use nix::{
    fcntl::{Flock, OFlag},
    mount::{MsFlags, mount},
    unistd::{Gid, Uid, chown},
};
use recipe::{
    Ignore, Sharing,
    effect::{Mount, Origin, Run, Script},
};
use std::{
    fs::{self, File, Permissions},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// Most memory that secrets may take, in bytes.
const SECRETS_MAX: u64 = 16 << 20;
/// Pause between two looks whether a cache is free.
const PAUSE: Duration = Duration::from_millis(50);
/// Most directories a cache may have whose writers each have their own.
const PRIVATE_MAX: u32 = 64;
/// Permissions of a script: read and executed by all.
const SCRIPT: u32 = 0o555;

/// What a command gets.
#[derive(Default)]
pub struct Prepared {
    /// In order.
    pub mounts: Vec<MountRun>,
    /// Secrets that are variables.
    pub env: Vec<String>,
    /// Caches that are in use.
    held: Vec<Flock<File>>,
}

impl Prepared {
    fn add(&mut self, source: PathBuf, target: &str, read_only: bool) {
        self.mounts.push(MountRun { source, target: target.to_owned(), read_only });
    }
}

/// Makes everything a command has mounted.
pub fn prepare(site: &Site<'_>, run: &Run, work: &Work) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    let mut secrets = None;
    for mount in &run.mounts {
        match mount {
            Mount::Bind { from, source, target, read_only } => {
                let path = bind(site, (from, source), *read_only, work)?;
                prepared.add(path, target, *read_only);
            }
            Mount::Cache { target, read_only, .. } => {
                let path = cache(site, mount, (&mut prepared, work))?;
                prepared.add(path, target, *read_only);
            }
            Mount::Secret { .. } => secret(site, mount, (&mut prepared, &mut secrets, work))?,
            Mount::Tmpfs { target, size } => prepared.add(memory(work, *size, 0o1777)?, target, false),
        }
    }
    for script in &run.files {
        prepared.add(self::script(script, work)?, &script.path, true);
    }
    Ok(prepared)
}

fn script(script: &Script, work: &Work) -> Result<PathBuf> {
    let path = work.path();
    let written = fs::write(&path, &script.content).and_then(|()| fs::set_permissions(&path, Permissions::from_mode(SCRIPT)));
    written.map_err(Error::io(about("write", &path)))?;
    Ok(path)
}

/// Memory as a directory.
fn memory(work: &Work, size: Option<u64>, mode: u32) -> Result<PathBuf> {
    let path = work.directory()?;
    let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
    let options = format!("mode={mode:o}{size}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &path, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(Error::errno(about("mount memory on", &path)))?;
    Ok(path)
}

/// A secret becomes a file in memory, or a variable.
fn secret(site: &Site<'_>, mount: &Mount, (prepared, place, work): (&mut Prepared, &mut Option<PathBuf>, &Work)) -> Result<()> {
    let Mount::Secret { id, target, env, required, mode, uid, gid } = mount else { return Ok(()) };
    let Some(secret) = site.received.request.secrets.get(id) else {
        let missing = format!("the secret {id} was not given: add --secret id={id},src=path");
        return if *required { Err(Error::Wrong(missing)) } else { Ok(()) };
    };
    let bytes = STANDARD.decode(&secret.0).map_err(|_| Error::Wrong(format!("the secret {id} arrived damaged")))?;
    if let Some(name) = env {
        let text = String::from_utf8(bytes.clone()).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| Error::Wrong(format!("the secret {id} is no text, so that it cannot be a variable")))?;
        prepared.env.push(format!("{name}={text}"));
    }
    if let Some(target) = target {
        let directory = match place {
            Some(directory) => directory.clone(),
            None => place.insert(memory(work, Some(SECRETS_MAX), 0o700)?).clone(),
        };
        let path = directory.join(prepared.mounts.len().to_string());
        let made = fs::write(&path, bytes).and_then(|()| fs::set_permissions(&path, Permissions::from_mode(*mode)));
        made.map_err(Error::io("write a secret into memory"))?;
        own(&path, Ids { uid: *uid, gid: *gid })?;
        prepared.add(path, target, true);
    }
    Ok(())
}

fn own(path: &Path, ids: Ids) -> Result<()> {
    chown(path, Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(ids.gid))).map_err(Error::errno(about("give an owner to", path)))
}

/// Files from elsewhere. What is written into them goes into a layer that nobody keeps.
fn bind(site: &Site<'_>, (from, source): (&Origin, &str), read_only: bool, work: &Work) -> Result<PathBuf> {
    let layers = site.layers_of(from)?;
    let from = copy::origin(site, from, &layers)?;
    let one;
    let below: &[PathBuf] = match from.files {
        Files::Directory(path) if read_only => return within(path, source, &from.called),
        Files::Directory(path) => {
            one = [path.to_owned()];
            &one
        }
        Files::Layers(layers) => layers,
    };
    let (root, scratch, upper, beside) = (work.directory()?, work.directory()?, work.directory()?, work.directory()?);
    let writable = Writable { upper: &upper, work: &beside };
    // Root is not the only one who is to read it.
    fs::set_permissions(&upper, Permissions::from_mode(0o755)).map_err(Error::io(about("open up", &upper)))?;
    view::aside(|| view::overlay(below, (!read_only).then_some(&writable), (&root, &scratch)))?;
    within(&root, source, &from.called)
}

/// Where a path of a root leads to, as the server sees it.
fn within(root: &Path, source: &str, called: &str) -> Result<PathBuf> {
    let opened = Root::open(root)?.open_in(&relative(source), OFlag::O_PATH);
    let opened = opened.map_err(|_| Error::Wrong(format!("there is no {source} in {called}")))?;
    let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
    fs::read_link(&link).map_err(Error::io("find what is to be mounted"))
}

/// A directory that outlives the build: shared, one's own, or waited for.
fn cache(site: &Site<'_>, mount: &Mount, (prepared, work): (&mut Prepared, &Work)) -> Result<PathBuf> {
    let Mount::Cache { id, from, source, sharing, mode, uid, gid, .. } = mount else { return work.directory() };
    let all = site.builder.cache.mount(id)?;
    let shared = all.join("shared");
    let (path, held) = match sharing {
        Sharing::Shared => waited(site, || try_share(&lock_of(&shared)).map(|held| held.map(|held| (shared.clone(), held))))?,
        Sharing::Locked => waited(site, || try_lock(&lock_of(&shared)).map(|held| held.map(|held| (shared.clone(), held))))?,
        Sharing::Private => {
            let mut free = (0..PRIVATE_MAX).map(|number| all.join(format!("private-{number}")));
            free.find_map(|path| try_lock(&lock_of(&path)).transpose().map(|held| held.map(|held| (path, held))))
                .unwrap_or_else(|| Err(Error::Wrong(format!("the cache {id} is used by {PRIVATE_MAX} others"))))?
        }
    };
    if !path.exists() {
        // Complete, or not there.
        let fresh = work.inner()?.path();
        let filling = all.join(fresh.file_name().unwrap_or_default()).with_extension(base::env::seed().to_string());
        work::make(&filling)?;
        fill(site, (from, source), &filling, work)?;
        fs::set_permissions(&filling, Permissions::from_mode(*mode)).map_err(Error::io(about("open up", &filling)))?;
        own(&filling, Ids { uid: *uid, gid: *gid })?;
        if fs::rename(&filling, &path).is_err() {
            // Another one was quicker.
            work::clear(&filling)?;
        }
    }
    prepared.held.push(held);
    Ok(path)
}

fn waited<T>(site: &Site<'_>, look: impl Fn() -> Result<Option<T>>) -> Result<T> {
    loop {
        if let Some(held) = look()? {
            return Ok(held);
        }
        site.still_wanted()?;
        std::thread::sleep(PAUSE);
    }
}

/// What a new cache begins with.
fn fill(site: &Site<'_>, (from, source): (&Origin, &str), into: &Path, work: &Work) -> Result<()> {
    if *from == Origin::Scratch {
        return Ok(());
    }
    let seed = bind(site, (from, source), true, work)?;
    let (ignore, to) = (Ignore::default(), Root::open(into)?);
    let how = Copying { ignore: &ignore, owner: None, mode: None };
    let from = Root::open(&seed)?.directory(Path::new(""));
    let from = from.map_err(Error::errno(about("open", &seed)))?;
    let stat = nix::sys::stat::fstat(&from).map_err(Error::errno(about("look at", &seed)))?;
    if is_directory(&stat) { Copier::new(&to, how).content(std::os::fd::AsFd::as_fd(&from), Path::new("")) } else { Ok(()) }
}
