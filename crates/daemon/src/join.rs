//! `roost join`: this machine becomes a server of a cluster that there is.

use crate::{
    Join,
    config::{self, Config},
    machine, say, up,
};
use api::{
    Error, Result, path,
    view::{JoinAnswer, JoinRequest, Version},
};
use std::path::Path;
use wire::{
    client::Client,
    identity::{self, Identity},
    token::JoinToken,
};

/// Runs it.
pub fn run(request: Join) -> Result<u8> {
    if let Some(config) = config::load()? {
        return Err(Error::conflict(format!("this machine is server {} of a cluster already", config.name))
            .hint("leave it first: roost leave"));
    }
    let token: JoinToken = request.token.parse()?;
    let started = base::env::instant();
    let (config, subnet) = up::block_on(join(&request, &token))?;
    up::start()?;
    up::block_on(up::wait(&config))?;
    let facts = machine::facts();
    say(&format!(
        "{} joined in {:.1} s   {} cores · {} · {} · containers {subnet}",
        config.name,
        started.elapsed().as_secs_f32(),
        facts.cpu,
        facts.memory,
        facts.os,
    ));
    Ok(0)
}

async fn join(request: &Join, token: &JoinToken) -> Result<(Config, ipnet::Ipv4Net)> {
    let client = Client::join(token)?;
    let (csr, key) = identity::request()?;
    let body = JoinRequest {
        secret: token.secret.clone(),
        name: request.name.clone().map_or_else(machine::host_name, Ok)?,
        address: request.advertise,
        subnet: subnet(request)?,
        csr,
        facts: machine::facts(),
        labels: labels(request)?,
    };
    let answer: JoinAnswer = client.send(http::Method::POST, path::JOIN, &body).await?;
    let identity = Identity { certificate: answer.certificate, key, authority: answer.authority };
    config::directory(Path::new(path::STATE_DIR))?;
    identity.save(&config::identity())?;
    let version: Version = Client::tls(token.address, &identity)?.get(path::VERSION).await?;
    let config = Config {
        format: api::FORMAT_VERSION,
        name: answer.server.name,
        address: answer.server.address,
        manager: false,
        control: token.address,
        domain: version.domain,
    };
    config::save(&config)?;
    Ok((config, answer.server.subnet))
}

fn subnet(request: &Join) -> Result<Option<ipnet::Ipv4Net>> {
    let Some(text) = &request.subnet else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| Error::usage(format!("{text:?} is not a subnet: write an address and a prefix, as in 10.0.4.0/24")))
}

fn labels(request: &Join) -> Result<std::collections::BTreeMap<String, String>> {
    let pair = |text: &String| {
        let split = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = split.ok_or_else(|| Error::usage(format!("{text:?} is not a label: write key=value")))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    request.labels.iter().map(pair).collect()
}
