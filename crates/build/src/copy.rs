//! `COPY`, `ADD` and `WORKDIR`: files put on top of a stage's layers.

use crate::{
    archive, databases,
    error::{Error, Result, about},
    fetch::Fetched,
    root::{Ids, Root, is_directory, relative},
    select::{Kept, Selected, select},
    stage::Site,
    tree::{Copier, Copying, Hashing},
    view::{self, Writable},
    work::Work,
};
use driver::{Layers, image::Upper};
use nix::{fcntl::OFlag, sys::stat::fstat};
use recipe::{
    Ignore,
    effect::{Added, Copied, Destination, Inline, Origin, Source, Workdir},
};
use std::{
    fs::{self, File},
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

/// Permissions of files that stand below an instruction.
const INLINE: u32 = 0o644;

/// Where files come from.
pub struct From<'a> {
    /// A directory, or layers of which one is made.
    pub files: Files<'a>,
    /// For messages: `the build context`.
    pub called: String,
    /// Files keep their owners.
    pub owned: bool,
}

/// A directory, or layers of which one is made.
pub enum Files<'a> {
    /// The context.
    Directory(&'a Path),
    /// A stage or an image.
    Layers(&'a [PathBuf]),
}

/// Something to be put somewhere.
pub struct Putting<'a> {
    /// Which files.
    pub sources: &'a [Source],
    /// Archives among them are unpacked.
    pub unpack: bool,
    /// Files with names of their own, made before: fetched or written below the instruction. Whether each is unpacked, if it
    /// is an archive.
    pub further: Vec<(PathBuf, bool)>,
    /// Where to.
    pub to: &'a Destination,
}

impl<'a> Putting<'a> {
    /// Of a `COPY`.
    pub fn copied(copied: &'a Copied, work: &Work) -> Result<Self> {
        let further = inline(&copied.inline, work)?;
        Ok(Self { sources: &copied.sources, unpack: false, further, to: &copied.to })
    }

    /// Of an `ADD` whose other files have been fetched.
    pub fn added(added: &'a Added, fetched: &[Fetched], work: &Work) -> Result<Self> {
        let fetched = fetched.iter().map(|file| (file.path.clone(), file.unpack));
        let further = fetched.chain(inline(&added.inline, work)?).collect();
        Ok(Self { sources: &added.sources, unpack: added.unpack, further, to: &added.to })
    }
}

/// Files that stand below the instruction, each in a directory of its own.
fn inline(files: &[Inline], work: &Work) -> Result<Vec<(PathBuf, bool)>> {
    let mut made = Vec::new();
    for file in files {
        let path = work.directory()?.join(&file.name);
        let written = fs::write(&path, &file.content);
        let written = written.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(INLINE)));
        written.map_err(Error::io(about("write", &path)))?;
        made.push((path, false));
    }
    Ok(made)
}

/// Digest of what the sources are, of a root that is `called` so.
pub fn digest(root: &Root, sources: &[Source], (called, excludes, owners): (&str, &Ignore, bool)) -> Result<String> {
    let mut hash = Hashing::new(excludes, owners);
    for one in select(root, sources, called)? {
        hash.add(root, &one.path)?;
    }
    Ok(hash.finish())
}

/// A place for a layer: what is new lies in `upper`.
pub struct Fresh {
    upper: PathBuf,
    work: PathBuf,
    root: PathBuf,
    scratch: PathBuf,
}

impl Fresh {
    fn make(work: &Work) -> Result<Self> {
        let fresh = Self { upper: work.path(), work: work.directory()?, root: work.directory()?, scratch: work.directory()? };
        // It is the root directory that others see.
        let made = fs::DirBuilder::new().mode(0o755).create(&fresh.upper);
        made.map_err(Error::io(about("make", &fresh.upper)))?;
        Ok(fresh)
    }

    fn mount(&self, layers: &[PathBuf]) -> Result<Root> {
        let writable = Writable { upper: &self.upper, work: &self.work };
        view::overlay(layers, Some(&writable), (&self.root, &self.scratch))?;
        Root::open(&self.root)
    }

    fn upper(self) -> Upper {
        Upper { path: self.upper, ids: None }
    }
}

