//! Lone containers: placed once, and never moved by themselves.

use crate::{
    fleet::{Fleet, Room, Servers},
    look::{Look, Sight},
    schedule::{Crowd, Request, Search, Slot, View, explain},
};
use api::{
    Name, Timestamp,
    plan::{ContainerPlan, Placement, Wanted},
    report::Phase,
    spec::{ContainerSpec, PlacementRules},
};

/// A container's plan as it is being changed.
pub(crate) struct Draft<'a> {
    pub name: &'a Name,
    /// None: it was removed, and its instance is going.
    pub spec: Option<&'a ContainerSpec>,
    pub plan: ContainerPlan,
    /// Its program ended, and that was all it was for.
    pub remove: bool,
    pub notes: Vec<String>,
    pub wake: Option<Timestamp>,
}

impl<'a> Draft<'a> {
    /// All that follows without placing anything. None when nothing does.
    pub fn begin(look: &Look<'_>, name: &'a Name, spec: Option<&'a ContainerSpec>, plan: Option<&ContainerPlan>) -> Option<Self> {
        let mut draft =
            Self { name, spec, plan: plan.cloned().unwrap_or_default(), remove: false, notes: Vec::new(), wake: None };
        if let Some(placement) = draft.plan.placement.take() {
            draft.plan.placement = draft.step(look, placement);
            draft.plan.waiting = draft.predecessor();
        }
        let settled = draft.plan.placement.is_some() && draft.plan.waiting.is_empty() && !draft.remove;
        let same = plan.is_some_and(|plan| *plan == draft.plan) && draft.wake.is_none();
        (!settled || !same).then_some(draft)
    }

    fn step(&mut self, look: &Look<'_>, mut placement: Placement) -> Option<Placement> {
        let wanted = self.spec.filter(|spec| placement.placed >= spec.created);
        let sight = look.sight(&placement);
        // What could never be started stays until somebody has seen why.
        let ended = sight == Sight::Ended && look.report(&placement).is_some_and(|report| report.phase == Phase::Exited);
        if wanted.is_some_and(|spec| spec.remove_on_exit) && ended {
            self.remove = true;
        }
        if wanted.is_none() || self.remove {
            placement.wanted = Wanted::Stop;
        }
        if sight == Sight::NoServer {
            self.notes.push(format!("its server {} was removed from the cluster, and its files with it", placement.server));
        }
        if placement.wanted == Wanted::Stop && sight == Sight::Absent && look.may_be_coming(&placement) {
            self.wake = Some(placement.placed.after(crate::look::UNHEARD));
        }
        (!look.is_gone(&placement, placement.wanted)).then_some(placement)
    }

    /// Waits for a place.
    pub fn needs_place(&self) -> bool {
        self.spec.is_some() && !self.remove && self.plan.placement.is_none()
    }

    /// Finds a place, if there is one.
    pub fn place<'f>(&mut self, look: &Look<'f>, fleet: &mut Fleet<'f>) {
        let Some(spec) = self.spec.filter(|_| self.needs_place()) else { return };
        self.plan.waiting.clear();
        let (rules, crowd, slot) = (PlacementRules::default(), Crowd::default(), Slot::default());
        let request = request(look, spec, &rules);
        let mut search = Search::begin(fleet, &request, &crowd);
        let found = search.choose(View { fleet, request: &request, crowd: &crowd }, &slot);
        let Some((server, (id, address))) = found.and_then(|server| Some((server, fleet.take(server, spec.address)?))) else {
            return;
        };
        let reason = match (&spec.server, spec.address) {
            (Some(_), _) => "the server asked for".to_owned(),
            (None, Some(address)) => format!("address {address} is its"),
            (None, None) => format!("largest free share, {} %", fleet.hosts[server].free_share() / 10_000),
        };
        let placed = look.now.max(spec.created);
        let server_name = look.servers[server].spec.name.clone();
        self.notes.push(format!("{} → {server_name}", self.name));
        let placement = Placement { id, slot: 0, server: server_name, address, revision: 0, wanted: Wanted::Run, placed, reason };
        fleet.settle(server, &placement, request.room);
        fleet.hold_ports(server, self.name.as_str(), &spec.template);
        fleet.holders.add(self.name, server);
        self.plan.placement = Some(placement);
    }

    /// Says why it waits, once all placing is done.
    pub fn explain(&mut self, look: &Look<'_>, fleet: &Fleet<'_>) {
        if let Some(spec) = self.spec.filter(|_| self.needs_place()) {
            self.plan.waiting = reasons(look, fleet, spec);
        }
    }

    /// A container made anew waits until the old one of its name is gone.
    fn predecessor(&self) -> Vec<String> {
        let leaving = self.plan.placement.as_ref().filter(|placement| placement.wanted != Wanted::Run);
        match leaving.filter(|_| self.spec.is_some() && !self.remove) {
            Some(old) => vec![format!("its predecessor of the same name is still being removed on {}", old.server)],
            None => Vec::new(),
        }
    }
}

fn request<'r>(look: &Look<'_>, spec: &'r ContainerSpec, rules: &'r PlacementRules) -> Request<'r> {
    Request {
        who: &spec.name,
        room: Room::of(&spec.template),
        rules,
        listed: listed(look, spec),
        anchor: None,
        ports: &spec.template.publish,
        address: spec.address,
        lone: true,
        instead: false,
    }
}

/// The servers in question: the one asked for, or the one whose address is asked for. None: any.
fn listed(look: &Look<'_>, spec: &ContainerSpec) -> Option<Servers> {
    if let Some(server) = &spec.server {
        return Some(look.index(server).into_iter().collect());
    }
    let address = spec.address?;
    let holders = look.servers.iter().enumerate().filter(|(_, server)| server.spec.subnet.contains(&address));
    Some(holders.map(|(index, _)| index).collect())
}

/// Why no server takes a container.
pub(crate) fn reasons(look: &Look<'_>, fleet: &Fleet<'_>, spec: &ContainerSpec) -> Vec<String> {
    match (&spec.server, spec.address) {
        (Some(server), _) if look.index(server).is_none() => return vec![format!("no server {server}")],
        (None, Some(address)) if listed(look, spec).is_some_and(|servers| servers.is_empty()) => {
            return vec![format!("address {address} is in no server's subnet")];
        }
        _ => {}
    }
    let rules = PlacementRules::default();
    let request = request(look, spec, &rules);
    explain(View { fleet, request: &request, crowd: &Crowd::default() }, &Slot::default())
}
