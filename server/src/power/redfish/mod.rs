//! A BMC by Redfish (DMTF DSP0266, DSP2046). Nothing about vendors is kept: what a system allows is read from it, and
//! what it was set to is read back.

mod http;
mod pin;
mod values;

use serde_json::{Value, json};

use super::error::PowerError;
use super::fields::{BootOrder, BootState, PowerState, Switch};
use super::target::RedfishBmc;
use http::{Answer, Http};
use values::{boot_state, mode, override_of, power_state, reset_types, same_device};

/// Where every service begins.
const SYSTEMS: &str = "/redfish/v1/Systems";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
/// How often the state is read while a system switches off.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// One system behind one BMC.
pub(super) struct Redfish {
    bmc: RedfishBmc,
    http: Http,
}

/// The system as it was read, and where.
struct System {
    path: String,
    etag: Option<String>,
    document: Value,
}

impl Redfish {
    pub(super) fn new(bmc: RedfishBmc) -> Self {
        Self { http: Http::new(&bmc), bmc }
    }

    pub(super) async fn state(&mut self) -> Result<PowerState, PowerError> {
        let session = self.log_in().await?;
        let system = self.system(&session).await;
        session.log_out().await;
        Ok(power_state(&system?.document))
    }

    pub(super) async fn boot_order(&mut self) -> Result<BootState, PowerError> {
        let session = self.log_in().await?;
        let system = self.system(&session).await;
        session.log_out().await;
        Ok(boot_state(&system?.document))
    }

    pub(super) async fn switch(&mut self, switch: Switch) -> Result<(), PowerError> {
        let session = self.log_in().await?;
        let done = self.switched(&session, switch).await;
        session.log_out().await;
        done
    }

    pub(super) async fn set_boot_order(&mut self, order: BootOrder) -> Result<BootState, PowerError> {
        let session = self.log_in().await?;
        let done = self.ordered(&session, order).await;
        session.log_out().await;
        done
    }

    /// A session; without a session service, name and password go with every request.
    async fn log_in(&self) -> Result<Session, PowerError> {
        let (user, password) = (&self.bmc.user, self.bmc.password.reveal());
        let body = json!({ "UserName": user, "Password": password });
        let answer = self.http.send(("POST", SESSIONS), &[], Some(&body)).await?;
        match (answer.status, &answer.token) {
            (200..=299, Some(token)) => {
                let close = answer.location.clone();
                Ok(Session { http: self.http.clone(), header: ("X-Auth-Token", token.clone()), close })
            }
            (400 | 401 | 403, _) => {
                Err(PowerError::Login { place: self.http.place(), user: user.clone(), said: answer.said() })
            }
            _ => {
                Ok(Session { http: self.http.clone(), header: self.http.basic(user, password), close: None })
            }
        }
    }

    async fn get(&self, session: &Session, path: &str) -> Result<Answer, PowerError> {
        let answer = self.http.send(("GET", path), &[session.header()], None).await?;
        match answer.status {
            200..=299 => Ok(answer),
            401 | 403 => Err(PowerError::Login {
                place: self.http.place(),
                user: self.bmc.user.clone(),
                said: answer.said(),
            }),
            _ => Err(self.refused(&format!("to show {path}"), &answer)),
        }
    }

    fn refused(&self, what: &str, answer: &Answer) -> PowerError {
        PowerError::Refused { place: self.http.place(), what: what.to_owned(), said: answer.said() }
    }

    /// The one system, or the one that the node names.
    async fn system(&self, session: &Session) -> Result<System, PowerError> {
        let members = self.get(session, SYSTEMS).await?.document;
        let path =
            |member: &Value| member["@odata.id"].as_str().map(|path| path.trim_end_matches('/').to_owned());
        let paths: Vec<String> = members["Members"]
            .as_array()
            .map(|all| all.iter().filter_map(path).collect())
            .unwrap_or_default();
        let id = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let path = match (&self.bmc.system, paths.as_slice()) {
            (None, [only]) => only.clone(),
            (wanted, _) => {
                let found = paths.iter().find(|path| wanted.as_ref() == Some(&id(path)));
                found.cloned().ok_or_else(|| {
                    let ids: Vec<String> = paths.iter().map(id).collect();
                    let (node, ids) = (&self.bmc.node, ids.join(", "));
                    PowerError::Definition(format!(
                        "{} has these systems: {ids}; name the node's: `chdef {node} redfishsystem=<one>`",
                        self.http.place()
                    ))
                })?
            }
        };
        let Answer { document, etag, .. } = self.get(session, &path).await?;
        Ok(System { path, etag, document })
    }

