//! Sockets: questions in, answers out. What we know is answered in the loop itself; only what others must answer becomes a job.

use super::{
    Shared,
    answer::{HEADER, Transport, Verdict, judge, refusal},
};
use base::supervise::Scope;
use hickory_proto::op::ResponseCode;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Longest question taken by UDP, in bytes.
const QUESTION_MAX: usize = 4096;
/// TCP connections at once, per address.
const CONNECTIONS_MAX: usize = 128;
/// Questions on one connection.
const QUESTIONS_PER_CONNECTION: usize = 1000;
/// A connection may be silent for this long (RFC 7766, 6.2.3: "a few seconds").
const IDLE: Duration = Duration::from_secs(10);
/// Pause after a socket error, so that a lasting one does not take a processor.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Starts serving one address.
pub fn start(udp: std::net::UdpSocket, tcp: std::net::TcpListener, shared: &Arc<Shared>, scope: &Scope) -> io::Result<()> {
    let udp = Arc::new(UdpSocket::from_std(udp)?);
    let tcp = TcpListener::from_std(tcp)?;
    scope.component("dns over udp", serve_udp(udp, Arc::clone(shared), scope.clone()));
    scope.component("dns over tcp", serve_tcp(tcp, Arc::clone(shared), scope.clone()));
    Ok(())
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>, scope: Scope) -> Result<(), String> {
    let mut buffer = vec![0; QUESTION_MAX];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "receive a question");
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let question = &buffer[..length];
        match judge(&shared.zone(), question, Transport::Udp) {
            Verdict::Reply(reply) => send(&socket, &reply, from).await,
            Verdict::Forward => forward_udp((&socket, from), &shared, question, &scope).await,
            Verdict::Ignore => {}
        }
    }
}

/// A reply that cannot be sent is lost, as datagrams are: the client asks again.
async fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(reply, to).await {
        tracing::debug!(%error, %to, "send an answer");
    }
}

async fn forward_udp((socket, from): (&Arc<UdpSocket>, SocketAddr), shared: &Arc<Shared>, question: &[u8], scope: &Scope) {
    let Some(turn) = shared.forwarder.turn() else {
        return send(socket, &refusal(question, ResponseCode::ServFail), from).await;
    };
    let (socket, shared, question) = (Arc::clone(socket), Arc::clone(shared), question.to_vec());
    scope.job(async move {
        let reply = shared.forwarder.ask(&question, Transport::Udp).await;
        drop(turn);
        send(&socket, &reply, from).await;
    });
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>, scope: Scope) -> Result<(), String> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.map_err(|e| e.to_string())?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                scope.job(async move {
                    // The client went away, or was silent for too long: nobody is left to be told.
                    let _ = converse(stream, &shared).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept a connection");
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    for _ in 0..QUESTIONS_PER_CONNECTION {
        let question = timeout(IDLE, read_message(&mut stream)).await??;
        if question.len() < HEADER {
            return Ok(());
        }
        let verdict = judge(&shared.zone(), &question, Transport::Tcp);
        let reply = match verdict {
            Verdict::Reply(reply) => reply,
            Verdict::Ignore => return Ok(()),
            Verdict::Forward => match shared.forwarder.turn() {
                Some(_turn) => shared.forwarder.ask(&question, Transport::Tcp).await,
                None => refusal(&question, ResponseCode::ServFail),
            },
        };
        timeout(IDLE, write_message(&mut stream, &reply)).await??;
    }
    Ok(())
}

/// A message on a stream is preceded by its length (RFC 1035, 4.2.2).
pub async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes length and message in one piece.
pub async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes).await
}
