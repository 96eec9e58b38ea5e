//! What people and programs read on a console: one line per message, `[   12.345] sysclone: phase pull started`.
//! The number is seconds since power-on, as in the kernel's own lines.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::{Arc, Mutex};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Crates whose messages are ours; libraries talk too much below warnings.
const OWN: &[&str] = &["sysclone", "lvm2_cmd_wrapper"];
/// Everything at debug level, for the person in the failure shell.
pub const LOG_FILE: &str = "/run/sysclone/agent.log";

/// Where messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Every active console of the machine, and [`LOG_FILE`].
    Consoles,
    /// Standard error.
    Stderr,
}

/// Starts logging. Later calls do nothing, so that every role may call it.
pub fn start_logging(place: Place, debug: bool) {
    let level = if debug { Level::DEBUG } else { Level::INFO };
    let outcome = match place {
        Place::Consoles => {
            let consoles = Lines::consoles();
            let file = Lines::file(LOG_FILE);
            tracing_subscriber::registry()
                .with(layer(consoles).with_filter(own(level)))
                .with(layer(file).with_filter(own(Level::DEBUG)))
                .try_init()
        }
        Place::Stderr => {
            tracing_subscriber::registry().with(layer(io::stderr).with_filter(own(level))).try_init()
        }
    };
    if outcome.is_err() {
        tracing::debug!("logging was started before");
    }
}

fn layer<S, W>(
    writer: W,
) -> tracing_subscriber::fmt::Layer<S, tracing_subscriber::fmt::format::DefaultFields, Format, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + 'static,
{
    tracing_subscriber::fmt::layer().with_ansi(false).event_format(Format).with_writer(writer)
}

fn own(level: Level) -> Targets {
    Targets::new().with_default(Level::WARN).with_targets(OWN.iter().map(|target| (*target, level)))
}

/// Seconds since the machine was switched on.
#[must_use]
pub fn uptime_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanos = i32::try_from(now.tv_nsec).unwrap_or_default();
    i32::try_from(now.tv_sec).map_or(f64::MAX, f64::from) + f64::from(nanos) / 1e9
}

/// Formats one event as one line.
#[derive(Debug, Clone, Copy)]
struct Format;

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let mark = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG | Level::TRACE => "debug: ",
        };
        writeln!(writer, "[{:>9.3}] sysclone: {mark}{}{}", uptime_seconds(), line.message, line.fields)
    }
}

/// The message and the fields of an event as text. Control characters never reach a console: names and error texts
/// come from disks and networks.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.add(field.name(), &text);
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.add(field.name(), value);
    }
}

impl Line {
    fn add(&mut self, name: &str, value: &str) {
        let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if name == "message" {
            self.message = clean;
        } else {
            write!(self.fields, " {name}={clean}").expect("writing to a String does not fail");
        }
    }
}

/// Writes whole lines to several files. One that cannot be written (a serial port that is not there) is no reason
/// to stop an installation.
#[derive(Clone)]
struct Lines {
    files: Arc<Mutex<Vec<File>>>,
}

impl Lines {
    fn consoles() -> Self {
        let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        let mut files: Vec<File> =
            active.split_whitespace().filter_map(|name| open(&format!("/dev/{name}"))).collect();
        if files.is_empty() {
            files.extend(open("/dev/console"));
        }
        Self { files: Arc::new(Mutex::new(files)) }
    }

    fn file(path: &str) -> Self {
        Self { files: Arc::new(Mutex::new(open(path).into_iter().collect())) }
    }
}

fn open(path: &str) -> Option<File> {
    OpenOptions::new().create(!path.starts_with("/dev/")).append(true).open(path).ok()
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for file in self.files.lock().expect("no holder panics").iter_mut() {
            // See the type: losing a line on one console is all that can happen.
            drop(file.write_all(bytes));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> tracing_subscriber::fmt::MakeWriter<'w> for Lines {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_with_time_and_fields() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let writer = move || Shared(Arc::clone(&sink));
        let subscriber = tracing_subscriber::registry().with(layer(writer).with_filter(own(Level::INFO)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("phase pull started");
            tracing::warn!(disk = "sda\u{1b}[2J\n", size_bytes = 5, "disk is small");
            tracing::debug!("not shown");
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| line.split_once("] ").unwrap().1).collect();
        assert_eq!(
            lines,
            ["sysclone: phase pull started", "sysclone: warning: disk is small disk=sda [2J  size_bytes=5"]
        );
        assert!(text.starts_with('['), "{text}");
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
