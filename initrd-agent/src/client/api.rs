//! The agent's calls, as `sysclone_protocol::agent` lists them.

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sysclone_image::{ManifestDigest, PackId};
use sysclone_protocol::agent::{
    AgentEvent, BootReport, CaptureReply, EnrollRequest, EventReply, Order, StagedPacks,
};
use sysclone_protocol::discover::{Reply, Report};
use sysclone_protocol::names::Secret;
use sysclone_protocol::update::{SyncReport, UpdateOrder, UpdateRequest};
use ureq::Agent;

use super::call::{CallError, answer, http_agent};
use super::retry::{Patience, retry};

/// The generation before the one being captured.
#[derive(Debug)]
pub enum Parent {
    /// There is none.
    None,
    /// It is the one whose digest was given.
    Known,
    /// Its signed manifest.
    Sealed(Vec<u8>),
}

/// The server, as one agent sees it. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct Client {
    http: Agent,
    base: String,
    token: Option<Secret>,
    patience: Patience,
}

impl Client {
    /// A client of `server` (`https://address:port`), which must show a certificate under `ca_pem`.
    ///
    /// # Errors
    /// The address is not `https`, or `ca_pem` holds no usable certificate.
    pub fn new(server: &str, ca_pem: &str, patience: Patience) -> anyhow::Result<Self> {
        let base = server.trim_end_matches('/').to_owned();
        anyhow::ensure!(
            base.starts_with("https://"),
            "the server's address is {base}, which is not https://…"
        );
        let http = http_agent(ca_pem).with_context(|| format!("preparing to talk to {base}"))?;
        Ok(Self { http, base, token: None, patience })
    }

    /// The same client, saying who it is.
    #[must_use]
    pub fn with_token(self, token: Secret) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same client, waiting as long as `patience` says.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Trades the ticket for an order.
    ///
    /// # Errors
    /// The server refused the ticket.
    pub fn enroll(&self, request: &EnrollRequest) -> Result<Order, CallError> {
        self.post("enroll", request)
    }

    /// Says what a machine is that is nobody's.
    ///
    /// # Errors
    /// The address is not this machine's any more, or patience ended.
    pub fn discover(&self, report: &Report) -> Result<Reply, CallError> {
        self.post("discover", report)
    }

    /// Tells the server something.
    ///
    /// # Errors
    /// The server does not know the token, or patience ended.
    pub fn event(&self, event: &AgentEvent) -> Result<EventReply, CallError> {
        self.post("event", event)
    }

    /// Says that the clone runs.
    ///
    /// # Errors
    /// The server does not accept the report, or patience ended.
    pub fn report(&self, report: &BootReport) -> Result<EventReply, CallError> {
        self.post("report", report)
    }

    /// The signed manifest of the ordered generation.
    ///
    /// # Errors
    /// The server has none, or patience ended.
    pub fn manifest(&self) -> Result<Vec<u8>, CallError> {
        Ok(self.get("manifest")?.1)
    }

    /// The signed manifest of the ordered generation; none when it is the one with this digest.
    ///
    /// # Errors
    /// The server has none, or patience ended.
    pub fn manifest_unless(&self, known: Option<ManifestDigest>) -> Result<Option<Vec<u8>>, CallError> {
        let url = self.url("manifest");
        let asked = retry("manifest", self.patience, || {
            let mut request = self.authorise(self.http.get(&url));
            if let Some(known) = known {
                request = request.header("If-None-Match", format!("\"{known}\""));
            }
            answer(&url, request.call())
        })?;
        Ok((asked.0 != 304).then_some(asked.1))
    }

    /// The ordered generation's manifest as its signed difference from another generation of the image.
    ///
    /// # Errors
    /// The server has none, or patience ended.
    pub fn manifest_delta(&self, from: u32) -> Result<Vec<u8>, CallError> {
        let url = self.url(&format!("manifest/delta/{from}"));
        let asked =
            retry("manifest", self.patience, || answer(&url, self.authorise(self.http.get(&url)).call()));
        Ok(asked?.1)
    }

    /// Asks for an order to update this machine.
    ///
    /// # Errors
    /// The server does not know this node's token, or patience ended.
    pub fn update_order(&self, request: &UpdateRequest) -> Result<UpdateOrder, CallError> {
        self.post("update", request)
    }

