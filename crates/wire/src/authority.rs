//! The cluster's certificate authority: makes and signs certificates, whose subject the caller decides.

use crate::identity::Identity;
use api::{Error, Name, Result};
use base::env;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

/// How long an authority's certificate is valid. Replacing one touches every server, so it outlives most clusters.
pub const AUTHORITY_VALID: Duration = Duration::from_secs(3650 * 86_400);
/// Certificates begin this much before they are made, because clocks differ between servers.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// No certificate is made for longer than this, whatever is asked for; also keeps the date inside what X.509 can write.
const VALID_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A server of the cluster: may both call and be called.
    Server(Name),
    /// A person or program: may only call.
    User(Name),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(name) => write!(f, "server:{name}"),
            Self::User(name) => write!(f, "user:{name}"),
        }
    }
}

/// The cluster's authority: its certificate and its key (ECDSA P-256). Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    certificate: Arc<str>,
    der: CertificateDer<'static>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

/// When a certificate begins and ends, milliseconds since 1970.
pub(crate) struct Period {
    pub from: u64,
    pub until: u64,
}

impl Period {
    /// From a little before now, for this long.
    fn lasting(valid: Duration) -> Self {
        let now = env::now_millis();
        Self { from: now.saturating_sub(millis(CLOCK_SKEW)), until: now.saturating_add(millis(valid.min(VALID_MAX))) }
    }
}

impl Authority {
    /// A new authority for the cluster of this name, valid for [`AUTHORITY_VALID`].
    pub fn create(cluster: &str) -> Result<Self> {
        let key = KeyPair::generate().map_err(|e| failed("cannot make the authority's key", &e))?;
        let mut params = params(&format!("roost authority of {cluster}"), &Period::lasting(AUTHORITY_VALID));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(|e| failed("cannot make the authority's certificate", &e))?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem())
    }

    /// The authority kept as PEM. Fails if either text is damaged or the key belongs to another certificate.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key).map_err(|e| failed("cannot read the authority's key", &e))?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|e| failed("cannot read the authority's certificate", &e))?;
        if crate::identity::public_key(&der)? != key.subject_public_key_info() {
            return Err(Error::failed("the authority's key does not belong to its certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| failed("cannot read the authority's certificate", &e))?;
        Ok(Self { certificate: certificate.into(), der, issuer: Arc::new(issuer) })
    }

    /// The authority's certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The authority's private key, PEM. Whoever has it can be anybody.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// SHA-256 of the certificate's DER, hex: what a join token pins.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.der))
    }

    /// Makes a key and a certificate for it: the first server, users.
    pub fn issue(&self, subject: &Subject, valid: Duration, addresses: &[IpAddr]) -> Result<Identity> {
        self.issue_for(subject, &Period::lasting(valid), addresses)
    }

    pub(crate) fn issue_for(&self, subject: &Subject, period: &Period, addresses: &[IpAddr]) -> Result<Identity> {
        let key = KeyPair::generate().map_err(|e| failed("cannot make a key", &e))?;
        let certificate = self.certify(&key, &leaf(subject, period, addresses))?;
        Ok(Identity { certificate, key: key.serialize_pem(), authority: self.certificate.to_string() })
    }

    /// Signs the public key of a request (PEM). The subject decides; whatever else the request asks for is ignored.
    pub fn sign(&self, csr_pem: &str, subject: &Subject, valid: Duration, addresses: &[IpAddr]) -> Result<String> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|e| Error::usage(format!("the certificate signing request for {subject} cannot be used: {e}")))?;
        self.certify(&request.public_key, &leaf(subject, &Period::lasting(valid), addresses))
    }

    fn certify(&self, key: &impl PublicKeyData, params: &CertificateParams) -> Result<String> {
        let certificate = params.signed_by(key, &self.issuer).map_err(|e| failed("cannot sign a certificate", &e))?;
        Ok(certificate.pem())
    }
}

/// A new key and a request for a certificate of it: (CSR PEM, key PEM). The key never leaves the server.
pub fn request() -> Result<(String, String)> {
    let key = KeyPair::generate().map_err(|e| failed("cannot make a key", &e))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).and_then(|csr| csr.pem());
    Ok((csr.map_err(|e| failed("cannot make a certificate signing request", &e))?, key.serialize_pem()))
}

fn leaf(subject: &Subject, period: &Period, addresses: &[IpAddr]) -> CertificateParams {
    let mut params = params(&subject.to_string(), period);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match subject {
        Subject::Server(_) => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        Subject::User(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.subject_alt_names = addresses.iter().copied().map(SanType::IpAddress).collect();
    params.use_authority_key_identifier_extension = true;
    params
}

fn params(common_name: &str, period: &Period) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_millis(period.from);
    params.not_after = epoch + Duration::from_millis(period.until);
    // Positive and at most 20 octets (RFC 5280, section 4.1.2.2).
    let mut serial: [u8; 16] = env::random_bytes();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn failed(what: &str, error: &dyn std::error::Error) -> Error {
    Error::failed(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Who;
    use api::Kind;

    const DAY: Duration = Duration::from_secs(86_400);

    fn alice() -> Subject {
        Subject::User("alice".parse().unwrap())
    }

    #[test]
    fn an_authority_survives_being_kept() {
        let authority = Authority::create("test").unwrap();
        let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
        assert_eq!(again.fingerprint(), authority.fingerprint());
        assert_eq!(again.fingerprint().len(), 64);
        let other = Authority::create("test").unwrap();
        let error = Authority::from_pem(authority.certificate_pem(), &other.key_pem()).err().unwrap();
        assert_eq!(error.message, "the authority's key does not belong to its certificate");
    }

    #[test]
    fn the_subject_decides_not_the_request() {
        let authority = Authority::create("test").unwrap();
        let key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec!["manager.example".to_owned()]).unwrap();
        wish.distinguished_name.push(DnType::CommonName, "server:manager");
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let csr = wish.serialize_request(&key).unwrap().pem().unwrap();
        let certificate = authority.sign(&csr, &alice(), DAY, &[]).unwrap();
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        assert_eq!(Who::from_certificate(&der).unwrap(), Who::User("alice".parse().unwrap()));
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert!(!parsed.is_ca());
        assert!(parsed.subject_alternative_name().unwrap().is_none());
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        let authority = Authority::create("test").unwrap();
        let (csr, _) = request().unwrap();
        let middle = csr.len() / 2;
        let forged = format!("{}{}", &csr[..middle], csr[middle..].replacen('A', "B", 1));
        for text in ["", "hello", authority.certificate_pem(), &forged] {
            assert_eq!(authority.sign(text, &alice(), DAY, &[]).unwrap_err().kind, Kind::Usage, "{text}");
        }
    }

    #[test]
    fn certificates_begin_a_little_early_and_end_when_asked() {
        let authority = Authority::create("test").unwrap();
        let before = env::now_millis();
        let identity = authority.issue(&alice(), 90 * DAY, &[[10, 0, 0, 1].into()]).unwrap();
        let expires = identity.expires().unwrap().0;
        let wanted = before + millis(90 * DAY);
        assert!((wanted - 1000..wanted + 60_000).contains(&expires));
        let der = identity.certificate_der().unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let begins = u64::try_from(parsed.validity().not_before.timestamp()).unwrap();
        assert!(begins <= before / 1000 - 59);
        assert!(authority.issue(&alice(), Duration::MAX, &[]).is_ok());
    }
}
