//! Whether an administrator's call may be made: policy is asked, and the audit log told, before anything is done.

use axum::http::StatusCode;

use super::error::ApiError;
use super::user::Actor;
use crate::app::App;
use crate::db::NewAudit;
use crate::policy::{About, Call, Verdict};
use crate::trust::{MASK, is_secret};
use crate::wire::{AttributeAction, ChangeAction, ChangeRequest, ObjectType, Outcome, RenameRequest};

/// Verbs that read definitions.
pub(super) const READING: &[&str] = &["lsdef", "nodels", "tabdump", "gettab", "tabgrep"];
/// Names that are written out; of more, the first and the number.
const NAMED: usize = 20;
/// Longest text that the audit log keeps of a call, in bytes.
const MAX_TEXT: usize = 2000;

/// What somebody is about to do.
pub(super) struct Act<'a> {
    /// Verbs that do it; the log names the first.
    pub(super) verbs: &'a [&'a str],
    /// What stands after verb and nodes.
    pub(super) parameters: String,
    pub(super) about: About<'a>,
    /// Whether it changes nothing, and is not logged unless it is denied.
    pub(super) reads: bool,
}

impl<'a> Act<'a> {
    /// One that asks.
    pub(super) fn read(verbs: &'a [&'a str], about: About<'a>) -> Self {
        Self { verbs, parameters: String::new(), about, reads: true }
    }

    /// One that changes something.
    pub(super) fn write(verbs: &'a [&'a str], parameters: impl Into<String>, about: About<'a>) -> Self {
        Self { verbs, parameters: parameters.into(), about, reads: false }
    }
}

/// A call that may be made.
pub(super) struct Permit(Option<i64>);

impl Permit {
    /// Adds to the log what came of it. That it cannot be added is no reason to call done what was not, or not done
    /// what was.
    pub(super) async fn done(self, app: &App, outcomes: &[Outcome]) {
        if let Some(id) = self.0
            && let Err(error) = app.db.finish_audit(id, outcomes).await
        {
            tracing::error!(%error, "what came of a call could not be added to the audit log");
        }
    }
}

/// Lets `actor` do it, or says why not. What cannot be written down is not done.
pub(super) async fn permit(app: &App, actor: &Actor, act: Act<'_>) -> Result<Permit, ApiError> {
    permit_all(app, actor, &[(act, false)]).await
}

/// As [`permit`] for changes of definitions: all of them, or none.
pub(super) async fn permit_changes(
    app: &App,
    actor: &Actor,
    requests: &[ChangeRequest],
) -> Result<Permit, ApiError> {
    let acts: Vec<_> =
        requests.iter().map(|request| (change(request), request.kind == ObjectType::Policy)).collect();
    permit_all(app, actor, &acts).await
}

/// As [`permit`] for an object that gets another name: a node under both its names.
pub(super) async fn permit_rename(
    app: &App,
    actor: &Actor,
    request: &RenameRequest,
) -> Result<Permit, ApiError> {
    let RenameRequest { kind, from, to } = request;
    let names = [from.clone(), to.clone()];
    let about = if *kind == ObjectType::Node { About::Nodes(&names) } else { About::Nothing };
    let parameters = format!("-t {} -o {from} -n {to}", kind.word());
    let act = Act::write(&["chdef", "nodech"], parameters, about);
    permit_all(app, actor, &[(act, *kind == ObjectType::Policy)]).await
}