    /// Says what this machine is like after an update that it asked for itself.
    ///
    /// # Errors
    /// The server does not accept it, or patience ended.
    pub fn synced(&self, report: &SyncReport) -> Result<EventReply, CallError> {
        self.post("synced", report)
    }

    /// The signed manifest of the newest generation of the image being captured, unless it is `known`.
    ///
    /// # Errors
    /// The server refused, or patience ended.
    pub fn parent(&self, known: Option<ManifestDigest>) -> Result<Parent, CallError> {
        let url = self.url("parent");
        let asked = retry("parent", self.patience, || {
            let mut request = self.authorise(self.http.get(&url));
            if let Some(known) = known {
                request = request.header("If-None-Match", format!("\"{known}\""));
            }
            answer(&url, request.call())
        });
        match asked {
            Ok((304, _)) => Ok(Parent::Known),
            Ok((_, bytes)) => Ok(Parent::Sealed(bytes)),
            Err(CallError::Refused { status: 404, .. }) => Ok(Parent::None),
            Err(error) => Err(error),
        }
    }

    /// Packs that are safe on the server from a capture that did not finish.
    ///
    /// # Errors
    /// The server refused, or patience ended.
    pub fn staged(&self) -> Result<StagedPacks, CallError> {
        let url = self.url("staged");
        parse(&url, &self.get("staged")?.1)
    }

    /// Makes a pack safe on the server.
    ///
    /// # Errors
    /// The server refused it (no room, wrong bytes), or patience ended.
    pub fn put_pack(&self, id: &PackId, bytes: &[u8]) -> Result<(), CallError> {
        let url = self.url(&format!("packs/{id}"));
        retry("sending a pack", self.patience, || {
            let request = self.authorise(self.http.put(&url)).header("Content-Type", OCTETS);
            answer(&url, request.send(bytes)).map(drop)
        })
    }

    /// Makes the captured generation visible.
    ///
    /// # Errors
    /// The server refused the manifest, or patience ended.
    pub fn post_manifest(&self, unsigned: &[u8]) -> Result<CaptureReply, CallError> {
        let url = self.url("manifest");
        let body = retry("sending the manifest", self.patience, || {
            let request = self.authorise(self.http.post(&url)).header("Content-Type", OCTETS);
            answer(&url, request.send(unsigned))
        })?;
        parse(&url, &body.1)
    }

    /// As [`Client::post_manifest`], by the manifest's difference from the newest generation; none when the server
    /// wants the whole.
    ///
    /// # Errors
    /// As [`Client::post_manifest`].
    pub fn post_manifest_delta(&self, delta: &[u8]) -> Result<Option<CaptureReply>, CallError> {
        let url = self.url("manifest/delta");
        let sent = retry("sending the manifest", self.patience, || {
            let request = self.authorise(self.http.post(&url)).header("Content-Type", OCTETS);
            answer(&url, request.send(delta))
        });
        match sent {
            Ok((_, reply)) => parse(&url, &reply).map(Some),
            Err(CallError::Refused { status: 404 | 412, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn url(&self, call: &str) -> String {
        format!("{}/agent/v1/{call}", self.base)
    }

    fn authorise<Kind>(&self, request: ureq::RequestBuilder<Kind>) -> ureq::RequestBuilder<Kind> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.reveal())),
            None => request,
        }
    }

    fn get(&self, call: &'static str) -> Result<(u16, Vec<u8>), CallError> {
        let url = self.url(call);
        retry(call, self.patience, || answer(&url, self.authorise(self.http.get(&url)).call()))
    }

    fn post<Reply: DeserializeOwned>(
        &self,
        call: &'static str,
        body: &impl Serialize,
    ) -> Result<Reply, CallError> {
        let url = self.url(call);
        let bytes = serde_json::to_vec(body).expect("wire types have text keys only and always encode");
        let (_, reply) = retry(call, self.patience, || {
            let request = self.authorise(self.http.post(&url)).header("Content-Type", "application/json");
            answer(&url, request.send(&bytes[..]))
        })?;
        parse(&url, &reply)
    }
}

const OCTETS: &str = "application/octet-stream";

fn parse<Reply: DeserializeOwned>(url: &str, body: &[u8]) -> Result<Reply, CallError> {
    serde_json::from_slice(body).map_err(|source| CallError::Garbled { url: url.to_owned(), source })
}