/// `WORKDIR`: makes a directory if it is missing.
pub fn workdir(layers: &[PathBuf], workdir: &Workdir, work: &Work) -> Result<Upper> {
    let fresh = Fresh::make(work)?;
    view::apart(|| {
        let root = fresh.mount(layers)?;
        let owner = if workdir.owner.is_empty() { Ids::default() } else { databases::ids(&root, &workdir.owner)? };
        root.make_directories(&root.resolve(&relative(&workdir.path))?, owner).map(drop)
    })?;
    Ok(fresh.upper())
}

/// `COPY` and `ADD`: puts files on top of layers.
pub fn put(site: &Site<'_>, layers: &[PathBuf], (from, putting): (&From<'_>, &Putting<'_>), work: &Work) -> Result<Upper> {
    let fresh = Fresh::make(work)?;
    let (scratch, view) = (work.directory()?, work.directory()?);
    view::apart(|| {
        let root = fresh.mount(layers)?;
        let owner = putting.to.owner.as_ref().map(|owner| databases::ids(&root, owner)).transpose()?;
        let origin = match from.files {
            Files::Directory(path) => Root::open(path)?,
            Files::Layers(layers) => {
                view::overlay(layers, None, (&view, &scratch))?;
                Root::open(&view)?
            }
        };
        let selected = select(&origin, putting.sources, &from.called)?;
        let placing = Placing::new(&root, &origin, (putting, selected.len()), (owner, from.owned))?;
        selected.iter().try_for_each(|one| placing.selected(one, (site, work)))?;
        putting.further.iter().try_for_each(|(file, unpack)| placing.further(file, *unpack, (site, work)))
    })?;
    Ok(fresh.upper())
}

/// Copies what layers have at a path into an empty directory, which becomes like that one.
pub fn out((layers, path): (&[PathBuf], &str), into: &Path, work: &Work) -> Result<()> {
    let (scratch, view) = (work.directory()?, work.directory()?);
    view::apart(|| {
        view::overlay(layers, None, (&view, &scratch))?;
        let (origin, path) = (Root::open(&view)?, relative(path));
        if !origin.look(&path)?.is_some_and(|stat| is_directory(&stat)) {
            return Ok(());
        }
        let from = origin.directory(&path).map_err(Error::errno(about("open", &path)))?;
        let (to, ignore) = (Root::open(into)?, Ignore::default());
        let mut copier = Copier::new(&to, Copying { ignore: &ignore, owner: None, mode: None });
        copier.content(from.as_fd(), Path::new(""))?;
        copier.finish_directory(from.as_fd(), Path::new(""))
    })
}

/// Where each file goes, and how.
struct Placing<'a> {
    root: &'a Root,
    origin: &'a Root,
    putting: &'a Putting<'a>,
    /// From the root, links followed.
    target: PathBuf,
    /// Files go into it under their own names.
    is_directory: bool,
    /// As asked for.
    asked: Option<Ids>,
    /// As for files that are copied.
    owner: Option<Ids>,
    ignore: Ignore,
}

impl<'a> Placing<'a> {
    fn new(
        root: &'a Root,
        origin: &'a Root,
        (putting, count): (&'a Putting<'a>, usize),
        (asked, owned): (Option<Ids>, bool),
    ) -> Result<Self> {
        let to = &putting.to.path;
        let target = root.resolve(&relative(to))?;
        let there = root.look(&target)?.is_some_and(|stat| is_directory(&stat));
        if count + putting.further.len() > 1 && !there && !to.ends_with('/') {
            return Err(Error::Wrong(format!("several files are to be copied, and {to} may be a file: write {to}/")));
        }
        let owner = asked.or((!owned).then(Ids::default));
        let ignore = putting.to.ignore();
        Ok(Self { root, origin, putting, target, is_directory: there || to.ends_with('/'), asked, owner, ignore })
    }

