//! The DNS server over loopback sockets, asked by messages of our own and by `dig`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use api::assignment::NameTable;
use base::supervise::Scope;
use edge::dns::{DnsServer, Options, Upstreams};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    sync::Arc,
    time::Duration,
};

fn table(entries: &[(&str, &[[u8; 4]])]) -> Arc<NameTable> {
    let names = entries.iter().map(|(name, list)| ((*name).to_owned(), list.iter().map(|a| Ipv4Addr::from(*a)).collect()));
    Arc::new(NameTable { names: names.collect(), ..NameTable::default() })
}

/// A server on a free port of 127.0.0.1 for `domain`, with these names.
async fn serve(scope: &Scope, domain: &str, upstreams: Upstreams, names: Arc<NameTable>) -> (DnsServer, SocketAddr) {
    let addresses = vec!["127.0.0.1:0".parse().unwrap()];
    let options = Options { addresses, domain: domain.into(), range: Some("10.88.0.0/16".parse().unwrap()), upstreams };
    let server = DnsServer::bind_with(options, scope).await.unwrap();
    server.set_names(names);
    let at = server.addresses()[0];
    (server, at)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// Asks by UDP.
async fn ask(at: SocketAddr, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    Scope::blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        socket.send_to(&bytes, at).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    })
    .await
    .unwrap()
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    message.answers.iter().map(|record| if let RData::A(a) = &record.data { a.0 } else { panic!("{record}") }).collect()
}

async fn dig(at: SocketAddr, arguments: &'static [&'static str]) -> String {
    Scope::blocking(move || {
        let mut command = Command::new("dig");
        command.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string(), "+tries=1", "+time=5"]).args(arguments);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn all_addresses_are_answered_each_time_beginning_with_another() {
    let scope = Scope::new();
    let names = table(&[("web", &[[10, 88, 1, 2], [10, 88, 2, 2], [10, 88, 3, 2]]), ("c1", &[[10, 88, 1, 9]])]);
    let (server, at) = serve(&scope, "internal", Upstreams::Fixed(vec![]), names).await;
    let mut firsts = BTreeSet::new();
    for _ in 0..3 {
        let answer = ask(at, &question("WEB.internal.", RecordType::A)).await;
        let all = addresses(&answer);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 3);
        assert!(answer.metadata.id == 4711 && answer.metadata.authoritative && answer.answers.iter().all(|r| r.ttl == 1));
        firsts.insert(all[0]);
    }
    assert_eq!(firsts.len(), 3);
    // A table is replaced as a whole: what is gone is not answered any more.
    server.set_names(table(&[("c2", &[[10, 88, 1, 10]])]));
    assert_eq!(ask(at, &question("c1.internal.", RecordType::A)).await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(addresses(&ask(at, &question("c2.internal.", RecordType::A)).await), [Ipv4Addr::new(10, 88, 1, 10)]);
    scope.stop();
    scope.ended().await.unwrap();
}

#[tokio::test]
async fn dig_finds_names_pointers_and_nothing_where_nothing_is() {
    let scope = Scope::new();
    let names = table(&[("web", &[[10, 88, 1, 2], [10, 88, 2, 2]]), ("web-1.web", &[[10, 88, 1, 2]])]);
    let (_server, at) = serve(&scope, "internal", Upstreams::Fixed(vec![]), names).await;
    assert_eq!(dig(at, &["+short", "web-1.web.internal"]).await, "10.88.1.2\n");
    assert_eq!(dig(at, &["+short", "web.internal"]).await.lines().count(), 2);
    assert_eq!(dig(at, &["+short", "-x", "10.88.1.2"]).await, "web-1.web.internal.\n");
    let nothing = dig(at, &["web.internal", "AAAA"]).await;
    assert!(
        nothing.contains("status: NOERROR") && nothing.contains("ANSWER: 0, AUTHORITY: 1") && nothing.contains("SOA"),
        "{nothing}"
    );
    let unknown = dig(at, &["nobody.internal"]).await;
    assert!(unknown.contains("status: NXDOMAIN") && unknown.contains("SOA"), "{unknown}");
    assert!(dig(at, &["-x", "10.88.7.7"]).await.contains("status: NXDOMAIN"));
    assert!(dig(at, &["example.org"]).await.contains("status: REFUSED"));
    assert!(dig(at, &["+edns=1", "+noednsneg", "web.internal"]).await.contains("status: BADVERS"));
    scope.stop();
}

#[tokio::test]
async fn a_hundred_addresses_are_cut_by_udp_and_whole_by_tcp() {
    let scope = Scope::new();
    let many: Vec<[u8; 4]> = (0..100).map(|i| [10, 88, 1, i]).collect();
    let (_server, at) = serve(&scope, "internal", Upstreams::Fixed(vec![]), table(&[("web", &many)])).await;
    let cut = ask(at, &question("web.internal.", RecordType::A)).await;
    assert!(cut.metadata.truncation && (20..100).contains(&cut.answers.len()));
    let mut with_edns = question("web.internal.", RecordType::A);
    with_edns.set_edns(Edns::new().set_max_payload(4096).clone());
    let longer = ask(at, &with_edns).await;
    assert!(longer.metadata.truncation && longer.answers.len() > cut.answers.len() && longer.edns.is_some());
    // dig tries TCP when it is told that there is more.
    let whole = dig(at, &["+short", "web.internal"]).await;
    assert_eq!(whole.lines().collect::<BTreeSet<_>>().len(), 100);
    assert_eq!(dig(at, &["+short", "+tcp", "+keepopen", "web.internal"]).await.lines().count(), 100);
    scope.stop();
}

#[tokio::test]
async fn the_rest_is_asked_of_others_in_turn() {
    let scope = Scope::new();
    let many: Vec<[u8; 4]> = (0..100).map(|i| [192, 0, 2, i]).collect();
    let (_other, other) =
        serve(&scope, "example", Upstreams::Fixed(vec![]), table(&[("www", &[[192, 0, 2, 1]]), ("many", &many)])).await;
    // Nobody listens at the first, the second refuses, the third knows.
    let silent: SocketAddr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_refusing, refusing) = serve(&scope, "elsewhere", Upstreams::Fixed(vec![]), table(&[])).await;
    let (_server, at) =
        serve(&scope, "internal", Upstreams::Fixed(vec![silent, refusing, other]), table(&[("c1", &[[10, 88, 1, 2]])])).await;
    let answer = ask(at, &question("www.example.", RecordType::A)).await;
    assert_eq!((addresses(&answer), answer.metadata.id), (vec![Ipv4Addr::new(192, 0, 2, 1)], 4711));
    assert_eq!(addresses(&ask(at, &question("c1.internal.", RecordType::A)).await), [Ipv4Addr::new(10, 88, 1, 2)]);
    assert!(dig(at, &["nobody.example"]).await.contains("status: NXDOMAIN"));
    assert_eq!(dig(at, &["+short", "many.example"]).await.lines().count(), 100);
    assert_eq!(ask(at, &question("www.unknown.", RecordType::A)).await.metadata.response_code, ResponseCode::Refused);
    scope.stop();
}

