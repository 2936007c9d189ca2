//! The kernel's network of one server: links, addresses, routes and rules made equal to a [`Dataplane`], and a namespace with a link
//! for each pod.
//!
//! The shape is that of flannel's "host gateway over VXLAN": a bridge per server with the server's subnet, and a routed tunnel
//! to every other server with static entries, so that nothing is learnt and nothing is flooded. A published port is led to
//! a pod by `dnat`, on whichever server it is, with the client's own address kept: the server that runs the pod remembers
//! in the connection's mark through which server it came in, and sends the answers back that way.
//!
//! *Invariant:* touches only what bears our name: the table `inet roost`, links `roost0`, `roost-vx`, `rv…`, `rw…`, `rb…`, routes and
//! policy rules with protocol number 82, files in its own directory. Settings are switched on where needed
//! (`net.ipv4.ip_forward`), never off.
//!
//! *Namespaces:* sockets are opened by [`KernelNetwork::new`] in the calling thread's network namespace and stay there. `nft` and
//! `/proc/sys` follow the thread that calls: call from threads of that same namespace.

mod connections;
mod error;
mod kernel;
mod links;
mod namespace;
mod netlink;
mod nfnetlink;
mod paths;
mod pods;
mod problems;
mod rules;
mod sysctl;
mod table;
mod ways;

pub use error::Error;
pub use pods::host_link;
pub use rules::{MARK_BASE, Ruleset, render_changes, render_whole};

use api::{
    InstanceId,
    dataplane::{BRIDGE, Dataplane, PodLink},
};
use error::Result;
use namespace::Mother;
use netlink::Netlink;
use pods::Pods;
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use table::Table;

/// How a server's network is driven.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where pods' namespaces are held, one file each: `/run/roost/netns`. Made if absent.
    pub netns_dir: PathBuf,
    /// The program that changes rules: `nft`, from the package nftables.
    pub nft: PathBuf,
    /// TCP ports of managers and agents, closed to pods on every server.
    pub control_ports: Vec<u16>,
    /// Links and routes that should be as we left them are looked at again after this long at the earliest. Zero: each time.
    pub look_again: Duration,
}

impl Options {
    /// As the agent needs it: `nft` from the path, ports 7443 and 7444 closed, a look every ten seconds.
    pub fn new(netns_dir: impl Into<PathBuf>) -> Self {
        Self {
            netns_dir: netns_dir.into(),
            nft: "nft".into(),
            control_ports: vec![7443, 7444],
            look_again: Duration::from_secs(10),
        }
    }
}

/// What an `ensure` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Applied {
    /// Changes to links, addresses, routes, neighbours and settings.
    pub links: usize,
    /// Rules were changed.
    pub rules: bool,
}

/// One server's network in the kernel.
pub struct KernelNetwork {
    options: Options,
    netlink: Netlink,
    mother: Mother,
    slots: ways::Slots,
    state: Mutex<State>,
}

struct State {
    table: Table,
    /// The dataplane without its routes that links were last made equal to, and when.
    links: Option<(Dataplane, Instant)>,
    /// The bridge's MTU when we last looked.
    mtu: Option<u32>,
}

impl KernelNetwork {
    /// Opens its sockets in the calling thread's network namespace. Changes nothing yet.
    pub fn new(options: Options) -> Result<Self> {
        let state = State { table: Table::open(options.nft.clone())?, links: None, mtu: None };
        Ok(Self {
            netlink: Netlink::open()?,
            mother: Mother::new()?,
            options,
            slots: ways::Slots::default(),
            state: Mutex::new(state),
        })
    }

    /// Makes the server's network equal to the value, and says what that took.
    pub fn apply(&self, dataplane: &Dataplane) -> Result<Applied> {
        let mut state = self.state();
        let links = self.apply_links(&mut state, dataplane)?;
        let rules = state.table.ensure(Ruleset::new(dataplane, &self.options.control_ports))?;
        Ok(Applied { links, rules })
    }

    fn apply_links(&self, state: &mut State, dataplane: &Dataplane) -> Result<usize> {
        let now = base::env::instant();
        let wanted = Dataplane { routes: Vec::new(), ..dataplane.clone() };
        let fresh = |at: Instant| now.duration_since(at) < self.options.look_again;
        if state.links.as_ref().is_some_and(|(applied, at)| *applied == wanted && fresh(*at)) {
            return Ok(0);
        }
        // Unknown until it has worked.
        state.links = None;
        let changes = links::ensure(&self.netlink, &wanted)?;
        let mtu = self.netlink.link(&wanted.bridge.name)?.map(|link| link.mtu);
        if let Some(mtu) = mtu.filter(|_| state.mtu != mtu) {
            self.pods().set_mtu(mtu)?;
        }
        state.mtu = mtu;
        state.links = Some((wanted, now));
        Ok(changes)
    }

    /// What stands in our way and is not ours to change, in sentences: chains of the host's firewall that drop by default. A chain of
    /// ours can drop, but cannot accept over another table's drop.
    pub fn problems(&self) -> Vec<String> {
        problems::find(&self.options.nft, BRIDGE, api::dataplane::VXLAN_PORT).unwrap_or_else(|error| vec![error.to_string()])
    }

    fn pods(&self) -> Pods<'_> {
        Pods { directory: &self.options.netns_dir, netlink: &self.netlink, mother: &self.mother }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl driver::Network for KernelNetwork {
    fn problems(&self) -> Vec<String> {
        Self::problems(self)
    }

    fn ensure(&self, dataplane: &Dataplane) -> driver::Result<()> {
        let applied = self.apply(dataplane)?;
        tracing::debug!(?applied, "network is as it should be");
        Ok(())
    }

    fn ensure_pod(&self, link: &PodLink) -> driver::Result<PathBuf> {
        let made = self.pods().ensure(link);
        if matches!(made, Err(Error::NoBridge(_))) {
            // Somebody removed it: look at everything next time.
            self.state().links = None;
        }
        Ok(made?)
    }

    fn remove_pod(&self, id: InstanceId) -> driver::Result<()> {
        Ok(self.pods().remove(id)?)
    }

    fn observe_pods(&self) -> driver::Result<Vec<InstanceId>> {
        Ok(self.pods().observe()?.into_iter().collect())
    }

    fn connections(&self, id: InstanceId) -> driver::Result<u32> {
        Ok(self.pods().connections(id)?)
    }

    fn traffic(&self, id: InstanceId) -> driver::Result<(u64, u64)> {
        Ok(self.pods().traffic(id)?)
    }

    fn clear(&self) -> driver::Result<()> {
        let mut state = self.state();
        (state.links, state.mtu) = (None, None);
        let (pods, links, rules) = (self.pods().clear(), links::clear(&self.netlink), state.table.clear());
        drop(state);
        Ok(pods.and(self.clear_ways()).and(links).and(rules)?)
    }
}
