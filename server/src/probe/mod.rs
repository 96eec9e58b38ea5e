//! Looks at everything on the server's side that a deployment needs, before one is started. Changes nothing.

mod files;
mod network;
mod offers;
mod ports;

use std::sync::Arc;

use crate::app::App;
use crate::wire::probe::Check;

/// All checks, in the order in which a deployment needs them. Blocks for a few seconds, for answers of the network.
pub(crate) fn probe(app: &Arc<App>) -> Vec<Check> {
    let mut checks = vec![ports::address(app)];
    checks.extend(ports::services(app));
    checks.extend(network::dhcp(app));
    checks.push(network::nodes(app));
    checks.push(files::boot_files(app));
    checks.push(files::clock(app));
    checks.push(files::store(app));
    checks.push(files::space(app));
    checks
}