#[tokio::test]
async fn resolvers_are_read_again_when_their_file_changes_and_never_ourselves() {
    let scope = Scope::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("resolv.conf");
    fs::write(&file, "search example\n").unwrap();
    let addresses = vec!["127.0.77.1:53".parse().unwrap()];
    let options = Options { addresses, domain: "internal".into(), range: None, upstreams: Upstreams::File(file.clone()) };
    let server = DnsServer::bind_with(options, &scope).await.unwrap();
    let other = Options {
        addresses: vec!["127.0.77.2:53".parse().unwrap()],
        domain: "example".into(),
        range: None,
        upstreams: Upstreams::Fixed(vec![]),
    };
    let other = DnsServer::bind_with(other, &scope).await.unwrap();
    other.set_names(table(&[("www", &[[192, 0, 2, 1]])]));
    let at = server.addresses()[0];
    let code = || async { ask(at, &question("www.example.", RecordType::A)).await.metadata.response_code };
    assert_eq!(code().await, ResponseCode::Refused);
    // Before names are known nothing is said not to exist.
    assert_eq!(ask(at, &question("c1.internal.", RecordType::A)).await.metadata.response_code, ResponseCode::ServFail);
    fs::write(&file, "nameserver 127.0.77.1\n").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(code().await, ResponseCode::Refused);
    fs::write(&file, "nameserver 127.0.77.1\nnameserver 127.0.77.2\n").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(code().await, ResponseCode::NoError);
    scope.stop();
}

#[tokio::test]
async fn an_address_may_appear_later_but_not_be_taken() {
    let scope = Scope::new();
    let bind = |address: &str| DnsServer::bind(vec![address.parse().unwrap()], "internal".into(), &scope);
    let absent = bind("192.0.2.77:5300").await.unwrap();
    assert_eq!(absent.addresses()[0].ip(), IpAddr::from([192, 0, 2, 77]));
    let first = bind("127.0.0.1:0").await.unwrap();
    let error = bind(&first.addresses()[0].to_string()).await.err().unwrap();
    assert!(error.to_string().starts_with(&format!("cannot serve names at {}: ", first.addresses()[0])), "{error}");
    assert!(DnsServer::bind(vec![], "in..ternal".into(), &scope).await.is_err());
    scope.stop();
    scope.clone().ended().await.unwrap();
    // The sockets end with the scope.
    bind(&first.addresses()[0].to_string()).await.unwrap();
}

#[tokio::test]
async fn a_slow_resolver_holds_up_nobody_who_asks_for_what_we_know() {
    let scope = Scope::new();
    let slow = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstreams = Upstreams::Fixed(vec![slow.local_addr().unwrap()]);
    let (_server, at) = serve(&scope, "internal", upstreams, table(&[("c1", &[[10, 88, 1, 2]])])).await;
    let waiting = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bytes = question("slow.example.", RecordType::A).to_vec().unwrap();
    // More than may wait, in portions that a socket's buffer holds.
    for _ in 0..12 {
        (0..50).for_each(|_| assert!(waiting.send_to(&bytes, at).is_ok()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let start = base::env::instant();
    let rounds = 2000;
    let rate = Scope::blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(at).unwrap();
        let bytes = question("c1.internal.", RecordType::A).to_vec().unwrap();
        let mut buffer = [0; 512];
        let begun = base::env::instant();
        for _ in 0..rounds / 20 {
            (0..20).for_each(|_| assert!(socket.send(&bytes).is_ok()));
            (0..20).for_each(|_| assert!(socket.recv(&mut buffer).is_ok()));
        }
        f64::from(rounds) / begun.elapsed().as_secs_f64()
    });
    eprintln!("{:.0} answers a second (unoptimised build)", rate.await.unwrap());
    assert!(start.elapsed() < Duration::from_secs(4));
    // Those beyond the most are told at once, the others when patience ends.
    let codes = Scope::blocking(move || {
        waiting.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 512];
        let code = |length: usize, buffer: &[u8]| Message::from_vec(&buffer[..length]).unwrap().metadata.response_code;
        (0..600).map(|_| waiting.recv(&mut buffer).map(|length| code(length, &buffer)).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(codes.await.unwrap(), vec![ResponseCode::ServFail; 600]);
    scope.stop();
}
