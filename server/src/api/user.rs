//! Who an administrator is: the account at the other end of the unix socket, or the bearer of a token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::error::ApiError;
use crate::app::App;
use crate::db::NewEvent;
use crate::http::Peer;
use crate::trust::TokenHash;

/// `admin:root`, as events name it, and the account.
pub(super) struct Actor(pub(super) String, pub(super) Account);

/// An account of this machine.
pub(super) struct Account {
    pub(super) name: String,
    pub(super) root: bool,
    /// Whether it is no account but the token of a program.
    pub(super) token: bool,
}

impl FromRequestParts<Arc<App>> for Actor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match parts.extensions.get::<Peer>() {
            Some(Peer::Local(user)) => {
                let name = account(user.uid);
                Ok(Self(format!("admin:{name}"), Account { name, root: user.uid == 0, token: false }))
            }
            Some(Peer::Network(peer)) => bearer(parts, app, peer.ip()).await,
            None => Err(ApiError::new(StatusCode::FORBIDDEN, "nobody knows who asks")),
        }
    }
}

/// The program that shows a token.
async fn bearer(parts: &Parts, app: &Arc<App>, peer: IpAddr) -> Result<Actor, ApiError> {
    let given = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|value| value.strip_prefix("Bearer "));
    let known = match token {
        Some(token) => app.db.token_name(&TokenHash::of(token.trim())).await?,
        None => None,
    };
    if let Some(name) = known {
        let name = format!("token:{name}");
        return Ok(Actor(name.clone(), Account { name, root: false, token: true }));
    }
    let text =
        format!("{peer} showed {}", if token.is_some() { "a token that is not good" } else { "no token" });
    app.record_refusal(NewEvent { node: None, actor: "server", kind: "token-refused", text }).await;
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "a token that is good is needed: Authorization: Bearer …; sysclone token create makes one",
    ))
}

/// Root, who can read everything on this machine anyway.
pub(super) struct Root;

impl FromRequestParts<Arc<App>> for Root {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        // First, so that a token that is not good is refused as one.
        if Actor::from_request_parts(parts, app).await?.1.root {
            return Ok(Self);
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "this is for root on the server's own socket only: it reads or gives away what holds secrets",
        ))
    }
}

/// The account's name in `/etc/passwd`; accounts from a directory service stay numbers.
fn account(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    account_in(&passwd, uid).map_or_else(|| uid.to_string(), str::to_owned)
}

fn account_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(account_in(passwd, 0), Some("root"));
        assert_eq!(account_in(passwd, 1000), Some("anna"));
        assert_eq!(account_in(passwd, 5), None);
    }
}
