//! Expiry, with certificates that have ended already.

use super::*;
use crate::{
    authority::{Authority, Period, Subject},
    client::Client,
    server,
};
use api::Kind;
use axum::{Router, routing::get};
use base::supervise::Scope;

/// 2001-09-09 01:46:40 UTC.
const ENDED: u64 = 1_000_000_000_000;

fn server_identity(authority: &Authority, name: &str, until: u64) -> Identity {
    authority.issue_for(&Subject::Server(name.parse().unwrap()), &Period { from: 0, until }, &[]).unwrap()
}

fn tomorrow() -> u64 {
    env::now_millis() + 86_400_000
}

async fn serve(identity: Identity) -> (SocketAddr, Scope) {
    let (scope, listener) = (Scope::new(), server::bind(([127, 0, 0, 1], 0).into()).await.unwrap());
    let (address, stop) = (listener.local_addr().unwrap(), scope.clone());
    let router = Router::new().route("/who", get(async |who: Who| axum::Json(who.to_string())));
    scope.component(
        "server",
        async move { server::serve_tls_on(router, listener, identity, stop).await.map_err(|e| e.to_string()) },
    );
    (address, scope)
}

#[tokio::test]
async fn the_server_refuses_an_expired_certificate_and_the_client_says_whose() {
    let authority = Authority::create("test").unwrap();
    let (address, scope) = serve(server_identity(&authority, "s1", tomorrow())).await;
    // Many times: the refusal arrives after the request has been sent and must not get lost in a reset connection.
    for _ in 0..20 {
        let mut remote = Remote::new(address, &server_identity(&authority, "s2", ENDED), None).unwrap();
        assert!(remote.check_own().is_err());
        // As if our clock were behind.
        remote.clock_is_behind();
        let client = Client::new(crate::client::Endpoint::Tls(remote));
        let error = client.send::<_, String>(http::Method::POST, "/who", &"x".repeat(3 << 20)).await.unwrap_err();
        assert_eq!(error.kind, Kind::NotAllowed);
        assert!(error.message.starts_with("the certificate of this server expired on "), "{error}");
    }
    scope.stop();
}

#[tokio::test]
async fn an_expired_server_is_named_with_its_day() {
    let authority = Authority::create("test").unwrap();
    let (address, scope) = serve(server_identity(&authority, "s1", ENDED)).await;
    let client = Client::tls(address, &server_identity(&authority, "s2", tomorrow())).unwrap();
    let error = client.get::<String>("/who").await.unwrap_err();
    assert_eq!(error.kind, Kind::NotAllowed);
    assert_eq!(error.message, format!("the certificate of the server at {address} expired on 2001-09-09 01:46 UTC"));
    scope.stop();
}

#[tokio::test]
async fn our_own_expiry_is_said_with_its_day() {
    let authority = Authority::create("test").unwrap();
    let client = Client::tls(([127, 0, 0, 1], 1).into(), &server_identity(&authority, "s2", ENDED)).unwrap();
    let error = client.get::<String>("/who").await.unwrap_err();
    assert_eq!(error.message, "the certificate of this server expired on 2001-09-09 01:46 UTC: run `roost join` again");
}

impl Remote {
    fn clock_is_behind(&mut self) {
        if let Some(own) = &mut self.own {
            own.expires = Timestamp(tomorrow());
        }
    }
}
