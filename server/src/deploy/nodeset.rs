//! `nodeset`: what nodes do at their next network boot. Thousands of nodes are one transaction; one bad node fails
//! alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::DeployError;
use super::arm::{arm, check, check_for_tasks, note, withdraw};
use super::image::{Installable, find_image};
use super::status::currstate;
use crate::app::App;
use crate::db::{DbError, Job, NewEvent};
use crate::define::Snapshot;
use crate::wire::{NodesetRequest, Outcome};
use sysclone_protocol::names::Pick;
use sysclone_protocol::task::{TaskError, Tasks};

/// An image's name as it was written, and which generation of it.
type Wanted = (String, Pick);

/// What `nodeset` can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Stat,
    Boot,
    Offline,
    /// The image named, or that of each node's `provmethod`.
    Osimage(Option<Wanted>),
    /// Work from memory.
    Tasks(Tasks),
}

fn parse_target(text: &str) -> Result<Target, String> {
    match text.split_once('=') {
        None => match text {
            "stat" => Ok(Target::Stat),
            "boot" => Ok(Target::Boot),
            "offline" => Ok(Target::Offline),
            "osimage" => Ok(Target::Osimage(None)),
            _ => text.parse().map(Target::Tasks).map_err(|error: TaskError| error.to_string()),
        },
        Some(("osimage", image)) => {
            let wrong = |why| format!("Invalid argument: '{text}': {why}");
            Ok(Target::Osimage(Some(parse_wanted(image).map_err(wrong)?)))
        }
        Some(_) => text.parse().map(Target::Tasks).map_err(|error: TaskError| error.to_string()),
    }
}

/// `name`, `name@7`, `name@stable`; whether there is such an image is looked at later.
fn parse_wanted(text: &str) -> Result<Wanted, String> {
    let Some((name, pick)) = text.split_once('@') else { return Ok((text.to_owned(), Pick::Newest)) };
    match pick.parse() {
        Ok(generation) => Ok((name.to_owned(), Pick::Generation(generation))),
        Err(_) => match pick.parse() {
            Ok(tag) => Ok((name.to_owned(), Pick::Tag(tag))),
            Err(_) => Err("after '@' comes the number of a generation or a tag".to_owned()),
        },
    }
}

/// Does what is asked for each node; answers in the request's order.
///
/// # Errors
/// The state word is not known, or the database failed; then nothing was changed.
pub async fn nodeset(
    app: &Arc<App>,
    request: &NodesetRequest,
    actor: &str,
) -> Result<Vec<Outcome>, DeployError> {
    let target = parse_target(&request.state).map_err(DeployError::Invalid)?;
    if matches!(target, Target::Osimage(_) | Target::Tasks(_)) {
        look_at_boot_files(app).await;
    }
    let snapshot = app.known.now();
    let results = match target {
        Target::Stat => stat(app, &snapshot, &request.nodes).await?,
        Target::Boot => disarm((app, &snapshot), &request.nodes, false, actor).await?,
        Target::Offline => disarm((app, &snapshot), &request.nodes, true, actor).await?,
        Target::Osimage(image) => {
            let results = osimage((app, &snapshot), &request.nodes, image, actor).await?;
            // Arming wrote attributes.
            app.known.refresh(&app.db).await?;
            results
        }
        Target::Tasks(tasks) => set_tasks((app, &snapshot), &request.nodes, &tasks, actor).await?,
    };
    Ok(request.nodes.iter().cloned().zip(results).map(|(name, result)| Outcome { name, result }).collect())
}

/// Takes boot files into service that were built since. When they are damaged, those that were read before are served on.
async fn look_at_boot_files(app: &Arc<App>) {
    let owned = Arc::clone(app);
    let looked = tokio::task::spawn_blocking(move || owned.boot_files.look_again(&owned.keys)).await;
    let problem = match looked {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
        Err(error) => error.to_string(),
    };
    let text = format!("{problem}; until then the files that were read before are served");
    app.record_refusal(NewEvent { node: None, actor: "server", kind: "boot-files", text }).await;
}

fn unknown(name: &str) -> String {
    format!("Could not find an object named '{name}' of type 'node'.")
}

async fn stat(
    app: &App,
    snapshot: &Snapshot,
    nodes: &[String],
) -> Result<Vec<Result<String, String>>, DbError> {
    let states = currstate(app, snapshot, Some(nodes)).await?;
    Ok(nodes.iter().map(|name| states.get(name).cloned().ok_or_else(|| unknown(name))).collect())
}

async fn disarm(
    (app, snapshot): (&App, &Snapshot),
    nodes: &[String],
    offline: bool,
    actor: &str,
) -> Result<Vec<Result<String, String>>, DeployError> {
    let word = if offline { "offline" } else { "boot" };
    let mut tx = app.db.write().await?;
    let jobs = by_node(tx.current_jobs(nodes).await?);
    let (mut results, mut known) = (Vec::new(), Vec::new());
    for name in nodes {
        if snapshot.attributes(name).is_none() {
            results.push(Err(unknown(name)));
            continue;
        }
        if let Some(job) = jobs.get(name) {
            withdraw((app, &mut tx), job, actor).await?;
        }
        let text = format!("set to {word}: the next network boot goes on to the node's own disk");
        tx.event(NewEvent { node: Some(name), actor, kind: "nodeset", text }).await?;
        results.push(Ok(word.to_owned()));
        known.push(name.clone());
    }
    tx.set_offline(&known, offline).await?;
    tx.commit().await?;
    Ok(results)
}

