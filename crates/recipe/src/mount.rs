//! `RUN --mount`: what is only there while the command runs.

use crate::{error::Problem, parse::is_plain, suggest};

const TYPES: [&str; 5] = ["bind", "cache", "secret", "ssh", "tmpfs"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];
/// Every key, with the name it goes by here.
const KEYS: [(&str, &str); 19] = [
    ("type", "type"),
    ("from", "from"),
    ("source", "source"),
    ("src", "source"),
    ("target", "target"),
    ("dst", "target"),
    ("destination", "target"),
    ("readonly", "ro"),
    ("ro", "ro"),
    ("readwrite", "rw"),
    ("rw", "rw"),
    ("id", "id"),
    ("sharing", "sharing"),
    ("required", "required"),
    ("size", "size"),
    ("mode", "mode"),
    ("uid", "uid"),
    ("gid", "gid"),
    ("env", "env"),
];

/// What kind of mount it is, and which keys it understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// A secret, as a file or a variable.
    Secret,
    /// Memory.
    Tmpfs,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Secret => "secret",
            Self::Tmpfs => "tmpfs",
        }
    }

    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Bind => &["target", "source", "from", "ro", "rw"],
            Self::Cache => &["target", "id", "ro", "rw", "sharing", "from", "source", "mode", "uid", "gid"],
            Self::Secret => &["id", "source", "target", "env", "required", "mode", "uid", "gid", "ro", "rw"],
            Self::Tmpfs => &["target", "size", "ro", "rw"],
        }
    }
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// Each writer has a cache of their own.
    Private,
    /// One at a time; others wait.
    Locked,
}

/// A mount as asked for: checked, but not yet seen from the directory the command runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// What kind.
    pub kind: Type,
    /// A stage or an image.
    pub from: Option<String>,
    /// A path in it, or the secret's name.
    pub source: Option<String>,
    /// A path in the container; the directory the command runs in, when nothing is said.
    pub target: Option<String>,
    /// Cannot be written.
    pub read_only: bool,
    /// Name of a cache or of a secret.
    pub id: Option<String>,
    /// Of a cache.
    pub sharing: Sharing,
    /// Of a secret: without it, the build fails.
    pub required: bool,
    /// Of memory, in bytes.
    pub size: Option<u64>,
    /// Permissions.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Owner's group.
    pub gid: Option<u32>,
    /// Variable that gets the secret.
    pub env: Option<String>,
}

/// Judges a mount as written, as far as that is possible before variables are known.
pub fn check(text: &str) -> Result<(), Problem> {
    if is_plain(text) { read(text, &|value| Ok(value.to_owned())).map(|_| ()) } else { from(text).map(|_| ()) }
}

/// The stage or image that a mount is from. It must not depend on variables, for it decides what has to be built.
pub fn from(text: &str) -> Result<Option<String>, Problem> {
    let mut from = None;
    for field in fields(text) {
        if let Some((key, value)) = field.split_once('=')
            && key.eq_ignore_ascii_case("from")
        {
            from = Some(fixed("--mount=from", value)?);
        }
    }
    Ok(from)
}

/// Refuses variables where none are possible.
pub fn fixed(what: &'static str, value: &str) -> Result<String, Problem> {
    if value.is_empty() {
        Err(Problem::EmptyFrom { what })
    } else if value.contains('$') {
        Err(Problem::VariableFrom { what, value: value.to_owned() })
    } else {
        Ok(value.to_owned())
    }
}

/// Expands the variables of a value.
pub type Expand<'a> = &'a dyn Fn(&str) -> Result<String, Problem>;

