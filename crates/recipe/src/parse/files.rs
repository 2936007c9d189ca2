//! `COPY` and `ADD`.

use super::{
    Text,
    flags::{Flags, Takes},
    is_plain, simple,
};
use crate::{
    error::Problem,
    instruction::{Adding, Copying, Files, Verb},
    mode::Mode,
    mount::fixed,
    path,
    text::{
        heredoc::{self, Heredoc},
        words,
    },
};

pub fn copy(text: &Text<'_>) -> Result<Verb, Problem> {
    let flags = text.flags(
        "COPY",
        &[
            ("from", Takes::Text),
            ("chown", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Switch),
            ("parents", Takes::Switch),
            ("exclude", Takes::Texts),
        ],
    )?;
    let from = flags.text("from").map(|from| fixed("--from", &from)).transpose()?;
    let files = files("COPY", text, &flags)?;
    if let Some(url) = files.sources.iter().find(|source| is_remote(source)) {
        return Err(Problem::CopyUrl { url: url.clone() });
    }
    if from.is_none() {
        files.sources.iter().filter(|source| is_plain(source)).try_for_each(|source| in_context("COPY", source).map(|_| ()))?;
    }
    Ok(Verb::Copy(Copying { files, from, parents: flags.switch("parents").unwrap_or_default() }))
}

pub fn add(text: &Text<'_>) -> Result<Verb, Problem> {
    let flags = text.flags(
        "ADD",
        &[
            ("chown", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Switch),
            ("exclude", Takes::Texts),
            ("checksum", Takes::Text),
            ("keep-git-dir", Takes::Switch),
            ("unpack", Takes::Switch),
        ],
    )?;
    let files = files("ADD", text, &flags)?;
    let local = files.sources.iter().filter(|source| is_plain(source) && !is_remote(source));
    local.into_iter().try_for_each(|source| in_context("ADD", source).map(|_| ()))?;
    let (checksum, keep_git_dir, unpack) = (flags.text("checksum"), flags.switch("keep-git-dir"), flags.switch("unpack"));
    Ok(Verb::Add(Adding { files, checksum, keep_git_dir, unpack }))
}

fn files(instruction: &'static str, text: &Text<'_>, flags: &Flags) -> Result<Files, Problem> {
    let rest = text.rest(instruction, "a source and a destination")?;
    let json = words::exec_form(rest)?.is_some();
    let mut words = simple::list(rest)?;
    let to =
        words.pop().filter(|_| !words.is_empty()).ok_or_else(|| Problem::NoDestination { instruction, rest: rest.to_owned() })?;
    if !json && heredoc::announced(&to).is_some() {
        return Err(Problem::HeredocDestination { instruction });
    }
    let announces = |word: &String| !json && heredoc::announced(word).is_some();
    let named = |heredoc: &Heredoc| !heredoc.name.contains(['/', ' ', '\t']) && ![".", ".."].contains(&heredoc.name.as_str());
    // A form feed, say, parts words and yet does not join `<<` with a name behind it, as a blank does: it would be a source.
    let nameless = !text.heredocs.is_empty() && words.iter().any(|word| heredoc::lacks_name(word));
    let announced = words.iter().filter(|word| announces(word)).count();
    if nameless || announced != text.heredocs.len() || !text.heredocs.iter().all(named) {
        return Err(Problem::HeredocName { instruction });
    }
    words.retain(|word| !announces(word));
    let mode = flags.text("chmod");
    if let Some(mode) = mode.as_deref().filter(|mode| is_plain(mode)) {
        Mode::parse(mode)?;
    }
    let files = Files {
        sources: words,
        inline: text.heredocs.to_vec(),
        to,
        owner: flags.text("chown"),
        mode,
        link: flags.switch("link").unwrap_or_default(),
        excludes: flags.texts("exclude").map(str::to_owned).collect(),
    };
    if is_plain(&files.to) {
        into_directory(instruction, files.sources.len() + files.inline.len(), &files.to)?;
    }
    Ok(files)
}

/// Refuses several sources and a destination that may be a file.
pub fn into_directory(instruction: &'static str, sources: usize, to: &str) -> Result<(), Problem> {
    if sources > 1 && !path::is_directory(to) {
        return Err(Problem::SeveralSources { instruction, to: to.to_owned() });
    }
    Ok(())
}

/// The source below the context's root. Refuses what climbs out.
pub fn in_context(instruction: &'static str, source: &str) -> Result<String, Problem> {
    path::inside(source).ok_or_else(|| Problem::OutsideContext { instruction, path: source.to_owned() })
}

/// Whether a source is fetched from elsewhere.
pub fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|prefix| source.starts_with(prefix))
}
