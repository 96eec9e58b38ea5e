//! How far something is that takes a while: files, bytes, rate, time left.

use std::time::Duration;

/// What runs shorter than this shows no progress.
const QUIET: Duration = Duration::from_secs(2);

/// How often a terminal's line is written anew.
const TERMINAL_STEP: Duration = Duration::from_millis(200);

/// How often a line is written where lines stay, such as a log file.
const LOG_STEP: Duration = Duration::from_secs(10);

/// What has been done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Files seen.
    pub(super) files: u64,
    /// Bytes read.
    pub(super) bytes: u64,
    /// Bytes in all, estimated.
    pub(super) total: u64,
    /// Bytes sent.
    pub(super) sent: u64,
}

/// Decides when to show progress, and in what words.
#[derive(Debug)]
pub(super) struct Meter {
    step: Duration,
    shown: Option<Duration>,
    /// When the first sample came, and its bytes: what was there before is not part of the rate.
    first: Option<(Duration, u64)>,
}

impl Meter {
    pub(super) fn new(terminal: bool) -> Self {
        Self { step: if terminal { TERMINAL_STEP } else { LOG_STEP }, shown: None, first: None }
    }

    /// Whether it is time to show something, which is shown then.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.shown.map_or(QUIET, |shown| shown + self.step);
        if due {
            self.shown = Some(now);
        }
        due
    }

    /// A sample taken `now`, counted from the start; the text to show, when it is time to show one.
    pub(super) fn take(&mut self, now: Duration, sample: Sample) -> Option<String> {
        let first = *self.first.get_or_insert((now, sample.bytes));
        self.is_due(now).then(|| text(sample, rate(first, now, sample.bytes)))
    }
}

/// Bytes a second, when enough time has passed to tell.
fn rate((since, before): (Duration, u64), now: Duration, bytes: u64) -> Option<f64> {
    let seconds = now.checked_sub(since)?.as_secs_f64();
    let read = bytes.saturating_sub(before);
    (seconds >= 1.0 && read > 0).then_some(read as f64 / seconds)
}

fn text(sample: Sample, rate: Option<f64>) -> String {
    let Sample { files, bytes: read, total, sent } = sample;
    let mut text =
        format!("{} files, {} of {}, {} sent", grouped(files), bytes(read), bytes(total), bytes(sent));
    if let Some(rate) = rate {
        let left = Duration::from_secs_f64((total.saturating_sub(read) as f64 / rate).min(360_000.0));
        text.push_str(&format!(", {}/s, {} left", bytes(rate as u64), clock(left)));
    }
    text
}

/// Bytes in decimal units, as disks and networks are counted.
pub(super) fn bytes(count: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
}

/// `1:02:03`, or `2:03` within the hour.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A number with a comma at every third digit.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn sample(files: u64, read: u64, total: u64) -> Sample {
        Sample { files, bytes: read * MB, total: total * MB, sent: read * MB / 3 }
    }

    #[test]
    fn nothing_is_shown_for_the_first_two_seconds() {
        let mut meter = Meter::new(true);
        assert_eq!(meter.take(at(100), sample(10, 0, 3000)), None);
        assert_eq!(meter.take(at(1900), sample(900, 90, 3000)), None);
        assert_eq!(
            meter.take(at(2100), sample(12_345, 200, 3000)).unwrap(),
            "12,345 files, 200.0 MB of 3.0 GB, 66.7 MB sent, 100.0 MB/s, 0:28 left"
        );
    }

    #[test]
    fn a_terminal_is_written_more_often_than_a_log() {
        let shown = |terminal| {
            let mut meter = Meter::new(terminal);
            (0..300).filter(|i| meter.take(at(i * 100), sample(*i, *i, 3000)).is_some()).count()
        };
        assert_eq!((shown(true), shown(false)), (140, 3));
    }

    #[test]
    fn a_rate_that_is_not_known_is_not_shown() {
        let mut meter = Meter::new(true);
        let text = meter.take(at(60_000), sample(0, 0, 3000)).unwrap();
        assert_eq!(text, "0 files, 0 B of 3.0 GB, 0 B sent");
    }

    #[test]
    fn more_than_the_estimate_leaves_no_time() {
        let mut meter = Meter::new(true);
        meter.take(at(0), sample(0, 0, 10));
        assert!(meter.take(at(4000), sample(5, 12, 10)).unwrap().ends_with("3.0 MB/s, 0:00 left"));
    }

    #[test]
    fn times_and_numbers_are_easy_to_read() {
        assert_eq!([clock(at(59_900)), clock(at(61_000)), clock(at(3_723_000))], ["0:59", "1:01", "1:02:03"]);
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([bytes(999), bytes(1_500), bytes(2_000_000_000)], ["999 B", "1.5 kB", "2.0 GB"]);
    }
}
