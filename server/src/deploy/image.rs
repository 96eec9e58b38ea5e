//! What a node can be set to install: an osimage definition with a captured generation that is whole in the store.

use sysclone_image::{Manifest, Store, StoreError};
use sysclone_protocol::layout::DiskRules;
use sysclone_protocol::names::{ImageName, ImageRef, ImageSelector, Pick};

use super::arm::own_kernel;
use super::pin::pin_for_tickets;
use crate::app::App;
use crate::boot::{BootFiles, image_folder, is_golden};
use crate::db::{DbError, RulesByLabel};
use crate::define::Node;
use crate::wire::ObjectType;
use std::sync::Arc;

/// An image that can be installed.
#[derive(Debug, Clone)]
pub(super) struct Installable {
    pub(super) image: ImageRef,
    /// Architecture of its programs.
    pub(super) arch: String,
    /// `debian12`.
    pub(super) osvers: String,
    pub(super) profile: String,
    /// Whether machines boot with its own kernel to be installed with it.
    golden_kernel: bool,
    /// Labels of its disks.
    disks: Vec<String>,
}

/// Finds the image that `nodeset osimage=name[@generation|@tag]` means; an error is the sentence for each node.
///
/// # Errors
/// The database failed.
pub(super) async fn find_image(
    app: &Arc<App>,
    name: &str,
    pick: &Pick,
) -> Result<Result<Installable, String>, DbError> {
    let missing = || format!("Cannot find the OS image {name} in the osimage table.");
    let Ok(image) = name.parse::<ImageName>() else { return Ok(Err(missing())) };
    let mut objects = app.db.objects(ObjectType::Osimage, Some(&[name.to_owned()])).await?;
    let Some(attributes) = objects.remove(name) else { return Ok(Err(missing())) };
    let provmethod = attributes.get("provmethod").map(String::as_str).unwrap_or_default();
    if provmethod != "sysclone" {
        return Ok(Err(format!(
            "the OS image {name} has provmethod '{provmethod}', only sysclone is served here"
        )));
    }
    let owned = Arc::clone(app);
    let image = ImageSelector { name: image, pick: pick.clone() };
    let read = move || {
        let key = owned.keys.signing.verifying_key();
        let manifest = read_manifest(&owned.store, &image, &key)?;
        pin_for_tickets(&owned.store, &manifest.image_ref(), owned.config.ticket_life);
        Ok(manifest)
    };
    let found = tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()));
    Ok(found.map(|manifest| {
        let get = |attr: &str| attributes.get(attr).cloned();
        let header = &manifest.header;
        Installable {
            image: manifest.image_ref(),
            arch: header.arch.clone(),
            osvers: get("osvers").unwrap_or_else(|| crate::capture::osvers(&header.os)),
            profile: get("profile").unwrap_or_else(|| "compute".to_owned()),
            golden_kernel: is_golden(&attributes),
            disks: manifest.layout.disks.into_iter().map(|disk| disk.name).collect(),
        }
    }))
}

/// Reads the manifest and sees that every pack is there with its size. The hashes are checked by each agent.
pub(crate) fn read_manifest(
    store: &Store,
    image: &ImageSelector,
    key: &sysclone_image::sign::VerifyingKey,
) -> Result<Manifest, String> {
    let sentence = |error: sysclone_image::StoreError| format!("{:#}", anyhow::Error::new(error));
    let image = store.resolve(image).map_err(|error| match error {
        StoreError::NoGeneration(image) => {
            format!("the OS image {image} has not been captured: imgcapture <node> -t sysclone -o {image}")
        }
        other => sentence(other),
    })?;
    let manifest = store.manifest(&image, key).map_err(sentence)?;
    for pack in &manifest.packs {
        let size = store.pack_path(&pack.id).and_then(|path| path.metadata().ok()).map(|m| m.len());
        if size != Some(pack.bytes) {
            let what = if size.is_some() { "is damaged" } else { "is missing" };
            return Err(format!("pack {} of image {image} {what} in the image store", pack.id));
        }
    }
    Ok(manifest)
}

impl Installable {
    /// `debian12-x86_64`.
    pub(super) fn word(&self) -> String {
        format!("{}-{}", self.osvers, self.arch)
    }

    /// Where the kernel and initrd are that install it.
    pub(super) fn boot_folder(&self, files: &BootFiles) -> Result<String, String> {
        if !self.golden_kernel {
            return own_kernel(files, &self.arch);
        }
        let name = self.image.name.as_str();
        let folder = image_folder(name);
        if files.has_kernel(&folder) {
            return Ok(folder);
        }
        Err(format!(
            "the OS image {name} has bootkernel 'golden', and what its kernel boots with was not made yet: sysclone \
             image boot-files {name}"
        ))
    }

    /// The node's disk rules by the labels of this image.
    pub(super) fn rules_for(&self, node: &Node) -> Result<RulesByLabel, String> {
        let mut rules = RulesByLabel::new();
        for rule in &node.disk_rules {
            let disks = || self.disks.join(", ");
            let label = match &rule.label {
                Some(label) if self.disks.contains(label) => label,
                Some(label) => {
                    let image = &self.image;
                    return Err(format!("installdisk names the disk {label}, but {image} has {}", disks()));
                }
                None => match &self.disks[..] {
                    [only] => only,
                    _ => return Err(format!("installdisk must say which disk of {} it means", disks())),
                },
            };
            let rules: &mut DiskRules = rules.entry(label.clone()).or_default();
            rules.clone_from(&rule.rules);
        }
        Ok(rules)
    }
}