/// Each act, and whether it changes policy itself: that is for root and those whom a rule calls trusted, or every rule
/// could be got around.
async fn permit_all(app: &App, actor: &Actor, acts: &[(Act<'_>, bool)]) -> Result<Permit, ApiError> {
    let mut rule = None;
    for (act, of_policy) in acts {
        match (decide(app, actor, act), of_policy) {
            (Verdict::Denied(by), _) => return Err(denied(app, actor, act, by.as_deref()).await?),
            (Verdict::Allowed(by), true) if !actor.1.root => {
                return Err(denied(app, actor, act, by.as_deref()).await?);
            }
            (Verdict::Allowed(by), _) => rule = by,
            (Verdict::Trusted(by), _) => rule = Some(by),
        }
    }
    let Some((first, _)) = acts.first().filter(|(act, _)| !act.reads) else { return Ok(Permit(None)) };
    let more = match acts.len() {
        1 => String::new(),
        many => format!(" and {} more", many - 1),
    };
    let text = cut(format!("{}{more}", first.parameters));
    let new = NewAudit {
        actor: &actor.0,
        command: first.verbs[0],
        targets: &targets(first.about),
        parameters: &text,
        allowed: true,
        rule: rule.as_deref(),
    };
    Ok(Permit(Some(app.db.record_audit(new).await?)))
}

fn decide(app: &App, actor: &Actor, act: &Act<'_>) -> Verdict {
    if actor.1.root {
        return Verdict::Allowed(None);
    }
    let known = app.known.now();
    let call = Call {
        account: &actor.1.name,
        token: actor.1.token,
        verbs: act.verbs,
        parameters: &act.parameters,
        about: act.about,
    };
    match known.rules().decide(&call, &*known) {
        // Whoever can reach the socket was let in by root; a token was only given a name.
        Verdict::Allowed(None) if actor.1.token && !act.reads => Verdict::Denied(None),
        verdict => verdict,
    }
}

async fn denied(app: &App, actor: &Actor, act: &Act<'_>, rule: Option<&str>) -> Result<ApiError, ApiError> {
    let (command, targets) = (act.verbs[0], targets(act.about));
    let parameters = cut(act.parameters.clone());
    // Somebody who tries again and again is written down once a minute.
    if app.said.is_new(&format!("denied {} {command} {targets} {parameters}", actor.0)) {
        let actor = &actor.0;
        let new =
            NewAudit { actor, command, targets: &targets, parameters: &parameters, allowed: false, rule };
        app.db.record_audit(new).await?;
    }
    let why = match rule {
        Some(rule) => format!("policy rule {rule} does not allow it"),
        None => "no policy rule allows it".to_owned(),
    };
    let who = &actor.1.name;
    let text =
        format!("Permission denied for request: {command} by {who}: {why}; lsdef -t policy shows the rules");
    Ok(ApiError::new(StatusCode::FORBIDDEN, text))
}

fn targets(about: About<'_>) -> String {
    match about {
        About::Nothing => String::new(),
        About::All => "all".to_owned(),
        About::Nodes(names) if names.len() <= NAMED => names.join(","),
        About::Nodes(names) => format!("{},… ({})", names[..NAMED].join(","), names.len()),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
    text
}

/// The verbs for a change of definitions, and what they were told.
fn change(request: &ChangeRequest) -> Act<'_> {
    let verbs: &[&str] = match request.action {
        ChangeAction::Create | ChangeAction::Replace => &["mkdef", "nodeadd", "chtab"],
        ChangeAction::Change => &["chdef", "nodech", "nodegrpch", "chtab"],
        ChangeAction::Remove => &["rmdef", "noderm", "chtab"],
    };
    let mut parameters = format!("-t {}", request.kind.word());
    let about = match request.kind {
        ObjectType::Node => About::Nodes(&request.names),
        // What a group has, its nodes have, whichever they are then.
        ObjectType::Group => About::All,
        _ => About::Nothing,
    };
    if request.kind != ObjectType::Node {
        parameters += &format!(" -o {}", request.names.join(","));
    }
    for change in &request.attributes {
        let sign = match change.action {
            AttributeAction::Set => "=",
            AttributeAction::Append => "+=",
            AttributeAction::Prepend => ",=",
            AttributeAction::Subtract => "-=",
        };
        let value = if is_secret(&change.name) { MASK } else { &change.value };
        parameters += &format!(" {}{sign}{value}", change.name);
    }
    Act::write(verbs, parameters, about)
}
