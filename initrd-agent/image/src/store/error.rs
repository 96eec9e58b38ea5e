//! Why the store could not do what was asked.

use std::io;

use sysclone_protocol::names::{ImageName, ImageRef, TagName};

use super::Holder;
use crate::id::PackId;
use crate::manifest::{DeltaError, ManifestError};
use crate::sign::OpenError;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system is full, or a quota is used up. Nothing became visible.
    #[error("no space left in the image store {path}: make room and try again, what was sent is kept")]
    NoSpace {
        /// The store.
        path: String,
    },
    /// The operating system refused something.
    #[error("{doing} {path}")]
    Io {
        /// `creating`, `reading`…
        doing: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The sender of a pack broke off.
    #[error("receiving pack {pack}")]
    Receive {
        /// The pack.
        pack: PackId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes of a pack are not those that its name says.
    #[error(
        "what was received as pack {pack} has the hash {found}: it was damaged on the way, send it again"
    )]
    Hash {
        /// The name it came under.
        pack: PackId,
        /// The name its bytes have.
        found: PackId,
    },
    /// A pack of the store is damaged.
    #[error("pack {pack} is damaged, its bytes have the hash {found}: check the store")]
    Damaged {
        /// Its name.
        pack: PackId,
        /// The name its bytes have.
        found: PackId,
    },
    /// A manifest from a capture is not acceptable.
    #[error("the manifest of image {image} was refused")]
    Manifest {
        /// The image.
        image: ImageName,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A manifest's difference from the newest generation cannot be used.
    #[error("the manifest of image {image} was refused as a difference: send it whole")]
    Delta {
        /// The image.
        image: ImageName,
        /// Why.
        #[source]
        source: DeltaError,
    },
    /// A manifest is for another image than the one captured.
    #[error("the manifest is for image {found}, expected was image {image}")]
    OtherImage {
        /// The image captured.
        image: ImageName,
        /// The image in the manifest.
        found: ImageName,
    },
    /// A stored manifest is whole, but lies where another belongs.
    #[error("the stored manifest of image {image} is that of {found}: put the right file back or remove it")]
    Misplaced {
        /// The generation asked for.
        image: ImageRef,
        /// The generation that it says it is.
        found: ImageRef,
    },
    /// A manifest names packs that are not here.
    #[error("image {image} needs {missing} packs that are not in the store (the first: {first})")]
    MissingPacks {
        /// The image.
        image: ImageName,
        /// How many.
        missing: usize,
        /// One of them.
        first: PackId,
    },
    /// There is no such generation.
    #[error("there is no image {0}")]
    NoSuchImage(ImageRef),
    /// The image has no generation at all.
    #[error("image {0} has no generation")]
    NoGeneration(ImageName),
    /// The image has no such tag.
    #[error("image {image} has no tag '{tag}'")]
    NoSuchTag {
        /// The image.
        image: ImageName,
        /// The tag.
        tag: TagName,
    },
    /// An export could not be written to where it goes.
    #[error("writing the export")]
    Export(#[source] io::Error),
    /// What is imported cannot be read, or is no export.
    #[error("reading the export")]
    Import(#[source] io::Error),
    /// An export was refused; nothing of it is visible.
    #[error("the export of image {image} was refused: {why}")]
    Refused {
        /// The image in it.
        image: ImageName,
        /// Why, and what to do.
        why: String,
    },
    /// A generation cannot be removed while something refers to it.
    #[error("image {image} is held by {}: take that away first", by.iter().map(Holder::to_string).collect::<Vec<_>>().join(" and "))]
    InUse {
        /// The generation.
        image: ImageRef,
        /// What holds it.
        by: Vec<Holder>,
    },
    /// A stored manifest is not one that this server signed.
    #[error("the stored manifest of image {image} is damaged")]
    Signature {
        /// The generation.
        image: ImageRef,
        /// Why.
        #[source]
        source: OpenError,
    },
}
