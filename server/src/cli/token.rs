//! sysclone token: keys for programs that administrate over the network.

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Span, SpanRelativeTo};

use super::args::Common;
use super::client::Client;
use super::console::{Console, Exit};
use crate::wire::{TokenCreate, TokenCreated, TokenRecord, TokenRevoke};

const EXAMPLES: &str = "\
Examples:
  sysclone token create ci --expires 90d          printed once; keep it safe
  mkdef -t policy -o 7 name=token:ci commands=nodeset,rinstall noderange=rack1 rule=allow
  curl --cacert /var/lib/sysclone/keys/ca.pem -H \"Authorization: Bearer $TOKEN\" \\
       https://10.0.0.1:8444/api/v1/status
  sysclone token revoke ci

Tokens are good on the listener listen.api of the configuration, which is off unless it is set. What a token may do is
said by policy rules that name token:NAME, which a later token of that name would have, too; without any rules it may
only ask. It never does what is root's.";

/// Options of token.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Token {
    #[command(subcommand)]
    verb: TokenVerb,
}

#[derive(Debug, Subcommand)]
enum TokenVerb {
    /// Make a token and print it, this once
    #[command(version, disable_version_flag = true)]
    Create(Create),
    /// List tokens
    #[command(version, disable_version_flag = true)]
    List(List),
    /// Make a token worthless
    #[command(version, disable_version_flag = true)]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    /// Name, by which policy and audit know it as token:NAME
    name: String,
    /// How long it is good: 12h, 90d; for ever unless given
    #[arg(long, value_name = "TIME", value_parser = parse_life)]
    expires: Option<u64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Its name
    name: String,
    #[command(flatten)]
    common: Common,
}

fn parse_life(text: &str) -> Result<u64, String> {
    let wrong = || "a time such as 12h or 90d".to_owned();
    let span: Span = text.parse().map_err(|_| wrong())?;
    let life: SignedDuration =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
    u64::try_from(life.as_secs()).ok().filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

/// Does what was asked for.
pub(super) async fn run(args: &Token, console: &mut Console) -> anyhow::Result<Exit> {
    match &args.verb {
        TokenVerb::Create(Create { name, expires, common }) => {
            let request = TokenCreate { name: name.clone(), seconds: *expires };
            let made: TokenCreated = Client::new(&common.socket).post("/api/v1/tokens", &request).await?;
            if common.json {
                console.json(&made)?;
            } else {
                console.line(made.token.reveal())?;
            }
        }
        TokenVerb::List(List { common }) => {
            let tokens: Vec<TokenRecord> = Client::new(&common.socket).get("/api/v1/tokens").await?;
            if common.json {
                console.json(&tokens)?;
            } else {
                for token in &tokens {
                    console.line(&said(token))?;
                }
            }
        }
        TokenVerb::Revoke(Revoke { name, common }) => {
            let request = TokenRevoke { name: name.clone() };
            let revoked: TokenRevoke =
                Client::new(&common.socket).post("/api/v1/tokens/revoke", &request).await?;
            console.line(&format!("The token {} is worth nothing any more.", revoked.name))?;
        }
    }
    Ok(Exit::Done)
}

/// `ci: made 2026-01-02T03:04:05Z by admin:root, good until 2026-04-02T03:04:05Z`.
fn said(token: &TokenRecord) -> String {
    let TokenRecord { name, created_at, created_by, expires_at } = token;
    let until =
        expires_at.as_ref().map_or_else(|| "good for ever".to_owned(), |at| format!("good until {at}"));
    format!("{name}: made {created_at} by {created_by}, {until}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_times() {
        assert_eq!(parse_life("90d"), Ok(90 * 86_400));
        assert_eq!(parse_life("12h"), Ok(43_200));
        for bad in ["", "0s", "-1h", "90", "soon"] {
            assert!(parse_life(bad).is_err(), "{bad}");
        }
    }
}
