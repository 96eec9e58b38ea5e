//! Tells the server what happens, in order, without holding up the work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use sysclone_protocol::agent::{AgentEvent, AgentEventKind, EventReply, Phase};

use crate::client::{CallError, Client, Patience};

/// Progress is told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

enum Message {
    Tell(AgentEvent),
    Ask(AgentEvent, Sender<Result<EventReply, CallError>>),
}

/// The server's ear. Events wait in line while the server is away; progress is dropped then.
pub struct Reporter {
    line: Sender<Message>,
    progress: Arc<Mutex<Option<AgentEvent>>>,
    stop: Arc<AtomicBool>,
}

impl Reporter {
    /// Starts telling as `client`.
    #[must_use]
    pub fn start(client: Client) -> Self {
        let (line, messages) = unbounded();
        let progress = Arc::new(Mutex::new(None));
        let stop = Arc::new(AtomicBool::new(false));
        let teller = Teller { client, messages, progress: Arc::clone(&progress), stop: Arc::clone(&stop) };
        // It ends when the reporter is dropped; what it is doing then is of no use to anybody.
        std::thread::spawn(move || teller.run());
        Self { line, progress, stop }
    }

    /// True when the server has withdrawn the job: nothing more may be written.
    #[must_use]
    pub fn withdrawn(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The flag behind [`Reporter::withdrawn`], for readers that must stop in the middle.
    #[must_use]
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Tells the server and goes on.
    pub fn tell(&self, phase: Phase, kind: AgentEventKind) {
        drop(self.line.send(Message::Tell(AgentEvent { phase, kind })));
    }

    /// Tells the server after everything told before, and waits for its answer.
    ///
    /// # Errors
    /// The server refused.
    pub fn ask(&self, phase: Phase, kind: AgentEventKind) -> anyhow::Result<EventReply> {
        let (sender, answer) = bounded(1);
        drop(self.line.send(Message::Ask(AgentEvent { phase, kind }, sender)));
        Ok(answer.recv().map_err(|_| anyhow::anyhow!("the reporting thread ended"))??)
    }

    /// Tells how far the phase is, soon or never.
    pub fn progress(&self, phase: Phase, (done, total): (u64, u64)) {
        let event = AgentEvent { phase, kind: AgentEventKind::Progress { done, total } };
        *self.progress.lock().expect("no holder panics") = Some(event);
    }
}

struct Teller {
    client: Client,
    messages: Receiver<Message>,
    progress: Arc<Mutex<Option<AgentEvent>>>,
    stop: Arc<AtomicBool>,
}

impl Teller {
    fn run(self) {
        let impatient = self.client.clone().with_patience(Patience::For(Duration::ZERO));
        let mut last_progress = Instant::now();
        loop {
            match self.messages.recv_timeout(PROGRESS_EVERY) {
                Ok(Message::Tell(event)) => self.tell(&event),
                Ok(Message::Ask(event, answer)) => {
                    // Nobody waits for the answer when the work has failed meanwhile.
                    drop(answer.send(self.deliver(&self.client, &event)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if last_progress.elapsed() >= PROGRESS_EVERY {
                let event = self.progress.lock().expect("no holder panics").take();
                if let Some(event) = event {
                    last_progress = Instant::now();
                    if let Err(error) = self.deliver(&impatient, &event) {
                        tracing::debug!(%error, "progress not told");
                    }
                }
            }
        }
    }

    fn tell(&self, event: &AgentEvent) {
        if let Err(error) = self.deliver(&self.client, event) {
            tracing::warn!("an event was not taken: {:#}", anyhow::Error::new(error));
        }
    }

    /// A server that refuses an event does not know the job any more, which is as good as a withdrawal.
    fn deliver(&self, client: &Client, event: &AgentEvent) -> Result<EventReply, CallError> {
        let outcome = client.event(event);
        match &outcome {
            Ok(reply) if !reply.abort => {}
            Ok(_) | Err(CallError::Refused { .. }) => self.stop.store(true, Ordering::Relaxed),
            Err(CallError::Unreachable { .. } | CallError::Busy { .. } | CallError::Garbled { .. }) => {}
        }
        outcome
    }
}