/// Reads a mount.
pub fn read(text: &str, expand: Expand<'_>) -> Result<Asked, Problem> {
    let mut values: Vec<(&'static str, Option<String>)> = Vec::new();
    for field in fields(text) {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let key = known(key, text)?;
        let value = match value {
            Some(value) if key == "from" => Some(fixed("--mount=from", value)?),
            Some(value) => Some(expand(value)?),
            None if ["ro", "rw", "required"].contains(&key) => None,
            None => return Err(Problem::MountValue { key }),
        };
        if values.iter().any(|(other, _)| *other == key) {
            return Err(Problem::MountTwice { key });
        }
        values.push((key, value));
    }
    let text = |key: &str| values.iter().find(|(known, _)| *known == key).and_then(|(_, value)| value.clone());
    let kind = kind(text("type").as_deref())?;
    if let Some((key, _)) = values.iter().find(|(key, _)| *key != "type" && !kind.keys().contains(key)) {
        return Err(Problem::MountKey { key, kind: kind.name() });
    }
    let switch = |key: &'static str| match values.iter().find(|(known, _)| *known == key) {
        None => Ok(None),
        Some((_, None)) => Ok(Some(true)),
        Some((_, Some(value))) => truth(key, value).map(Some),
    };
    let writable = switch("rw")?.or(switch("ro")?.map(|ro| !ro)).unwrap_or(matches!(kind, Type::Cache | Type::Tmpfs));
    let asked = Asked {
        kind,
        from: text("from"),
        source: text("source"),
        target: text("target"),
        read_only: !writable,
        id: text("id"),
        sharing: sharing(text("sharing"))?,
        required: switch("required")?.unwrap_or_default(),
        size: text("size").map(|size| bytes(&size)).transpose()?,
        mode: number("mode", text("mode"), 8)?,
        uid: number("uid", text("uid"), 10)?,
        gid: number("gid", text("gid"), 10)?,
        env: text("env"),
    };
    complete(asked)
}

/// Refuses what lacks something.
fn complete(asked: Asked) -> Result<Asked, Problem> {
    match asked.kind {
        Type::Secret if asked.id.is_some() && asked.source.is_some() => Err(Problem::SecretTwice),
        Type::Secret if asked.id.is_none() && asked.source.is_none() && asked.target.is_none() => Err(Problem::SecretNameless),
        Type::Secret => Ok(asked),
        _ => Ok(asked),
    }
}

/// Fields between commas; double quotes around a field hide commas, two of them inside are one.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

fn known(key: &str, text: &str) -> Result<&'static str, Problem> {
    let small = key.to_ascii_lowercase();
    KEYS.iter().find(|(written, _)| *written == small).map(|(_, name)| *name).ok_or_else(|| {
        let hint = suggest::hint(key, "there are", &KEYS.map(|(written, _)| written));
        Problem::MountUnknownKey { key: key.to_owned(), text: text.to_owned(), hint }
    })
}

fn kind(text: Option<&str>) -> Result<Type, Problem> {
    match text.unwrap_or("bind").to_ascii_lowercase().as_str() {
        "bind" => Ok(Type::Bind),
        "cache" => Ok(Type::Cache),
        "secret" => Ok(Type::Secret),
        "tmpfs" => Ok(Type::Tmpfs),
        "ssh" => Err(Problem::NoSsh),
        other => {
            let hint = suggest::hint(other, "there are", &TYPES);
            Err(Problem::UnknownValue { what: "--mount=type", value: other.to_owned(), hint })
        }
    }
}

fn sharing(text: Option<String>) -> Result<Sharing, Problem> {
    match text.as_deref().unwrap_or("shared") {
        "shared" => Ok(Sharing::Shared),
        "private" => Ok(Sharing::Private),
        "locked" => Ok(Sharing::Locked),
        other => {
            let hint = suggest::hint(other, "there are", &SHARINGS);
            Err(Problem::UnknownValue { what: "--mount=sharing", value: other.to_owned(), hint })
        }
    }
}

fn truth(key: &'static str, value: &str) -> Result<bool, Problem> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(Problem::MountNumber { key, value: value.to_owned(), right: "true or false" }),
    }
}

