//! Who an administrator is: the account at the other end of the unix socket.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::error::ApiError;
use crate::http::Peer;

/// `admin:root`, as events name it, and the account.
pub(super) struct Actor(pub(super) String, pub(super) Account);

/// An account of this machine.
pub(super) struct Account {
    pub(super) name: String,
    pub(super) root: bool,
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Peer>() {
            Some(Peer::Local(user)) => {
                let name = account(user.uid);
                Ok(Self(format!("admin:{name}"), Account { name, root: user.uid == 0 }))
            }
            Some(Peer::Network(_)) | None => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "administration is possible through the socket only",
            )),
        }
    }
}

/// Root, who can read everything on this machine anyway.
pub(super) struct Root;

impl<S: Sync> FromRequestParts<S> for Root {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Peer>() {
            Some(Peer::Local(user)) if user.uid == 0 => Ok(Self),
            Some(Peer::Local(_) | Peer::Network(_)) | None => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "an image holds the golden client's secrets: its content and the store are for root only",
            )),
        }
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
