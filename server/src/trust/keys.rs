//! All key files of the server, made at its first start.

use std::path::{Path, PathBuf};

use sysclone_image::ImageKey;
use sysclone_image::sign::SigningKey;
use sysclone_protocol::names::{ImageName, Secret};

use super::files::{KeyFileError, load_or_make, make_private_directory};
use super::sealed::AttributeKey;
use super::ticket::TicketKey;
use super::tls::TlsIdentity;

/// The server's keys. Image keys are read when they are needed.
pub struct Keys {
    directory: PathBuf,
    /// Signs manifests.
    pub signing: SigningKey,
    /// Seals passwords in the database.
    pub attributes: AttributeKey,
    /// Makes tickets and tokens.
    pub ticket: TicketKey,
    /// CA of the agents' interface.
    pub tls: TlsIdentity,
}

impl Keys {
    /// Reads the keys in `directory`, making what is not there.
    ///
    /// # Errors
    /// A key file cannot be read, written, or does not hold its key.
    pub fn load_or_create(directory: &Path) -> Result<Self, KeyFileError> {
        make_private_directory(directory)?;
        make_private_directory(&directory.join("images"))?;
        let signing_file = directory.join("manifest-signing.key");
        let text = load_or_make(&signing_file, || {
            SigningKey::random().map(|key| key.to_base64()).map_err(|e| KeyFileError::Make(e.to_string()))
        })?;
        let signing = SigningKey::from_base64(text.reveal()).map_err(|e| damaged(&signing_file, &e))?;
        let ticket_file = directory.join("ticket.key");
        let text = load_or_make(&ticket_file, || Ok(TicketKey::make()))?;
        let ticket = TicketKey::parse(text.reveal())
            .ok_or_else(|| damaged(&ticket_file, &"not 32 bytes in base64"))?;
        let attributes_file = directory.join("attributes.key");
        let text = load_or_make(&attributes_file, || Ok(AttributeKey::make()))?;
        let attributes = AttributeKey::parse(text.reveal())
            .ok_or_else(|| damaged(&attributes_file, &"not 32 bytes in base64"))?;
        Ok(Self { directory: directory.to_owned(), signing, attributes, ticket, tls: load_tls(directory)? })
    }

    /// The key of an image, when it has one.
    ///
    /// # Errors
    /// Its file cannot be read or does not hold a key.
    pub fn image_key(&self, image: &ImageName) -> Result<Option<ImageKey>, KeyFileError> {
        let path = self.image_file(image);
        match std::fs::read_to_string(&path) {
            Ok(text) => ImageKey::from_base64(&text).map(Some).map_err(|e| damaged(&path, &e)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(super::files::failed("reading", &path)(error)),
        }
    }

    /// The key of an image, made at its first capture.
    ///
    /// # Errors
    /// Its file cannot be read or written, or does not hold a key.
    pub fn make_image_key(&self, image: &ImageName) -> Result<ImageKey, KeyFileError> {
        let path = self.image_file(image);
        let text = load_or_make(&path, || {
            ImageKey::random().map(|key| key.to_base64()).map_err(|e| KeyFileError::Make(e.to_string()))
        })?;
        ImageKey::from_base64(text.reveal()).map_err(|e| damaged(&path, &e))
    }

    /// Keeps the key of an image that was made elsewhere.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_image_key(&self, image: &ImageName, key: &ImageKey) -> Result<(), KeyFileError> {
        load_or_make(&self.image_file(image), || Ok(key.to_base64())).map(drop)
    }

    fn image_file(&self, image: &ImageName) -> PathBuf {
        self.directory.join("images").join(format!("{image}.key"))
    }
}

fn load_tls(directory: &Path) -> Result<TlsIdentity, KeyFileError> {
    let make = |error: super::tls::TlsError| KeyFileError::Make(error.to_string());
    let key_file = directory.join("ca.key");
    let certificate_file = directory.join("ca.pem");
    let key = load_or_make(&key_file, || TlsIdentity::make_ca_key().map(Secret::new).map_err(make))?;
    let certificate = load_or_make(&certificate_file, || {
        TlsIdentity::make_ca_certificate(key.reveal()).map(Secret::new).map_err(make)
    })?;
    TlsIdentity::new(key.reveal(), certificate.reveal().to_owned()).map_err(|e| damaged(&key_file, &e))
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> KeyFileError {
    KeyFileError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_for_their_owner_only_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let first = Keys::load_or_create(&keys).unwrap();
        let image: ImageName = "demo".parse().unwrap();
        assert!(first.image_key(&image).unwrap().is_none());
        let image_key = first.make_image_key(&image).unwrap();
        let again = Keys::load_or_create(&keys).unwrap();
        assert_eq!(again.signing.verifying_key(), first.signing.verifying_key());
        assert_eq!(again.tls.ca_pem(), first.tls.ca_pem());
        assert_eq!(again.ticket.ticket("j", b"n"), first.ticket.ticket("j", b"n"));
        assert_eq!(again.image_key(&image).unwrap(), Some(image_key));
        assert_eq!(keys.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for name in
            ["manifest-signing.key", "ticket.key", "attributes.key", "ca.key", "ca.pem", "images/demo.key"]
        {
            let mode = keys.join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_damaged_key_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Keys::load_or_create(dir.path()).unwrap();
        for name in ["manifest-signing.key", "ticket.key", "attributes.key", "ca.key"] {
            let path = dir.path().join(name);
            let good = std::fs::read(&path).unwrap();
            std::fs::write(&path, "rubbish").unwrap();
            let error = Keys::load_or_create(dir.path()).err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), b"rubbish");
            std::fs::write(&path, good).unwrap();
        }
    }
}
