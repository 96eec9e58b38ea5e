//! One reading of the golden client: hooks, snapshots, files; and a second one, as it is, when a snapshot ran over.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use sysclone_exec::System;
use sysclone_image::{
    CaptureError, CaptureFacts, CaptureJob, CaptureOptions, ImageKey, Manifest, Notice,
    capture as capture_tree,
};
use sysclone_protocol::agent::CaptureOrder;

use super::hooks::{self, Hooks};
use super::janitor::Janitor;
use super::known::{pack_ids, staged};
use super::output::Lines;
use super::view::{self, View};
use crate::client::{Client, UploadSink};
use crate::disk::Mount;

/// What is captured, and for whom.
pub(super) struct Golden<'a> {
    pub(super) order: &'a CaptureOrder,
    pub(super) client: &'a Client,
    pub(super) lines: &'a Lines,
    pub(super) mounts: Vec<Mount>,
    pub(super) facts: CaptureFacts,
    pub(super) options: CaptureOptions,
    /// The generation before.
    pub(super) parent: Option<&'a Manifest>,
}

/// Hooks, and who runs them when this process cannot any more.
struct Quiet<'a> {
    hooks: Hooks<'a>,
    janitor: &'a mut Janitor,
}

impl Quiet<'_> {
    fn begin(&mut self) -> anyhow::Result<()> {
        if self.hooks.is_empty() {
            return Ok(());
        }
        self.janitor.quiesced()?;
        self.hooks.pre()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if self.hooks.is_empty() {
            return Ok(());
        }
        self.hooks.post()?;
        self.janitor.released()
    }
}

/// What was read; none when a snapshot ran over meanwhile.
type Outcome = anyhow::Result<Option<Manifest>>;

impl Golden<'_> {
    /// Reads the machine. Hooks were run with `post` and all snapshots are gone when this returns.
    pub(super) fn capture(&self, janitor: &mut Janitor) -> anyhow::Result<Manifest> {
        let image = self.order.image.name.as_str();
        let hooks = Hooks::find(&System, Path::new(hooks::DIRECTORY), image)?;
        let mut quiet = Quiet { hooks, janitor };
        let live = self.order.live.then_some("snapshots were not wanted");
        if let Some(manifest) = self.attempt(&mut quiet, live)? {
            return Ok(manifest);
        }
        self.lines
            .step("a snapshot had no room for what changed on the machine; all is read again, as it is");
        let again = self.attempt(&mut quiet, Some("a snapshot ran over"))?;
        again.context("a snapshot ran over although there was none")
    }

    /// Lists files that did not hold still.
    pub(super) fn list(&self, notices: &[Notice]) {
        for notice in notices {
            self.lines
                .inconsistent(String::from_utf8_lossy(&notice.path).into_owned(), notice.reason.clone());
        }
    }

    fn attempt(&self, quiet: &mut Quiet<'_>, live: Option<&str>) -> Outcome {
        let read = quiet.begin().and_then(|()| self.look_and_read(quiet, live));
        let released = quiet.end();
        if let Err(error) = view::remove_all(&System, &view::btrfs_points(&self.mounts)) {
            // The next capture tries again; what was read is good.
            self.lines.step(&format!("a snapshot stays behind until the next capture: {error:#}"));
        }
        let manifest = read?;
        released?;
        Ok(manifest)
    }

    fn look_and_read(&self, quiet: &mut Quiet<'_>, live: Option<&str>) -> Outcome {
        let as_of = SystemTime::now();
        let machine = (&self.mounts[..], &self.facts.layout);
        let mut view = match live {
            Some(reason) => View::live(machine, reason),
            None => View::make(&System, machine)?,
        };
        let read = thread::scope(|scope| {
            let ((say, said), (go, may_go)) = (channel(), channel());
            // Only this thread sees the view; hooks and lvm2 are run where everything else on the machine is.
            let reader = scope.spawn(|| self.read(&mut view, as_of, (say, may_go)));
            // No word means that it failed, and says why when it is joined.
            let released = if said.recv() == Ok(true) { quiet.end() } else { Ok(()) };
            if released.is_ok() {
                // It may have failed meanwhile.
                let _ = go.send(());
            }
            drop(go);
            let read = reader.join().map_err(|_| anyhow!("the reading thread ended without saying why"))?;
            released.and(read)
        });
        if view.ran_over(&System)? {
            return Ok(None);
        }
        if let Err(error) = &read
            && let Some(CaptureError::Inconsistent(notices)) = error.downcast_ref()
        {
            self.list(notices);
        }
        read.map(Some)
    }

    /// Builds the view, says whether it holds still, waits for the word, and reads.
    fn read(
        &self,
        view: &mut View,
        as_of: SystemTime,
        (say, may_go): (Sender<bool>, Receiver<()>),
    ) -> anyhow::Result<Manifest> {
        let built = match view::leave_the_others() {
            Ok(()) => Some(view.build(Path::new(view::DIRECTORY))?),
            Err(errno) => {
                view.give_up(&format!("a mount name space of its own was refused ({errno})"));
                None
            }
        };
        for sentence in view.sentences() {
            self.lines.step(&sentence);
        }
        say.send(view.holds_still()).context("talking to the main thread")?;
        may_go.recv().context("waiting for the hooks")?;
        let root = built.as_ref().map_or(Path::new("/"), |built| built.root()).to_owned();
        let mount_points = view.points();
        self.read_files(CaptureOptions { root, mount_points, as_of: Some(as_of), ..self.options.clone() })
    }

    fn read_files(&self, options: CaptureOptions) -> anyhow::Result<Manifest> {
        let (client, lines) = (self.client, self.lines);
        let key = ImageKey::from_base64(self.order.image_key.reveal()).context("reading the image's key")?;
        let there = client.staged().context("asking for packs of an interrupted capture")?;
        let lost = pack_ids(&there.lost);
        let less = self.parent.filter(|_| !lost.is_empty()).map(|parent| parent.clone().without_packs(&lost));
        let staged = staged(self.order, (&key, there.packs))?;
        lines.step("reading files");
        let job = CaptureJob {
            options,
            facts: self.facts.clone(),
            parent: less.as_ref().or(self.parent),
            staged,
            key: &key,
        };
        let mut sink = UploadSink::new(client.clone());
        Ok(capture_tree(job, &mut sink, &|progress| lines.progress(progress))?)
    }
}