    async fn switched(&self, session: &Session, switch: Switch) -> Result<(), PowerError> {
        let system = self.system(session).await?;
        let Some(types) = reset_types(&system.document, switch) else {
            return Err(PowerError::Unsupported {
                what: format!("power {}", values::word(switch)),
                method: "redfish",
                advice: "the system does not list such a reset among those it allows",
            });
        };
        for (index, kind) in types.iter().enumerate() {
            if index > 0 {
                // Off, and then on: a system that is still on would take the second for done.
                self.await_off(session).await?;
            }
            self.reset(session, &system, kind).await?;
        }
        Ok(())
    }

    async fn await_off(&self, session: &Session) -> Result<(), PowerError> {
        // The node's time limit ends this.
        while power_state(&self.system(session).await?.document) != PowerState::Off {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn reset(&self, session: &Session, system: &System, kind: &str) -> Result<(), PowerError> {
        let given = system.document["Actions"]["#ComputerSystem.Reset"]["target"].as_str();
        let target =
            given.map_or_else(|| format!("{}/Actions/ComputerSystem.Reset", system.path), str::to_owned);
        let body = json!({ "ResetType": kind });
        let sent = self.http.send(("POST", &target), &[session.header()], Some(&body)).await;
        match sent {
            Ok(answer) if (200..=299).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(self.refused(&format!("reset type {kind}"), &answer)),
            // It may have been done, so it must not be asked for again.
            Err(PowerError::Unreachable { said, .. }) => {
                Err(PowerError::Unsure { place: self.http.place(), what: format!("reset type {kind}"), said })
            }
            Err(other) => Err(other),
        }
    }

    async fn ordered(&self, session: &Session, order: BootOrder) -> Result<BootState, PowerError> {
        let system = self.system(session).await?;
        let (target, enabled) = override_of(order);
        let mut boot = json!({ "BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled });
        if let Some(mode) = mode(&system.document, order.uefi) {
            boot["BootSourceOverrideMode"] = mode.into();
        }
        let body = json!({ "Boot": boot });
        let mut headers = vec![session.header()];
        headers.extend(system.etag.as_deref().map(|etag| ("If-Match", etag)));
        let what = format!("boot device {target}");
        let answer = self.http.send(("PATCH", &system.path), &headers, Some(&body)).await?;
        if !(200..=299).contains(&answer.status) {
            return Err(self.refused(&what, &answer));
        }
        let now = boot_state(&self.system(session).await?.document);
        if same_device(now, order.device) {
            return Ok(now);
        }
        Err(PowerError::NotTaken { place: self.http.place(), wanted: what, found: now.to_string() })
    }
}

/// Who we are to the BMC. BMCs have few sessions, so each is closed, also when nobody waits for what it was for.
struct Session {
    http: Http,
    header: (&'static str, String),
    close: Option<String>,
}

impl Session {
    fn header(&self) -> (&str, &str) {
        (self.header.0, &self.header.1)
    }

    async fn log_out(mut self) {
        if let Some(path) = self.close.take() {
            closed(&self.http, &path, &self.header).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(path) = self.close.take() else { return };
        let (http, header) = (self.http.clone(), self.header.clone());
        tokio::spawn(async move { closed(&http, &path, &header).await });
    }
}

async fn closed(http: &Http, path: &str, header: &(&'static str, String)) {
    if let Err(error) = http.send(("DELETE", path), &[(header.0, &header.1)], None).await {
        tracing::debug!(%error, "a Redfish session was not closed; the BMC ends it by itself");
    }
}
