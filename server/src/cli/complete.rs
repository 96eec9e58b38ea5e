//! Completion of what is typed: verbs and options from the grammar, nodes, groups and images from the daemon.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{APPLETS, Program};
use super::client::{Client, DEFAULT_SOCKET, query_value};
use super::console::{Console, Exit};
use crate::wire::{ImageLine, ObjectType, Objects, RangeReply, RangeRequest};

/// The variable by which a shell asks.
const VARIABLE: &str = "COMPLETE";
/// Somebody waits at a prompt: nothing is better than late.
const LIMIT: Duration = Duration::from_secs(2);
/// As many names help nobody.
const MOST: usize = 500;

/// Shells that can be helped.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Prints what makes the shell ask.
pub(super) fn script(args: &Completions, console: &mut Console) -> anyhow::Result<Exit> {
    let name = match args.shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let shells = Shells::builtins();
    let shell = shells.completer(name).expect("it is one of the builtin ones");
    for program in ["sysclone"].iter().chain(&APPLETS) {
        let mut text = Vec::new();
        shell.write_registration(VARIABLE, program, program, program, &mut text)?;
        console.bytes(&text)?;
    }
    console.flush()?;
    Ok(Exit::Done)
}

/// Answers a shell that asks; says whether one did. `name` is the verb that the program was called by.
pub(super) fn answered(name: &OsStr, args: impl Iterator<Item = OsString>) -> bool {
    let name = name.to_string_lossy().into_owned();
    let factory = || command(&name);
    let here = std::env::current_dir().ok();
    let complete = CompleteEnv::with_factory(factory).var(VARIABLE).bin(&name);
    match complete.try_complete(args, here.as_deref()) {
        Ok(answered) => answered,
        Err(error) => {
            // The shell shows nothing else then, and what it was asked for must not be done.
            drop(error);
            true
        }
    }
}

/// The grammar of one name of this program, with the values that the daemon knows.
pub(super) fn command(name: &str) -> Command {
    let program = Program::command();
    let sysclone = program.find_subcommand("sysclone").expect("it is the program's own name");
    let wanted = if name == "sysclone" { Some(sysclone) } else { sysclone.find_subcommand(name) };
    with_values(wanted.unwrap_or(sysclone).clone())
}

fn with_values(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let complete: fn(&OsStr) -> Vec<CompletionCandidate> = match arg.get_id().as_str() {
            "noderange" | "node" | "words" | "objects" => nodes,
            "state" => states,
            "kind" => kinds,
            "image" | "old" | "new" | "osimage" => images,
            _ => return arg,
        };
        arg.add(ArgValueCompleter::new(complete))
    });
    command.mut_subcommands(with_values)
}

/// Nodes and groups, for the last part of a noderange.
fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let part = typed.rfind([',', '@']).map_or(0, |at| at + 1);
    // A part that begins with a dash is taken away; names have dashes inside.
    let part = if typed[part..].starts_with('-') { part + 1 } else { part };
    let (before, part) = typed.split_at(part);
    if !part.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
        return Vec::new();
    }
    let range = format!("/^{}.*", part.replace('.', "\\."));
    let found = asked(async move |client| {
        let request = RangeRequest { range, hidden: false };
        let nodes: RangeReply = client.post("/api/v1/noderange", &request).await?;
        let groups: Objects = client.get("/api/v1/objects/group").await?;
        Ok(nodes.nodes.into_iter().chain(groups.into_keys()).collect())
    });
    candidates(found.into_iter().filter(|name| name.starts_with(part)), before)
}

/// What nodeset takes.
fn states(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    match typed.strip_prefix("osimage=") {
        Some(image) => candidates(known_images(image).into_iter(), "osimage="),
        None => {
            let words =
                ["boot", "offline", "stat", "osimage", "osimage=", "shell", "standby", "shutdown", "runcmd="]
                    .map(str::to_owned);
            candidates(words.into_iter().filter(|word| word.starts_with(typed)), "")
        }
    }
}

fn kinds(typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let words = ObjectType::ALL.iter().map(|kind| kind.word().to_owned());
    candidates(words.filter(|word| word.starts_with(typed)), "")
}

fn images(typed: &OsStr) -> Vec<CompletionCandidate> {
    typed.to_str().map(|typed| candidates(known_images(typed).into_iter(), "")).unwrap_or_default()
}

/// Names; generations and tags too, once an `@` is typed.
fn known_images(typed: &str) -> Vec<String> {
    let name = typed.split_once('@').map(|(name, _)| name.to_owned());
    let wanted = typed.to_owned();
    let lines = asked(async move |client| {
        let query = name.as_deref().map(|name| format!("?name={}", query_value(name))).unwrap_or_default();
        let lines: Vec<ImageLine> = client.get(&format!("/api/v1/images{query}")).await?;
        let mut found: Vec<String> = Vec::new();
        for line in lines {
            let of = line.image.split_once('@').map_or(line.image.as_str(), |(of, _)| of).to_owned();
            if name.is_some() {
                found.extend(line.tags.iter().map(|tag| format!("{of}@{tag}")));
                found.push(line.image);
            } else if line.newest {
                found.push(of);
            }
        }
        Ok(found)
    });
    lines.into_iter().filter(|image| image.starts_with(&wanted)).collect()
}

fn candidates(names: impl Iterator<Item = String>, before: &str) -> Vec<CompletionCandidate> {
    names.take(MOST).map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

/// What the daemon answers, or nothing: a prompt is no place for errors.
fn asked(question: impl AsyncFnOnce(Client) -> anyhow::Result<Vec<String>>) -> Vec<String> {
    let socket = std::env::var_os("SYSCLONE_SOCKET").unwrap_or_else(|| DEFAULT_SOCKET.into());
    let client = Client::new(Path::new(&socket));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let answer = async { tokio::time::timeout(LIMIT, question(client)).await };
    runtime.block_on(answer).ok().and_then(Result::ok).unwrap_or_default()
}
