//! The DNS server at the gateway of this server's containers: told names by the agent, moved when the subnet is.

use api::assignment::{Assignment, NameTable};
use base::supervise::Scope;
use edge::dns::DnsServer;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::sync::watch;

/// Port of DNS (RFC 1035, section 4.2).
const PORT: u16 = 53;

type Told = Option<(Ipv4Addr, Arc<NameTable>)>;

/// What the agent calls with the assignment whose names are to be answered for.
pub fn answer(domain: String, scope: &Scope) -> Arc<dyn Fn(&Assignment) + Send + Sync> {
    let (tell, told) = watch::channel::<Told>(None);
    scope.component("names", serve(domain, told, scope.clone()));
    Arc::new(move |assignment| {
        let gateway = assignment.network.subnet.hosts().next().unwrap_or(Ipv4Addr::UNSPECIFIED);
        tell.send_replace(Some((gateway, Arc::clone(&assignment.names))));
    })
}

async fn serve(domain: String, mut told: watch::Receiver<Told>, scope: Scope) -> Result<(), String> {
    let mut server: Option<(Ipv4Addr, DnsServer, Scope)> = None;
    loop {
        let now = told.borrow_and_update().clone();
        if let Some((gateway, names)) = now {
            if server.as_ref().is_none_or(|(at, ..)| *at != gateway) {
                if let Some((.., old)) = server.take() {
                    old.stop();
                }
                let own = Scope::new();
                let bound = DnsServer::bind(vec![SocketAddr::from((gateway, PORT))], domain.clone(), &own).await;
                server = Some((gateway, bound.map_err(|error| error.to_string())?, own));
            }
            if let Some((_, dns, _)) = &server {
                dns.set_names(names);
            }
        }
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return Ok(()) },
            () = scope.stopping() => return Ok(()),
        }
    }
}
