//! The daemon: opens everything, serves until it is told to stop, closes everything. Whatever keeps it from starting is
//! said with the key to change or the thing to do.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use sysclone_image::Store;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{admin_router, agent_router, metrics_router};
use crate::app::App;
use crate::boot::BootService;
use crate::capture::Captures;
use crate::config::Config;
use crate::db::{Db, NewEvent};
use crate::define::Known;
use crate::deploy::Progress;
use crate::discover::Discovery;
use crate::http::{serve_plain, serve_tcp, serve_tls, serve_unix};
use crate::images::collect_daily;
use crate::power::make_home;
use crate::said::Said;
use crate::sockets::{Sockets, check_address};
use crate::trust::Keys;
use crate::update::Updates;

/// How long downloads that are under way may go on when the server stops. Agents try again elsewhere or later.
const GRACE: Duration = Duration::from_secs(10);

/// Runs until `cancel`; calls `ready` once everything is open.
///
/// # Errors
/// It cannot start.
pub async fn run(config: Config, cancel: CancellationToken, ready: impl FnOnce()) -> Result<()> {
    check_address(&config)?;
    let _only_one = lock(&config.state_dir)?;
    let app = Arc::new(open(config, cancel.clone()).await?);
    let sockets = Sockets::open(&app)?;
    serve(&app, sockets)?;
    let (files, bytes) = app.boot_files.now().size();
    let event = NewEvent {
        node: None,
        actor: "server",
        kind: "server-started",
        text: "syscloned has started".into(),
    };
    app.db.record(event).await?;
    tracing::info!(files, bytes, address = %app.config.listen.address, "ready");
    ready();
    cancel.cancelled().await;
    tracing::info!("stopping");
    app.tasks.close();
    if tokio::time::timeout(GRACE, app.tasks.wait()).await.is_err() {
        tracing::warn!(tasks = app.tasks.len(), "some clients were still being served");
    }
    app.db.close().await;
    Ok(())
}

/// Two daemons with one state directory would undo each other's work.
fn lock(state_dir: &Path) -> Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .with_context(|| format!("creating state_dir {}", state_dir.display()))?;
    let path = state_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another syscloned is running with state_dir {}", state_dir.display()))?;
    Ok(file)
}

async fn open(config: Config, cancel: CancellationToken) -> Result<App> {
    let keys = Keys::load_or_create(&config.state_dir.join("keys"))?;
    let boot_files = BootService::load(&config.boot_dir, &keys)
        .with_context(|| format!("loading boot files (boot_dir in {})", config.path.display()))?;
    let store = Store::open(&config.store_dir()).context("opening the image store")?;
    let db = Db::open(&config.state_dir.join("sysclone.db"), &keys.attributes).await?;
    let known = Arc::new(Known::load(&db, config.listen.address).await?);
    let discovery = Discovery::load(&db.leases().await?);
    let ipmi_home = make_home(&config.state_dir).context("preparing a home directory for ipmitool")?;
    Ok(App {
        config,
        keys,
        db,
        store: Arc::new(store),
        known,
        discovery,
        boot_files,
        progress: Progress::default(),
        captures: Captures::default(),
        updates: Updates::default(),
        image_work: tokio::sync::Mutex::default(),
        said: Said::default(),
        counters: Arc::default(),
        ipmi_home,
        cancel,
        tasks: TaskTracker::new(),
    })
}

fn serve(app: &Arc<App>, sockets: Sockets) -> Result<()> {
    let (cancel, tasks) = (&app.cancel, &app.tasks);
    let tls = app.keys.tls.server_config(app.config.listen.address)?;
    let connections = || (cancel.clone(), tasks.clone());
    let (c, t) = connections();
    tasks.spawn(serve_plain(sockets.http, Arc::clone(app), c, t));
    let (c, t) = connections();
    tasks.spawn(serve_tls((sockets.https, TlsAcceptor::from(tls)), agent_router(Arc::clone(app)), c, t));
    let (c, t) = connections();
    tasks.spawn(serve_unix(sockets.admin, admin_router(Arc::clone(app)), c, t));
    if let (Some(listener), Some(at)) = (sockets.api, app.config.listen.api) {
        let (c, t) = connections();
        let tls = TlsAcceptor::from(app.keys.tls.server_config(*at.ip())?);
        tasks.spawn(serve_tls((listener, tls), admin_router(Arc::clone(app)), c, t));
    }
    if let Some(listener) = sockets.metrics {
        let (c, t) = connections();
        tasks.spawn(serve_tcp(listener, metrics_router(Arc::clone(app)), c, t));
    }
    if let Some(tftp) = sockets.tftp {
        let cancel = cancel.clone();
        tasks.spawn(async move {
            if let Err(error) = tftp.run(cancel.clone()).await {
                tracing::error!(%error, "TFTP ended, the server stops");
                cancel.cancel();
            }
        });
    }
    tasks.spawn(collect_daily(Arc::clone(app)));
    if let Some(dhcp) = sockets.dhcp {
        tasks.spawn(dhcp.run(cancel.clone()));
    }
    Ok(())
}
