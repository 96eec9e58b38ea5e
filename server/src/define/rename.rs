//! A definition under another name: `chdef -n`. What refers to it by its name is changed with it, or it is not done.

use crate::db::{DbError, NewEvent, Tx};
use crate::state::State;
use crate::wire::{ObjectType, RenameRequest};

use super::attributes::check_object_name;

/// Renames an object within a transaction; the error is the sentence why not, and then nothing was changed.
/// `is_stored`: the object is an osimage whose generations are in the store under its name.
///
/// # Errors
/// The database failed.
pub async fn rename(
    (tx, is_stored): (&mut Tx<'_>, bool),
    request: &RenameRequest,
    actor: &str,
) -> Result<Result<String, String>, DbError> {
    let RenameRequest { kind, from, to } = request;
    if is_stored {
        return Ok(Err(format!(
            "its generations are in the store under this name: capture or import them as {to}, then remove {from}"
        )));
    }
    if let Err(refused) = allowed(tx, request).await? {
        return Ok(Err(refused));
    }
    tx.rename_object(*kind, (from, to)).await?;
    if *kind == ObjectType::Node {
        tx.rename_in_jobs(from, to).await?;
    }
    let text = format!("{} {from} is now {to}", kind.word());
    let node = (*kind == ObjectType::Node).then_some(to.as_str());
    tx.event(NewEvent { node, actor, kind: "object-renamed", text }).await?;
    Ok(Ok("renamed".to_owned()))
}

async fn allowed(
    tx: &mut Tx<'_>,
    RenameRequest { kind, from, to }: &RenameRequest,
) -> Result<Result<(), String>, DbError> {
    let word = kind.word();
    if matches!(kind, ObjectType::Site | ObjectType::Group) {
        return Ok(Err(format!("objects of type '{word}' cannot be renamed")));
    }
    if let Err(refused) = check_object_name(*kind, to) {
        return Ok(Err(refused));
    }
    let found = tx.objects(*kind, Some(&[from.clone(), to.clone()])).await?;
    if !found.contains_key(from) {
        return Ok(Err(format!("Could not find an object named '{from}' of type '{word}'.")));
    }
    if found.contains_key(to) {
        return Ok(Err(format!("An object named '{to}' of type '{word}' is already defined.")));
    }
    if *kind != ObjectType::Node {
        return Ok(Ok(()));
    }
    // Its ticket and its agent know the machine by its name, and so does a clone that has still to report.
    let at_work = tx.current_jobs(std::slice::from_ref(from)).await?.into_iter().find(|job| {
        !matches!(job.state, State::Booted | State::Worked | State::Failed { .. } | State::Withdrawn)
    });
    Ok(match at_work {
        Some(job) => Err(format!(
            "the node is {} with {}: wait for its end, or take it back with `nodeset {from} boot`",
            job.state.word(),
            job.work
        )),
        None => Ok(()),
    })
}
