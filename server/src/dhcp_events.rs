//! Puts into the event log what an administrator wants to know of the DHCP server: who is not answered and why. The
//! answers themselves are in its log.

use std::sync::Arc;

use sysclone_protocol::names::Mac;

use crate::app::App;
use crate::db::NewEvent;
use crate::dhcp::{Events, Replied, Silence};

/// The event log, as the DHCP server sees it.
pub(crate) struct DhcpEvents(pub(crate) Arc<App>);

impl Events for DhcpEvents {
    fn replied(&self, _what: &Replied) {}

    fn silent(&self, mac: Option<Mac>, reason: &Silence) {
        let kind = match reason {
            Silence::Unknown { .. } => "dhcp-unknown",
            Silence::Incomplete(_) => "dhcp-refused",
            Silence::Declined { .. } => "dhcp-conflict",
            Silence::NotLent(_) => "discovery-refused",
            // Everyday traffic of other servers' clients, and nonsense.
            Silence::Malformed(_)
            | Silence::OtherServer(_)
            | Silence::Released { .. }
            | Silence::NoAddress
            | Silence::Lending { .. }
            | Silence::Foreign { .. }
            | Silence::FromServer => return,
        };
        let text = reason.to_string();
        let app = Arc::clone(&self.0);
        let node = mac.and_then(|mac| app.known.now().by_mac(&mac).map(|node| node.name.to_string()));
        self.0.tasks.spawn(async move {
            let event = NewEvent { node: node.as_deref(), actor: "dhcp", kind, text };
            app.record_refusal(event).await;
        });
    }
}
