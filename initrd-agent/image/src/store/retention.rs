//! Which old generations go by themselves.

use std::time::{Duration, SystemTime};

use sysclone_protocol::names::{ImageName, ImageRef};

use super::{Store, StoreError, files};

/// What is kept. A generation goes only when no part of the rule keeps it; the newest, tagged ones and those in use
/// are always kept. A rule without parts keeps everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionRule {
    /// So many of the newest.
    pub keep_last: Option<u32>,
    /// Those that were made less than this ago.
    pub keep_younger: Option<Duration>,
}

/// One generation in the history of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub generation: u32,
    /// When it came into this store, by this server's clock.
    pub at: SystemTime,
    /// Whether a tag or a use holds it.
    pub held: bool,
}

/// The generations that the rule lets go, oldest first.
#[must_use]
pub fn plan_retention(history: &[Made], rule: &RetentionRule, now: SystemTime) -> Vec<u32> {
    if *rule == RetentionRule::default() {
        return Vec::new();
    }
    let mut history = history.to_vec();
    history.sort_unstable_by_key(|made| made.generation);
    let last = rule.keep_last.unwrap_or(0).max(1);
    let old_enough = history.len().saturating_sub(usize::try_from(last).unwrap_or(usize::MAX));
    // A clock that went back makes an age unknown: young.
    let young = |made: &Made| {
        rule.keep_younger.is_some_and(|age| now.duration_since(made.at).map_or(true, |since| since < age))
    };
    let goes = |made: &&Made| !made.held && !young(made);
    history[..old_enough].iter().filter(goes).map(|made| made.generation).collect()
}

impl Store {
    /// The generations of an image, oldest first, with what the retention rule looks at.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn history(&self, image: &ImageName, now: SystemTime) -> Result<Vec<Made>, StoreError> {
        let tags = self.tags(image)?;
        let pins = self.pins(image, now)?;
        let mut history = Vec::new();
        for generation in self.generations(image)? {
            let path = self.manifest_file(image, generation);
            let at = match path.metadata().and_then(|metadata| metadata.modified()) {
                // Removed since it was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(files::failed("reading", &path))?,
            };
            let tagged = tags.values().any(|tagged| *tagged == generation);
            let pinned = pins.iter().any(|pin| pin.generation == generation);
            history.push(Made { generation, at, held: tagged || pinned });
        }
        Ok(history)
    }

    /// Removes the generations that the rule lets go; answers which they were.
    ///
    /// # Errors
    /// The store cannot be read or changed.
    pub fn retain(
        &self,
        image: &ImageName,
        rule: &RetentionRule,
        now: SystemTime,
    ) -> Result<Vec<u32>, StoreError> {
        let _alone = self.removing()?;
        let go = plan_retention(&self.history(image, now)?, rule, now);
        for generation in &go {
            self.remove_generation(&ImageRef { name: image.clone(), generation: *generation })?;
        }
        Ok(go)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Generations 1 to 6, made that many days ago: 60, 40, 20, 10, 5, 1. The second is held.
    fn history(now: SystemTime) -> Vec<Made> {
        let days = [60, 40, 20, 10, 5, 1];
        let made =
            |(generation, days): (u32, u32)| Made { generation, at: now - DAY * days, held: generation == 2 };
        (1..).zip(days).map(made).collect()
    }

    #[test]
    fn a_generation_goes_only_when_nothing_keeps_it() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let rule = |keep_last, days: Option<u32>| RetentionRule {
            keep_last,
            keep_younger: days.map(|days| DAY * days),
        };
        let table: [(RetentionRule, &[u32]); 10] = [
            (rule(None, None), &[]),
            (rule(Some(0), None), &[1, 3, 4, 5]),
            (rule(Some(1), None), &[1, 3, 4, 5]),
            (rule(Some(3), None), &[1, 3]),
            (rule(Some(100), None), &[]),
            (rule(None, Some(0)), &[1, 3, 4, 5]),
            (rule(None, Some(10)), &[1, 3, 4]),
            (rule(None, Some(11)), &[1, 3]),
            (rule(Some(4), Some(2)), &[1]),
            (rule(Some(2), Some(30)), &[1]),
        ];
        for (rule, goes) in table {
            assert_eq!(plan_retention(&history(now), &rule, now), goes, "{rule:?}");
        }
    }

    #[test]
    fn the_order_of_the_history_does_not_matter_and_a_clock_that_went_back_removes_nothing() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let mut reversed = history(now);
        reversed.reverse();
        let rule = RetentionRule { keep_last: Some(3), keep_younger: None };
        assert_eq!(plan_retention(&reversed, &rule, now), [1, 3]);
        let rule = RetentionRule { keep_last: None, keep_younger: Some(DAY) };
        assert!(plan_retention(&history(now), &rule, SystemTime::UNIX_EPOCH).is_empty());
        assert!(plan_retention(&[], &rule, now).is_empty());
    }
}