async fn osimage(
    (app, snapshot): (&Arc<App>, &Snapshot),
    nodes: &[String],
    image: Option<Wanted>,
    actor: &str,
) -> Result<Vec<Result<String, String>>, DeployError> {
    let wanted: Vec<_> = nodes.iter().map(|name| image_for(snapshot, name, image.as_ref())).collect();
    let mut images: HashMap<Wanted, Result<Installable, String>> = HashMap::new();
    for key in wanted.iter().flatten() {
        if !images.contains_key(key) {
            images.insert(key.clone(), find_image(app, &key.0, &key.1).await?);
        }
    }
    let mut tx = app.db.write().await?;
    let jobs = by_node(tx.current_jobs(nodes).await?);
    let mut results = Vec::new();
    let mut armed: HashMap<Wanted, Vec<String>> = HashMap::new();
    for (name, key) in nodes.iter().zip(wanted) {
        let checked = key.and_then(|key| {
            let image = images[&key].as_ref().map_err(Clone::clone)?;
            Ok((check(app, snapshot, name, image)?, image, key))
        });
        match checked {
            Ok((ready, image, key)) => {
                armed.entry(key).or_default().push(name.clone());
                if let Some(job) = jobs.get(name) {
                    withdraw((app, &mut tx), job, actor).await?;
                }
                arm((app, &mut tx), &ready, actor).await?;
                results.push(Ok(format!("sysclone {}", image.word())));
            }
            Err(refused) => results.push(Err(refused)),
        }
    }
    for (key, nodes) in &armed {
        if let Ok(image) = &images[key] {
            note(&mut tx, nodes, image).await?;
        }
    }
    tx.commit().await?;
    Ok(results)
}

async fn set_tasks(
    (app, snapshot): (&App, &Snapshot),
    nodes: &[String],
    tasks: &Tasks,
    actor: &str,
) -> Result<Vec<Result<String, String>>, DeployError> {
    let mut tx = app.db.write().await?;
    let jobs = by_node(tx.current_jobs(nodes).await?);
    let (mut results, mut armed) = (Vec::new(), Vec::new());
    for name in nodes {
        let ready = match check_for_tasks(app, snapshot, name, tasks) {
            Ok(ready) => ready,
            Err(refused) => {
                results.push(Err(refused));
                continue;
            }
        };
        if let Some(job) = jobs.get(name) {
            withdraw((app, &mut tx), job, actor).await?;
        }
        arm((app, &mut tx), &ready, actor).await?;
        armed.push(name.clone());
        results.push(Ok(tasks.to_string()));
    }
    tx.set_offline(&armed, false).await?;
    tx.commit().await?;
    Ok(results)
}

/// The image that one node is to get.
fn image_for(snapshot: &Snapshot, name: &str, given: Option<&Wanted>) -> Result<Wanted, String> {
    let attributes = snapshot.attributes(name).ok_or_else(|| unknown(name))?;
    match given {
        Some(image) => Ok(image.clone()),
        None => match attributes.get("provmethod") {
            Some(image) => {
                parse_wanted(image).map_err(|why| format!("the node's provmethod '{image}': {why}"))
            }
            None => Err("OS image name must be specified in nodetype.provmethod".to_owned()),
        },
    }
}

fn by_node(jobs: Vec<Job>) -> BTreeMap<String, Job> {
    jobs.into_iter().map(|job| (job.node.to_string(), job)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_typed() {
        let image = |name: &str, pick| Ok(Target::Osimage(Some((name.to_owned(), pick))));
        for (text, expected) in [
            ("stat", Ok(Target::Stat)),
            ("boot", Ok(Target::Boot)),
            ("offline", Ok(Target::Offline)),
            ("osimage", Ok(Target::Osimage(None))),
            ("osimage=demo", image("demo", Pick::Newest)),
            ("osimage=demo@7", image("demo", Pick::Generation(7))),
            ("osimage=demo@stable", image("demo", Pick::Tag("stable".parse().unwrap()))),
            (
                "osimage=demo@",
                Err("Invalid argument: 'osimage=demo@': after '@' comes the number of a generation or a tag"
                    .into()),
            ),
            ("install", Err("Unknown state install requested".into())),
            ("shell", Ok(Target::Tasks("shell".parse().unwrap()))),
            ("runcmd=lsblk,shutdown", Ok(Target::Tasks("runcmd=lsblk,shutdown".parse().unwrap()))),
            ("boot=now", Err("Unknown state boot=now requested".into())),
        ] {
            assert_eq!(parse_target(text), expected, "{text}");
        }
    }
}
