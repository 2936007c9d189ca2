//! `COPY` and `ADD`: what, where to, and how.

use super::StageState;
use crate::{
    effect::{Added, Copied, Destination, Effect, Inline, Origin, Repository, Source, Url},
    error::Problem,
    expand,
    glob::Pattern,
    ignore::Ignore,
    instruction::{Adding, Copying, Files},
    mode::Mode,
    parse::files::{in_context, into_directory, is_remote},
    path,
};

/// What a fetched file is called when its URL has no name.
const UNNAMED: &str = "__unnamed__";

impl StageState {
    pub(super) fn copy(&mut self, copying: &Copying) -> Result<Effect, Problem> {
        let from = match &copying.from {
            Some(name) => self.scope.origin("COPY --from", name)?,
            None => Origin::Context,
        };
        let sources = self.sources("COPY", &copying.files)?;
        if let Some(url) = sources.iter().find(|source| is_remote(source)) {
            return Err(Problem::CopyUrl { url: url.clone() });
        }
        let sources = sources.iter().map(|text| source("COPY", &from, text, copying.parents)).collect::<Result<_, _>>()?;
        let (to, inline) = (self.destination("COPY", &copying.files)?, self.inline(&copying.files)?);
        Ok(Effect::Copy(Copied { from, sources, inline, to }))
    }

    pub(super) fn add(&mut self, adding: &Adding) -> Result<Effect, Problem> {
        let all = self.sources("ADD", &adding.files)?;
        let checksum = self.expand_optional(adding.checksum.as_ref())?;
        if checksum.is_some()
            && (all.len() != 1 || !all.iter().all(|source| is_remote(source)) || !adding.files.inline.is_empty())
        {
            return Err(Problem::ChecksumSource);
        }
        let (mut sources, mut urls, mut repositories) = (Vec::new(), Vec::new(), Vec::new());
        for text in all {
            if let Some(repository) = repository(&text, adding, checksum.as_ref()) {
                repositories.push(repository?);
            } else if is_remote(&text) {
                let checksum = checksum.clone().map(sha256).transpose()?;
                urls.push(Url { name: file_name(&text), url: text, checksum, unpack: adding.unpack.unwrap_or_default() });
            } else {
                sources.push(source("ADD", &Origin::Context, &text, false)?);
            }
        }
        let unpack = adding.unpack.unwrap_or(true);
        let (to, inline) = (self.destination("ADD", &adding.files)?, self.inline(&adding.files)?);
        Ok(Effect::Add(Added { sources, unpack, urls, repositories, inline, to }))
    }

    fn sources(&mut self, instruction: &'static str, files: &Files) -> Result<Vec<String>, Problem> {
        files.sources.iter().map(|source| self.expand_some(instruction, source)).collect()
    }

    fn destination(&mut self, instruction: &'static str, files: &Files) -> Result<Destination, Problem> {
        // As in Docker, an empty destination is the working directory.
        let to = self.expand(&files.to)?;
        into_directory(instruction, files.sources.len() + files.inline.len(), &to)?;
        let mode = self.expand_optional(files.mode.as_ref())?;
        Ignore::of(&files.excludes)?;
        Ok(Destination {
            path: path::from_directory(&self.config.working_dir, &to),
            owner: self.expand_optional(files.owner.as_ref())?,
            mode: mode.as_deref().map(Mode::parse).transpose()?,
            link: files.link,
            excludes: files.excludes.clone(),
        })
    }

    fn inline(&mut self, files: &Files) -> Result<Vec<Inline>, Problem> {
        let mut inline = Vec::new();
        for heredoc in &files.inline {
            let mut content = heredoc.chomped();
            if heredoc.expand {
                content = expand::heredoc(&content, &|name| self.variable(name))?;
            }
            self.spend(content.len())?;
            inline.push(Inline { name: heredoc.name.clone(), content });
        }
        Ok(inline)
    }
}

/// A source below its origin's root. With `--parents`, `/./` says below which directory directories are kept.
fn source(instruction: &'static str, from: &Origin, text: &str, parents: bool) -> Result<Source, Problem> {
    let inside = |text: &str| match from {
        Origin::Context => in_context(instruction, text),
        _ => Ok(path::rooted(text)),
    };
    let keep_below = match text.split_once("/./") {
        Some((above, _)) if parents => Some(inside(above)?),
        _ => parents.then(|| ".".to_owned()),
    };
    let path = inside(text)?;
    if parents { Pattern::deep(&path) } else { Pattern::flat(&path) }?;
    Ok(Source { path, keep_below })
}

/// A repository, if the source is one: `git://…`, `ssh://…`, `git@host:…`, or `https://….git`; behind `#` a reference and a directory.
fn repository(text: &str, adding: &Adding, checksum: Option<&String>) -> Option<Result<Repository, Problem>> {
    let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
    let http = url.starts_with("http://") || url.starts_with("https://");
    let path = url.split('?').next().unwrap_or_default();
    if !is_remote(text) || (http && !path.ends_with(".git")) {
        return None;
    }
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let hex = |text: &String| text.len() >= 7 && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(wrong) = checksum.filter(|text| !hex(text)) {
        return Some(Err(Problem::Commit { text: wrong.clone() }));
    }
    let directory = match some(directory).map(|directory| in_context("ADD", &directory)).transpose() {
        Ok(directory) => directory,
        Err(problem) => return Some(Err(problem)),
    };
    Some(Ok(Repository {
        url: url.to_owned(),
        reference: some(reference),
        directory,
        keep_git_dir: adding.keep_git_dir.unwrap_or_default(),
        checksum: checksum.cloned(),
    }))
}

fn sha256(text: String) -> Result<String, Problem> {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    let right = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if right { Ok(text.to_ascii_lowercase()) } else { Err(Problem::Checksum { text }) }
}

/// The last part of a URL's path, without what is escaped.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = unescaped(path.split_once('/').map_or("", |(_, path)| path));
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "." | "..") || name.contains('\0') { UNNAMED.to_owned() } else { name.to_owned() }
}

/// `%20` and its like resolved; what is no text afterwards stays as it is.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let value =
            digits.filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
