//! Decides which TLS server is ours.
//!
//! The server is ours when its certificate chains to the CA that came with the initrd (or with the capture order, or
//! from the clone's own disk) and is made out for the address that was called. The machine's own clock takes no part:
//! a node that was switched off for a year, or has an empty CMOS battery, must install all the same. So the chain is
//! judged as of the moment when the server's certificate begins to be valid.
//!
//! That gives nothing away. The CA is private to one site and signs nothing but its own servers; expiry protects
//! against keys that leaked long ago, and whoever holds such a key still needs the site's provisioning network, while
//! the answers that matter are protected again: a ticket is good once, the manifest is signed by another key.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::validity::not_before;

/// Trusts one CA, at any time of the clock.
#[derive(Debug)]
struct PinnedCa {
    inner: Arc<WebPkiServerVerifier>,
}

/// A TLS client that trusts exactly the certificates in `ca_pem`.
///
/// # Errors
/// `ca_pem` holds no certificate that can be used.
pub(super) fn client_config(ca_pem: &str) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.context("reading the server's CA certificate")?)?;
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .context("using the server's CA certificate")?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choosing TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedCa { inner }))
        .with_no_client_auth())
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let begins =
            not_before(end_entity).ok_or(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(begins));
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
