//! TLS 1.3 among ourselves: who is trusted, and what a refusal means in words.

use crate::identity::{Identity, Who};
use api::{Error, Name, Result, Timestamp};
use base::env;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier},
    time_provider::TimeProvider,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use std::{error::Error as StdError, io, net::SocketAddr, sync::Arc, time::Duration};

/// A server to connect to, and how.
pub(crate) struct Remote {
    pub address: SocketAddr,
    pub config: Arc<ClientConfig>,
    own: Option<Own>,
}

/// What a client knows of its own certificate.
struct Own {
    who: Who,
    expires: Timestamp,
}

impl Remote {
    /// A server of our cluster; this very one if a name is given.
    pub fn new(address: SocketAddr, identity: &Identity, expect: Option<Name>) -> Result<Self> {
        let trust = Trust::Authority(roots(identity.authority_der()?)?);
        let config = client(Verifier { trust, expect })?
            .with_client_auth_cert(vec![identity.certificate_der()?], identity.key_der()?)
            .map_err(|e| Error::failed(format!("certificate and key do not fit: {e}")))?;
        let own = Own { who: identity.who()?, expires: identity.expires()? };
        Ok(Self { address, config: without_resumption(config), own: Some(own) })
    }

    /// A server whose authority has this fingerprint; we have no certificate yet.
    pub fn pinned(address: SocketAddr, fingerprint: &str) -> Result<Self> {
        let config = client(Verifier { trust: Trust::Fingerprint(fingerprint.to_owned()), expect: None })?.with_no_client_auth();
        Ok(Self { address, config: without_resumption(config), own: None })
    }

    /// An expired certificate is refused by everybody: say so before asking.
    pub fn check_own(&self) -> Result<()> {
        match &self.own {
            Some(own) if own.expires.0 <= env::now_millis() => Err(own.expired()),
            _ => Ok(()),
        }
    }
}

impl Own {
    fn expired(&self) -> Error {
        let on = day(self.expires);
        Error::not_allowed(match &self.who {
            Who::User(name) => format!("the certificate of user {name} expired on {on}: ask an administrator for a new one"),
            _ => format!("the certificate of this server expired on {on}: run `roost join` again"),
        })
    }
}

/// What the servers of [`crate::server`] speak: our certificate with the authority's behind it (a joining server pins that
/// one); a client certificate is wanted, not needed, and a bad one is refused.
pub(crate) fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>> {
    let authority = identity.authority_der()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority.clone())?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::failed(format!("cannot use the authority's certificate: {e}")))?;
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| Error::failed(format!("cannot speak TLS 1.3: {e}")))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate_der()?, authority], identity.key_der()?)
        .map_err(|e| Error::failed(format!("certificate and key do not fit: {e}")))?;
    // A resumed session would skip the look at the client's certificate, which may have expired meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

type WantsClientCertificate = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn client(verifier: Verifier) -> Result<WantsClientCertificate> {
    Ok(ClientConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| Error::failed(format!("cannot speak TLS 1.3: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

fn without_resumption(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    // The names of servers are in their certificates; addresses tell an onlooker nothing new, but nobody needs them.
    config.enable_sni = false;
    Arc::new(config)
}

fn roots(authority: CertificateDer<'static>) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(|e| Error::failed(format!("cannot use the authority's certificate: {e}")))?;
    Ok(Arc::new(roots))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The house's clock for rustls.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(env::now_millis())))
    }
}

/// Accepts a server by its authority and its name in the certificate's subject, wherever it was reached.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    expect: Option<Name>,
}

#[derive(Debug)]
enum Trust {
    Authority(Arc<RootCertStore>),
    /// SHA-256 of the authority's certificate, hex; the server sends the certificate itself.
    Fingerprint(String),
}

/// The server is a member, but not the one that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("it is {is}, not server {expected}")]
struct WrongServer {
    is: Who,
    expected: Name,
}

impl Trust {
    fn roots(&self, chain: &[CertificateDer<'_>]) -> Result<Arc<RootCertStore>, rustls::Error> {
        let fingerprint = match self {
            Self::Authority(roots) => return Ok(Arc::clone(roots)),
            Self::Fingerprint(fingerprint) => fingerprint,
        };
        let pinned = chain.iter().find(|der| hex::encode(Sha256::digest(der)) == *fingerprint);
        let authority = pinned.ok_or(CertificateError::UnknownIssuer)?.clone().into_owned();
        roots(authority).map_err(|_| CertificateError::BadEncoding.into())
    }
}

impl Verifier {
    fn check_name(&self, leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let who = Who::from_certificate(leaf).map_err(|_| CertificateError::ApplicationVerificationFailure)?;
        match (&who, &self.expect) {
            (Who::Server { .. }, None) => Ok(()),
            (Who::Server { name, .. }, Some(expected)) if name == expected => Ok(()),
            (_, Some(expected)) => {
                let wrong = WrongServer { expected: expected.clone(), is: who };
                Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
            }
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let roots = self.trust.roots(chain)?;
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(&ParsedCertificate::try_from(leaf)?, &roots, &[], now, algorithms.all)?;
        self.check_name(leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed read, write or handshake means if TLS is the reason.
pub(crate) fn explain_io(error: &(dyn StdError + 'static), remote: &Remote) -> Option<Error> {
    let address = remote.address;
    Some(match find_tls(error)? {
        rustls::Error::InvalidCertificate(why) => explain_certificate(why, remote),
        rustls::Error::AlertReceived(alert) => explain_alert(*alert, remote),
        rustls::Error::InvalidMessage(_) => Error::unreachable(format!("what listens at {address} does not speak TLS"))
            .hint("is another program using roost's port there?"),
        other => Error::unreachable(format!("TLS with the server at {address} failed: {other}")),
    })
}

fn explain_certificate(why: &CertificateError, remote: &Remote) -> Error {
    let address = remote.address;
    match why {
        CertificateError::ExpiredContext { not_after, .. } => {
            let on = day(Timestamp(not_after.as_secs().saturating_mul(1000)));
            Error::not_allowed(format!("the certificate of the server at {address} expired on {on}"))
                .hint("run `roost join` again on it")
        }
        CertificateError::NotValidYetContext { .. } => {
            Error::not_allowed(format!("the certificate of the server at {address} is not valid yet"))
                .hint("compare the clocks of both servers")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature if remote.own.is_none() => {
            Error::not_allowed(format!("server at {address} does not belong to the cluster that the token is for"))
                .hint("make a new token on the cluster's manager: roost token create")
        }
        CertificateError::Other(OtherError(other)) if other.is::<WrongServer>() => {
            Error::unreachable(format!("server at {address} is another one: {other}"))
        }
        CertificateError::ApplicationVerificationFailure | CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Error::not_allowed(format!("server at {address} does not belong to this cluster"))
        }
        other => Error::not_allowed(format!("the certificate of the server at {address} is not accepted: {other}")),
    }
}

fn explain_alert(alert: AlertDescription, remote: &Remote) -> Error {
    let address = remote.address;
    match (alert, &remote.own) {
        (AlertDescription::CertificateExpired, Some(own)) => own.expired(),
        (AlertDescription::UnknownCA | AlertDescription::DecryptError | AlertDescription::BadCertificate, Some(_)) => {
            Error::not_allowed(format!("server at {address} refuses our certificate: it comes from another cluster"))
                .hint("run `roost join` with a token of that cluster")
        }
        _ => Error::not_allowed(format!("server at {address} refused the connection: {alert:?}")),
    }
}

/// Looks through a chain of causes; an `io::Error` hides its own from `source`.
fn find_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| cause.source());
    }
    None
}

fn day(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests;
