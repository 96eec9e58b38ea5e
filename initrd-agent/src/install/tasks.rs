//! Work from memory: the steps of an order one after the other. No disk is touched but by the administrator's own
//! commands.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use sysclone_exec::{Command, Runner, System, Tool, start_attached};
use sysclone_protocol::agent::{AgentEventKind, Phase, TaskOrder};
use sysclone_protocol::task::Task;

use super::reporter::Reporter;
use super::steps::Steps;
use crate::init::{console_shell, switch_off};

/// How often a machine that is at work says that it still is; the answer tells it when it is wanted elsewhere.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How often a waiting machine looks whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A command that takes longer hangs.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(3600);
const SHELL: Tool = Tool("busybox");

/// Does the steps; answers what is to be said when the machine now restarts.
pub(super) fn carry_out(order: &TaskOrder, mut steps: Steps) -> anyhow::Result<&'static str> {
    steps.phase(Phase::Task, |reporter| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| stay_in_touch(reporter, &over));
            let done = order.tasks.steps().iter().try_for_each(|task| step(task, reporter));
            over.store(true, Ordering::Relaxed);
            done
        })
    })?;
    let reporter = steps.reporter();
    if reporter.withdrawn() {
        return Ok("the server has something else for this machine: restarting");
    }
    reporter.ask(Phase::Task, AgentEventKind::Worked).context("telling the server that all is done")?;
    if order.tasks.steps().last() == Some(&Task::Shutdown) {
        switch_off();
        bail!("the kernel did not switch the machine off");
    }
    Ok("all is done: restarting")
}

fn stay_in_touch(reporter: &Reporter, over: &AtomicBool) {
    let mut looks = 0_u128;
    while !over.load(Ordering::Relaxed) {
        if looks.is_multiple_of(ALIVE_EVERY.as_millis() / LOOK_EVERY.as_millis()) {
            reporter.progress(Phase::Task, (0, 0));
        }
        looks += 1;
        std::thread::sleep(LOOK_EVERY);
    }
}

fn step(task: &Task, reporter: &Reporter) -> anyhow::Result<()> {
    match task {
        Task::Run { command } => run(command, reporter, &System),
        Task::Shell => shell(reporter),
        Task::Standby => {
            tracing::info!("waiting until nodeset has something else for this machine");
            while !reporter.withdrawn() {
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(())
        }
        // What comes after the last step.
        Task::Shutdown => Ok(()),
    }
}

/// What the command says goes to the server as it is said, both outputs together.
fn run(command: &str, reporter: &Reporter, runner: &dyn Runner) -> anyhow::Result<()> {
    ensure!(!reporter.withdrawn(), "the job was withdrawn on the server");
    tracing::info!("running {command}");
    let mut program = Command::new(SHELL).args(["sh", "-c", &format!("exec 2>&1\n{command}")]);
    for status in 1..=255 {
        program = program.accept(status);
    }
    let output =
        runner.run(&program.timeout(COMMAND_TIMEOUT)).with_context(|| format!("running {command}"))?;
    let said = output.text();
    let said = said.trim_end();
    for line in said.lines() {
        tracing::info!("| {line}");
    }
    let text =
        if said.is_empty() { format!("{command}: said nothing") } else { format!("{command}:\n{said}") };
    reporter.tell(Phase::Task, AgentEventKind::Note { text });
    ensure!(output.status == 0, "{command}: ended with status {}", output.status);
    Ok(())
}

fn shell(reporter: &Reporter) -> anyhow::Result<()> {
    let text = "a root shell is on the console".to_owned();
    reporter.tell(Phase::Task, AgentEventKind::Note { text });
    tracing::info!("root shell on the console; leave it to restart the machine");
    let mut child = start_attached(&console_shell())?;
    let ended = child.wait().context("waiting for the shell")?;
    tracing::debug!(%ended, "shell");
    Ok(())
}

#[cfg(test)]
mod tests {
    use sysclone_exec::Script;

    use super::*;
    use crate::client::{Client, Patience};

    fn reporter() -> Reporter {
        // Nobody listens there; what is told waits in line.
        let ca = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem();
        Reporter::start(Client::new("https://127.0.0.1:9", &ca, Patience::Endless).unwrap())
    }

    #[test]
    fn a_command_that_fails_ends_the_work_with_its_status() {
        let error = run("echo here; false", &reporter(), &System).unwrap_err();
        assert_eq!(error.to_string(), "echo here; false: ended with status 1");
        run("true | cat", &reporter(), &System).unwrap();
        let script = Script::new().on("busybox sh -c", "hello");
        run("uname -r", &reporter(), &script).unwrap();
        assert_eq!(script.lines(), [r#"busybox sh -c "exec 2>&1\nuname -r""#]);
    }
}
