//! The steps of a long run: said when they begin and end, timed, and named when they fail.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A run of named steps.
#[derive(Debug)]
pub struct Steps {
    started: Instant,
    rows: RefCell<Vec<(String, Duration)>>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { started: Instant::now(), rows: RefCell::default() }
    }
}

impl Steps {
    /// Does one step; `name` says what, and on which node when there is one (`capture golden`).
    ///
    /// # Errors
    /// The step's own failure, with its name.
    pub fn run<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.say(name);
        let started = Instant::now();
        let done = work().with_context(|| format!("step '{name}'"))?;
        let took = started.elapsed();
        self.rows.borrow_mut().push((name.to_owned(), took));
        self.say(&format!("  done in {:.1} s", took.as_secs_f64()));
        Ok(done)
    }

    /// Adds a part of a step, measured elsewhere, to the table of times.
    pub fn note(&self, name: &str, took: Duration) {
        self.rows.borrow_mut().push((format!("  {name}"), took));
    }

    /// Prints a line with the time since the start.
    pub fn say(&self, text: &str) {
        println!("[{:7.1}] {text}", self.started.elapsed().as_secs_f64());
    }

    /// The times of all steps as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let rows = self.rows.borrow();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut table = String::new();
        for (name, took) in rows.iter() {
            let _ = writeln!(table, "{name:width$}  {:7.1} s", took.as_secs_f64());
        }
        let _ = writeln!(table, "{:width$}  {:7.1} s", "in all", self.started.elapsed().as_secs_f64());
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_with_its_reason() {
        let steps = Steps::default();
        let error = steps.run::<()>("capture golden", || anyhow::bail!("no route")).unwrap_err();
        assert_eq!(format!("{error:#}"), "step 'capture golden': no route");
    }

    #[test]
    fn parts_stand_under_their_step() {
        let steps = Steps::default();
        steps.run("install", || Ok(())).unwrap();
        steps.note("pull", Duration::from_millis(1500));
        let table = steps.table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("install ") && lines[1].starts_with("  pull "), "{table}");
        assert!(lines[1].ends_with(" 1.5 s") && lines[2].starts_with("in all "), "{table}");
    }
}
