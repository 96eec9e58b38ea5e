//! The TLS identity: a CA that clients pin, kept for the life of the site, and a server certificate made anew at every
//! start for the configured address, so a changed address needs no care.
//!
//! Both are valid from 1970 to 9999. A node's clock may be wrong by decades before it has talked to us, so validity
//! times say nothing; what expires here (tickets, tokens) is judged by the server's clock alone. Agents may set their
//! clock from `InstallOrder::now`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("making a TLS certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused it.
    #[error("setting up TLS")]
    Setup(#[from] rustls::Error),
}

/// The CA and what it signs.
pub struct TlsIdentity {
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl TlsIdentity {
    /// The key of a new CA, as PEM.
    ///
    /// # Errors
    /// No key could be made.
    pub fn make_ca_key() -> Result<String, TlsError> {
        Ok(KeyPair::generate()?.serialize_pem())
    }

    /// A CA certificate for the key. Made once: clients keep it.
    ///
    /// # Errors
    /// The key is none.
    pub fn make_ca_certificate(key_pem: &str) -> Result<String, TlsError> {
        Ok(ca_params().self_signed(&KeyPair::from_pem(key_pem)?)?.pem())
    }

    /// The identity with this CA.
    ///
    /// # Errors
    /// The key is none.
    pub fn new(key_pem: &str, ca_pem: String) -> Result<Self, TlsError> {
        Ok(Self { ca_pem, issuer: Issuer::new(ca_params(), KeyPair::from_pem(key_pem)?) })
    }

    /// The CA certificate that clients pin, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// TLS for a server at `address` (and at 127.0.0.1).
    ///
    /// # Errors
    /// The certificate could not be made.
    pub fn server_config(&self, address: Ipv4Addr) -> Result<Arc<ServerConfig>, TlsError> {
        let key = KeyPair::generate()?;
        let certificate = server_params(address).signed_by(&key, &self.issuer)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn params(common: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common);
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

fn ca_params() -> CertificateParams {
    let mut params = params("sysclone site CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params(address: Ipv4Addr) -> CertificateParams {
    let mut params = params("sysclone server");
    let mut addresses = vec![address, Ipv4Addr::LOCALHOST];
    addresses.dedup();
    params.subject_alt_names = addresses.into_iter().map(|a| SanType::IpAddress(IpAddr::V4(a))).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}