    fn copier(&self, owner: Option<Ids>) -> Copier<'_> {
        Copier::new(self.root, Copying { ignore: &self.ignore, owner, mode: self.putting.to.mode.as_ref() })
    }

    /// A file or directory of the origin.
    fn selected(&self, one: &Selected, at: (&Site<'_>, &Work)) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let opened = self.origin.open_in(&one.path, flags).map_err(Error::errno(about("open", &one.path)))?;
        let stat = fstat(&opened).map_err(Error::errno(about("look at", &one.path)))?;
        let mut copier = self.copier(self.owner);
        if let Some(kept) = &one.keep {
            return self.keep(kept, (&mut copier, opened, is_directory(&stat)));
        }
        if is_directory(&stat) {
            return copier.content(opened.as_fd(), &self.target);
        }
        let name = Path::new(one.path.file_name().unwrap_or_default());
        if self.ignore.ignores(&name.to_string_lossy()) {
            return Ok(());
        }
        let mut file = File::from(opened);
        if self.putting.unpack && self.unpack(&mut file, &one.path, at)? {
            return Ok(());
        }
        self.file(&mut copier, file, name)
    }

    fn file(&self, copier: &mut Copier<'_>, file: File, name: &Path) -> Result<()> {
        let to = if self.is_directory { self.target.join(name) } else { self.target.clone() };
        self.root.make_directories(to.parent().unwrap_or(Path::new("")), copier.owner())?;
        copier.file(file.into(), &to)
    }

    /// Unpacks an archive where it would have been copied to. False when it is none.
    fn unpack(&self, file: &mut File, shown: &Path, (site, work): (&Site<'_>, &Work)) -> Result<bool> {
        let layers: &dyn Layers = site.builder.tools.layers.as_ref();
        let Some(directory) = archive::unpacked(file, layers, (work, shown))? else { return Ok(false) };
        let from = Root::open(&directory)?.directory(Path::new("")).map_err(Error::errno(about("open", &directory)))?;
        // A directory that was missing is like any other; the one the archive was unpacked in is nobody else's to read.
        self.root.make_directories(&self.target, self.asked.unwrap_or_default())?;
        self.copier(self.asked).content(from.as_fd(), &self.target)?;
        Ok(true)
    }

    /// A file that was made before.
    fn further(&self, path: &Path, unpack: bool, at: (&Site<'_>, &Work)) -> Result<()> {
        let mut file = File::open(path).map_err(Error::io(about("open", path)))?;
        let name = Path::new(path.file_name().unwrap_or_default());
        if unpack && self.unpack(&mut file, name, at)? {
            return Ok(());
        }
        let owner = self.asked.unwrap_or_default();
        self.file(&mut self.copier(Some(owner)), file, name)
    }

    /// With `--parents`: directories above a file are like those it lies in.
    fn keep(&self, kept: &Kept, (copier, opened, directory): (&mut Copier<'_>, std::os::fd::OwnedFd, bool)) -> Result<()> {
        let above = kept.path.parent().unwrap_or(Path::new(""));
        self.root.make_directories(&self.target, copier.owner())?;
        let mut so_far = PathBuf::new();
        for part in above.iter() {
            so_far.push(part);
            let from = kept.below.join(&so_far);
            let from = self.origin.directory(&from).map_err(Error::errno(about("open", &from)))?;
            copier.like(from.as_fd(), &self.target.join(&so_far))?;
        }
        let to = self.target.join(&kept.path);
        if directory {
            return copier.content(opened.as_fd(), &to);
        }
        self.root.make_directories(to.parent().unwrap_or(Path::new("")), copier.owner())?;
        copier.file(opened, &to)
    }
}

/// Where the files of an origin are.
pub fn origin<'a>(site: &'a Site<'_>, origin: &Origin, layers: &'a [PathBuf]) -> Result<From<'a>> {
    Ok(match origin {
        Origin::Context => From {
            files: Files::Directory(&site.received.context),
            called: "the build context (or .dockerignore hides it)".to_owned(),
            owned: false,
        },
        Origin::Stage(id) => From { files: Files::Layers(layers), called: format!("stage {}", site.shown(*id)), owned: true },
        Origin::Image(name) => From { files: Files::Layers(layers), called: format!("image {name}"), owned: true },
        Origin::Scratch => From { files: Files::Layers(layers), called: "scratch, which is empty".to_owned(), owned: true },
    })
}

#[cfg(test)]
mod tests;
