//! Who somebody is: certificate and key kept on disk, and the caller read off a verified certificate.

pub use crate::authority::{Authority, Subject, request};

use api::{Error, Name, Result, Timestamp};
use axum::{extract::FromRequestParts, http::request::Parts};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use std::{
    convert::Infallible,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// File of an identity inside its directory. One file, so that certificate and key are replaced together or not at all.
pub const FILE: &str = "identity.pem";

/// Certificate, private key and the authority that vouches for it; all PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate.
    pub certificate: String,
    /// Private key, PKCS #8.
    pub key: String,
    /// Certificate of the cluster's authority.
    pub authority: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the identity kept in this directory. [`api::Kind::NotFound`] if there is none.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::not_found(format!("there is no identity in {}", dir.display()))
                .hint("begin a cluster with `roost up`, or join one with `roost join`"),
            _ => Error::failed(format!("cannot read {}: {e}", path.display())),
        })?;
        Self::split(&text).ok_or_else(|| {
            Error::failed(format!("{} is damaged: it should hold a certificate, a key and an authority", path.display()))
                .hint("run `roost join` again")
        })
    }

    /// Keeps the identity in this directory, which is made if need be (mode 0700): atomically, readable by root only (0600).
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        self.write(dir, &path).map_err(|e| Error::failed(format!("cannot write {}: {e}", path.display())))
    }

    fn write(&self, dir: &Path, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let new = dir.join(format!(".{FILE}.{}", std::process::id()));
        fs::remove_file(&new).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
        let kept = Self::fill(&new, &self.join()).and_then(|()| fs::rename(&new, path));
        if kept.is_err() {
            fs::remove_file(&new).ok();
        }
        kept.and_then(|()| File::open(dir)?.sync_all())
    }

    fn fill(path: &PathBuf, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    fn join(&self) -> String {
        [&self.certificate, &self.key, &self.authority].map(|part| part.trim().to_owned() + "\n").concat()
    }

    fn split(text: &str) -> Option<Self> {
        let mut parts = vec![String::new()];
        for line in text.lines() {
            if let Some(part) = parts.last_mut() {
                part.extend([line, "\n"]);
            }
            if line.starts_with("-----END ") {
                parts.push(String::new());
            }
        }
        parts.pop();
        let [certificate, key, authority] = <[String; 3]>::try_from(parts).ok()?;
        let identity = Self { certificate, key, authority };
        identity.check().then_some(identity)
    }

    fn check(&self) -> bool {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).is_ok()
            && PrivateKeyDer::from_pem_slice(self.key.as_bytes()).is_ok()
            && CertificateDer::from_pem_slice(self.authority.as_bytes()).is_ok()
    }

    /// SHA-256 of the public key (SPKI), hex: stays the same when a certificate is renewed for the same key.
    pub fn fingerprint(&self) -> Result<String> {
        fingerprint(&self.certificate)
    }

    /// When the certificate ends.
    pub fn expires(&self) -> Result<Timestamp> {
        let der = self.certificate_der()?;
        let seconds = parse(&der)?.validity().not_after.timestamp();
        Ok(Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)))
    }

    /// Who this is to others.
    pub fn who(&self) -> Result<Who> {
        Who::from_certificate(&self.certificate_der()?)
    }

    pub(crate) fn certificate_der(&self) -> Result<CertificateDer<'static>> {
        certificate_der(&self.certificate)
    }

    pub(crate) fn key_der(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|e| Error::failed(format!("cannot read the key: {e}")))
    }

    pub(crate) fn authority_der(&self) -> Result<CertificateDer<'static>> {
        certificate_der(&self.authority)
    }
}

/// Who makes a request; the servers of [`crate::server`] put it into every request's extensions. Also an axum extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Root on this machine, through the Unix socket.
    Root,
    /// A server of the cluster.
    Server {
        /// Its name.
        name: Name,
        /// SHA-256 of its public key, hex.
        fingerprint: String,
    },
    /// A user with a certificate.
    User(Name),
    /// TLS without a client certificate.
    Nobody,
}

impl Who {
    /// Reads a *verified* certificate.
    pub(crate) fn from_certificate(der: &[u8]) -> Result<Self> {
        let certificate = parse(der)?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next().and_then(|cn| cn.as_str().ok()).unwrap_or_default();
        match common_name.split_once(':') {
            Some(("server", name)) => Ok(Self::Server { name: Name::parse("server", name)?, fingerprint: key_fingerprint(der)? }),
            Some(("user", name)) => Ok(Self::User(Name::parse("user", name)?)),
            _ => Err(Error::not_allowed(format!("a certificate for {common_name:?} is neither a server's nor a user's"))),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Server { name, .. } => write!(f, "server {name}"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Nobody => f.write_str("somebody without a certificate"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or(Self::Nobody))
    }
}

/// SHA-256 of the public key (SPKI) in a certificate (PEM), hex: what [`Who::Server`] carries.
pub fn fingerprint(certificate_pem: &str) -> Result<String> {
    key_fingerprint(&certificate_der(certificate_pem)?)
}

fn certificate_der(pem: &str) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| Error::failed(format!("cannot read a certificate: {e}")))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|e| Error::failed(format!("cannot read a certificate: {e}")))
}

/// The certificate's public key with its algorithm (SPKI), DER.
pub(crate) fn public_key(der: &[u8]) -> Result<Vec<u8>> {
    Ok(parse(der)?.public_key().raw.to_vec())
}

fn key_fingerprint(der: &[u8]) -> Result<String> {
    Ok(hex::encode(Sha256::digest(public_key(der)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    fn identity() -> Identity {
        let authority = Authority::create("test").unwrap();
        authority.issue(&Subject::Server("s1".parse().unwrap()), Duration::from_secs(60), &[]).unwrap()
    }

    #[test]
    fn is_kept_for_root_alone_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state/identity");
        let (first, second) = (identity(), identity());
        first.save(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        second.save(&dir).unwrap();
        assert_eq!(fs::metadata(dir.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let loaded = Identity::load(&dir).unwrap();
        assert_eq!(loaded.fingerprint().unwrap(), second.fingerprint().unwrap());
        assert_ne!(loaded.fingerprint().unwrap(), first.fingerprint().unwrap());
        assert_eq!(loaded.key.trim(), second.key.trim());
        assert_eq!(loaded.authority.trim(), second.authority.trim());
        assert_eq!(loaded.who().unwrap().to_string(), "server s1");
    }

    #[test]
    fn a_missing_one_and_a_damaged_one_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap_err().kind, Kind::NotFound);
        identity().save(dir.path()).unwrap();
        let file = dir.path().join(FILE);
        let whole = fs::read_to_string(&file).unwrap();
        for cut in [0, 10, whole.len() / 2, whole.len() - 30] {
            fs::write(&file, &whole[..cut]).unwrap();
            let error = Identity::load(dir.path()).unwrap_err();
            assert!(error.message.ends_with("is damaged: it should hold a certificate, a key and an authority"), "{error}");
        }
    }

    #[test]
    fn the_key_is_not_printed() {
        let identity = identity();
        assert!(!format!("{identity:?}").contains("PRIVATE"));
    }
}
