//! The command line: what is typed becomes calls to the daemon, and its answers become text in the forms that
//! xCAT's users and scripts know. Nothing is decided here about nodes or images. Data goes to standard output,
//! everything else to standard error.

mod args;
mod audit;
mod capture;
mod client;
mod complete;
mod console;
mod define;
mod events;
mod image;
mod interrupt;
mod links;
mod list;
mod manual;
mod meter;
mod nodeset;
mod objects;
mod power;
mod probe;
mod remote;
mod remove;
mod render;
mod rinstall;
mod rnetboot;
mod stanza;
mod status;
mod tables;
mod targets;
mod templates;
mod token;
mod update;
mod watch;
mod words;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use args::{APPLETS, Program, Verb};
use console::{Closed, Console, Exit, Usage};

/// Runs the program as `args` ask, the first of which is the name it was called by. Exit status: 0 all done, 1
/// something failed, 2 wrong usage, 130 interrupted.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = by_name(args);
    if complete::answered(&args[0], args.clone().into_iter()) {
        return Exit::Done.into();
    }
    let program = Program::parse_from(args);
    let verb = match program {
        Program::Sysclone(sysclone) => sysclone.verb,
        Program::Applet(verb) => verb,
    };
    let mut console = Console::of_process();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(verb_done(verb, &mut console)));
    finish(result, &mut console)
}

/// The program's name becomes one that is known: a link called `lsdef` is that verb, anything else is `sysclone`.
fn by_name(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let called = args.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    let name = APPLETS.into_iter().find(|applet| called == Some(applet)).unwrap_or("sysclone").into();
    match args.first_mut() {
        Some(first) => *first = name,
        None => args.push(name),
    }
    args
}

async fn verb_done(verb: Verb, console: &mut Console) -> anyhow::Result<Exit> {
    match verb {
        Verb::Mkdef(args) => define::make(&args, console).await,
        Verb::Chdef(args) => define::change(&args, console).await,
        Verb::Lsdef(args) => list::run(&args, console).await,
        Verb::Rmdef(args) => remove::run(&args, console).await,
        Verb::Nodels(args) => tables::nodels(&args, console).await,
        Verb::Nodeadd(args) => tables::nodeadd(&args, console).await,
        Verb::Nodech(args) => tables::nodech(&args, console).await,
        Verb::Noderm(args) => tables::noderm(&args, console).await,
        Verb::Nodegrpch(args) => tables::nodegrpch(&args, console).await,
        Verb::Tabdump(args) => tables::tabdump(&args, console).await,
        Verb::Gettab(args) => tables::gettab(&args, console).await,
        Verb::Chtab(args) => tables::chtab(&args, console).await,
        Verb::Tabgrep(args) => tables::tabgrep(&args, console).await,
        Verb::Nodeset(args) => nodeset::run(&args, console).await,
        Verb::Imgcapture(args) => capture::run(&args, console).await,
        Verb::Nodestat(args) => status::run(&args, console).await,
        Verb::Rpower(args) => power::rpower(&args, console).await,
        Verb::Rsetboot(args) => power::rsetboot(&args, console).await,
        Verb::Rinstall(args) => rinstall::run(&args, console).await,
        Verb::Rnetboot(args) => rnetboot::run(&args, console).await,
        Verb::Xdsh(args) => remote::xdsh(&args, console).await,
        Verb::Xdcp(args) => remote::xdcp(&args, console).await,
        Verb::Updatenode(args) => update::updatenode(&args, console).await,
        Verb::Verify(args) => update::verify(&args, console).await,
        Verb::Probe(args) => probe::run(&args, console).await,
        Verb::Events(args) => events::run(&args, console).await,
        Verb::Audit(args) => audit::run(&args, console).await,
        Verb::Token(args) => token::run(&args, console).await,
        Verb::Watch(args) => watch::run(&args, console).await,
        Verb::Image(args) => image::run(&args.verb, console).await,
        Verb::InstallLinks(args) => links::run(&args, console),
        Verb::Completions(args) => complete::script(&args, console),
        Verb::ManPages(args) => manual::write(&args, console),
    }
}

fn finish(result: anyhow::Result<Exit>, console: &mut Console) -> ExitCode {
    let error = match result {
        Ok(exit) => return exit.into(),
        Err(error) => error,
    };
    // Who closed the pipe that we write to has seen enough; there is nobody left to tell.
    if error.is::<Closed>() {
        return Exit::Done.into();
    }
    drop(console.error(&format!("{error:#}")));
    if error.is::<Usage>() { Exit::Usage.into() } else { Exit::Failed.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Program::command().debug_assert();
    }

    #[test]
    fn links_are_verbs_and_every_other_name_is_the_program() {
        for (called, name) in [
            ("/usr/bin/lsdef", "lsdef"),
            ("mkdef", "mkdef"),
            ("./sysclone-0.1", "sysclone"),
            ("sysclone", "sysclone"),
            ("watch", "sysclone"),
        ] {
            assert_eq!(by_name([called.into(), "x".into()]), [name, "x"]);
        }
        assert_eq!(by_name([]), ["sysclone"]);
    }
}
