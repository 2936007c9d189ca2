//! Where an app's image is from: its makers' registry, or a distribution's packages.

use crate::{
    command::{build, image},
    say,
};
use api::{
    Error, Result,
    build::BuildRequest,
    image::ImageRecord,
    path,
    view::{BootstrapRequest, PullRequest},
};
use catalogue::{App, Packages};
use clap::ValueEnum;
use wire::client::Client;

/// What an app is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// Its makers' image
    Image,
    /// Debian's packages
    Packages,
}

/// Whether it is made of packages, once what it is made from is in the cluster; `asked` when that is settled already.
pub async fn obtain(client: &Client, app: &App, asked: Option<Origin>) -> Result<bool> {
    match (asked, &app.packages) {
        (Some(Origin::Packages), Some(packages)) => make(client, app, packages).await.map(|()| true),
        (Some(Origin::Packages), None) => Err(no_packages(app)),
        (Some(Origin::Image), _) => pull(client, app).await.map(|()| false),
        (None, None) => pull(client, app).await.map(|()| false),
        (None, Some(packages)) => match pull(client, app).await {
            Ok(()) => Ok(false),
            Err(error) => {
                say::note(&format!("image {} cannot be pulled ({error}): {} is made of Debian's packages", app.image, app.id));
                make(client, app, packages).await.map(|()| true)
            }
        },
    }
}

/// The error for an app that cannot be made of packages.
pub fn no_packages(app: &App) -> Error {
    Error::usage(format!("{} cannot be made of packages", app.id))
        .hint("those that can: roost apps --filter packages=, or leave --from out")
}

/// The image's name in the cluster.
pub fn name(app: &App, packages: bool) -> String {
    match app.packages.as_ref().filter(|_| packages) {
        Some(packages) => packages.image(&app.id),
        None => app.image.clone(),
    }
}

async fn is_there(client: &Client, name: &str) -> bool {
    client.get::<ImageRecord>(&format!("{}/{}", path::IMAGES, path::segment(name))).await.is_ok()
}

async fn pull(client: &Client, app: &App) -> Result<()> {
    if is_there(client, &app.image).await {
        return Ok(());
    }
    image::pull(client, &PullRequest { image: app.image.clone(), server: None, insecure: false, login: None }).await
}

/// Makes the image: what all such apps share, packages, files. What is there already is not made again.
async fn make(client: &Client, app: &App, packages: &Packages) -> Result<()> {
    let name = packages.image(&app.id);
    if is_there(client, &name).await {
        return Ok(());
    }
    if !is_there(client, Packages::BASE).await {
        let request = BootstrapRequest {
            distribution: Packages::DISTRIBUTION.to_owned(),
            release: Packages::RELEASE.to_owned(),
            include: Vec::new(),
            name: Some(Packages::BASE.to_owned()),
            // Not a whole system.
            command: vec!["/bin/sh".to_owned()],
            server: None,
        };
        image::make(client, &request).await?;
    }
    let request = BuildRequest { name, file: "Dockerfile".to_owned(), text: packages.recipe(), ..BuildRequest::default() };
    build::build_files(client, request, packages.context(), None).await.map(drop)
}
