//! Who gets in, and what the others are told.

use crate::harness::{Cluster, DAY, loopback, name, router};
use api::{Kind, Result};
use base::supervise::Scope;
use std::{net::SocketAddr, time::Duration};
use tokio::io::AsyncWriteExt as _;
use wire::{
    client::Client,
    identity::{Authority, Subject},
    server,
};

async fn who(client: &Client) -> Result<String> {
    client.get("/who").await
}

#[tokio::test]
async fn members_are_known_by_their_certificates() {
    let cluster = Cluster::new().await;
    let s2 = cluster.server("s2");
    let client = Client::tls(cluster.address, &s2).unwrap();
    assert_eq!(who(&client).await.unwrap(), "server s2");
    assert_eq!(client.get::<String>("/fingerprint").await.unwrap(), s2.fingerprint().unwrap());
    let peer: SocketAddr = client.get("/peer").await.unwrap();
    assert!(peer.ip().is_loopback());
    let alice = cluster.authority.issue(&Subject::User(name("alice")), DAY, &[]).unwrap();
    assert_eq!(who(&Client::tls(cluster.address, &alice).unwrap()).await.unwrap(), "user alice");
}

#[tokio::test]
async fn a_server_that_joins_is_nobody_and_leaves_as_a_member() {
    let cluster = Cluster::new().await;
    let client = Client::join(&cluster.token()).unwrap();
    assert_eq!(who(&client).await.unwrap(), "somebody without a certificate");
    let (csr, key) = wire::identity::request().unwrap();
    let certificate = cluster.authority.sign(&csr, &Subject::Server(name("s9")), DAY, &[]).unwrap();
    let authority = cluster.authority.certificate_pem().to_owned();
    let identity = wire::identity::Identity { certificate, key, authority };
    assert_eq!(who(&Client::tls(cluster.address, &identity).unwrap()).await.unwrap(), "server s9");
}

#[tokio::test]
async fn a_token_for_another_authority_is_refused_by_the_one_who_joins() {
    let cluster = Cluster::new().await;
    let mut token = cluster.token();
    token.authority = Authority::create("test").unwrap().fingerprint();
    let error = who(&Client::join(&token).unwrap()).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotAllowed);
    assert_eq!(error.message, format!("server at {} does not belong to the cluster that the token is for", cluster.address));
}

#[tokio::test]
async fn a_server_of_another_cluster_is_refused() {
    let cluster = Cluster::new().await;
    for cluster_name in ["test", "elsewhere"] {
        let foreign = Authority::create(cluster_name).unwrap().issue(&Subject::Server(name("s2")), DAY, &[]).unwrap();
        let error = who(&Client::tls(cluster.address, &foreign).unwrap()).await.unwrap_err();
        assert_eq!(error.message, format!("server at {} does not belong to this cluster", cluster.address));
    }
}

#[tokio::test]
async fn a_certificate_of_another_cluster_is_refused_by_the_server() {
    let cluster = Cluster::new().await;
    for cluster_name in ["test", "elsewhere"] {
        let mut foreign = Authority::create(cluster_name).unwrap().issue(&Subject::Server(name("s2")), DAY, &[]).unwrap();
        foreign.authority = cluster.authority.certificate_pem().to_owned();
        let error = who(&Client::tls(cluster.address, &foreign).unwrap()).await.unwrap_err();
        let expected = format!("server at {} refuses our certificate: it comes from another cluster", cluster.address);
        assert_eq!((error.kind, error.message), (Kind::NotAllowed, expected));
    }
}

#[tokio::test]
async fn a_user_cannot_pose_as_a_server() {
    let authority = Authority::create("test").unwrap();
    let mallory = authority.issue(&Subject::User(name("mallory")), DAY, &[]).unwrap();
    let cluster = Cluster::serving(authority, mallory, router(Scope::new())).await;
    let error = who(&cluster.client()).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotAllowed);
    assert!(error.message.contains(&format!("the server at {}", cluster.address)), "{error}");
}

#[tokio::test]
async fn the_server_asked_for_must_be_the_one_that_answers() {
    let cluster = Cluster::new().await;
    let identity = cluster.server("s2");
    let right = Client::tls_to(cluster.address, &identity, &name("s1")).unwrap();
    assert_eq!(who(&right).await.unwrap(), "server s2");
    let wrong = Client::tls_to(cluster.address, &identity, &name("s3")).unwrap();
    let error = who(&wrong).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable);
    assert_eq!(error.message, format!("server at {} is another one: it is server s1, not server s3", cluster.address));
}

#[tokio::test]
async fn an_expired_certificate_of_ours_is_named_before_anything_is_sent() {
    let authority = Authority::create("test").unwrap();
    let server = authority.issue(&Subject::Server(name("s2")), Duration::ZERO, &[]).unwrap();
    // Nobody listens there: it must not even be tried.
    let error = who(&Client::tls(SocketAddr::from(([127, 0, 0, 1], 1)), &server).unwrap()).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotAllowed);
    assert!(error.message.starts_with("the certificate of this server expired on 20"), "{error}");
    assert!(error.message.ends_with(" UTC: run `roost join` again"), "{error}");
    let user = authority.issue(&Subject::User(name("alice")), Duration::ZERO, &[]).unwrap();
    let error = who(&Client::tls(SocketAddr::from(([127, 0, 0, 1], 1)), &user).unwrap()).await.unwrap_err();
    assert!(error.message.starts_with("the certificate of user alice expired on 20"), "{error}");
}

#[tokio::test]
async fn refused_connections_and_strangers_are_told_apart() {
    let cluster = Cluster::new().await;
    let free = server::bind(loopback()).await.unwrap().local_addr().unwrap();
    let error = who(&Client::tls(free, &cluster.server("s2")).unwrap()).await.unwrap_err();
    assert_eq!((error.kind, error.message), (Kind::Unreachable, format!("server at {free} refuses connections")));

    let stranger = server::bind(loopback()).await.unwrap();
    let address = stranger.local_addr().unwrap();
    let scope = Scope::new();
    scope.job(async move {
        while let Ok((mut stream, _)) = stranger.accept().await {
            stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.ok();
        }
    });
    let error = who(&Client::tls(address, &cluster.server("s2")).unwrap()).await.unwrap_err();
    assert_eq!((error.kind, error.message), (Kind::Unreachable, format!("what listens at {address} does not speak TLS")));
    scope.stop();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = server::bind(loopback()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = server::bind(address).await.unwrap_err();
    assert_eq!((error.kind, error.message), (Kind::Conflict, format!("cannot listen at {address}: another program does")));
}