fn number(key: &'static str, value: Option<String>, radix: u32) -> Result<Option<u32>, Problem> {
    let right = if radix == 8 { "octal digits, as in 0400" } else { "a number, as in 1000" };
    let parse = |value: String| {
        let digits = !value.is_empty() && value.chars().all(|c| c.is_digit(radix));
        let number = u32::from_str_radix(&value, radix).ok().filter(|number| digits && (radix != 8 || *number <= 0o7777));
        number.ok_or(Problem::MountNumber { key, value, right })
    };
    value.map(parse).transpose()
}

fn bytes(value: &str) -> Result<u64, Problem> {
    let size = value.parse::<api::Bytes>();
    size.map(|size| size.0).map_err(|_| Problem::MountNumber { key: "size", value: value.to_owned(), right: "a size, as in 64M" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Asked, String> {
        read(text, &|value| Ok(value.to_owned())).map_err(|problem| problem.to_string())
    }

    #[test]
    fn all_keys() {
        let bind = asked("target=/src,source=a,from=build,rw").unwrap();
        assert_eq!((bind.kind, bind.read_only, bind.from.as_deref()), (Type::Bind, false, Some("build")));
        assert!(asked("type=bind,dst=.").unwrap().read_only);
        assert!(!asked("target=.,readonly=false").unwrap().read_only);
        let cache = asked("type=cache,target=/root/.cache,id=pip,sharing=locked,mode=0700,uid=5,gid=6,ro=true").unwrap();
        assert_eq!((cache.kind, cache.sharing, cache.mode, cache.read_only), (Type::Cache, Sharing::Locked, Some(0o700), true));
        let secret = asked("type=secret,id=npm,env=TOKEN,required").unwrap();
        assert_eq!((secret.kind, secret.required, secret.env.as_deref()), (Type::Secret, true, Some("TOKEN")));
        let tmpfs = asked("TYPE=tmpfs,destination=/tmp,size=64m").unwrap();
        assert_eq!((tmpfs.kind, tmpfs.size, tmpfs.read_only), (Type::Tmpfs, Some(64 << 20), false));
        assert_eq!(asked("\"target=/a,b\",\"source=c\"\"d\"").unwrap().source.as_deref(), Some("c\"d"));
    }

    #[test]
    fn refusals() {
        let says = |text: &str| asked(text).unwrap_err();
        assert_eq!(
            says("type=ssh"),
            "--mount=type=ssh hands on somebody's SSH agent, which Roost does not do: mount a key as a secret, or fetch before the build"
        );
        assert_eq!(says("type=cach,target=/x"), "--mount=type cach is unknown: did you mean cache?");
        assert_eq!(says("targt=/x"), "--mount has no key targt: did you mean target?");
        assert_eq!(says("type=tmpfs,target=/x,id=y"), "--mount=type=tmpfs does not take id");
        assert_eq!(says("type=secret"), "--mount=type=secret does not say which: add id=…");
        assert_eq!(says("type=secret,id=a,source=b"), "--mount=type=secret has id and source, which mean the same: remove one");
        assert_eq!(
            says("target=/x,from=$y"),
            "--mount=from=$y depends on a variable, which decides too late: write FROM $y AS name above, and use the name"
        );
        assert_eq!(says("target=/x,from="), "--mount=from is empty: name a stage or an image");
        assert_eq!(says("target=/x,target=/y"), "--mount has target twice: remove one");
        assert_eq!(says("target"), "--mount: target needs a value: write target=…");
        assert_eq!(says("type=cache,target=/x,mode=9"), "--mount: mode=9 is wrong: write octal digits, as in 0400");
        assert_eq!(says("type=cache,target=/x,uid=+9"), "--mount: uid=+9 is wrong: write a number, as in 1000");
        assert_eq!(says("target=/x,ro=maybe"), "--mount: ro=maybe is wrong: write true or false");
        assert_eq!(says("type=tmpfs,target=/x,size=big"), "--mount: size=big is wrong: write a size, as in 64M");
        assert_eq!(says("type=cache,target=/x,sharing=lock"), "--mount=sharing lock is unknown: did you mean locked?");
    }
}
