//! HTTP by a client that is not ours: curl.

use std::process::Command;

use serde_json::Value;
use sysclone_image::Manifest;

use super::Site;

/// What curl was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header's value, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The sentence of a refusal.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

impl Site {
    /// One request by curl.
    pub(crate) fn curl(&self, args: &[&str]) -> Answer {
        let work = tempfile::tempdir_in(self.dir.path()).unwrap();
        let (headers, body) = (work.path().join("headers"), work.path().join("body"));
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "120", "-w", "%{http_code}", "-D"])
            .arg(&headers)
            .arg("-o")
            .arg(&body)
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Answer {
            status: String::from_utf8(output.stdout).unwrap().parse().unwrap(),
            headers: std::fs::read_to_string(headers).unwrap(),
            body: std::fs::read(body).unwrap_or_default(),
        }
    }

    /// A boot file or pack by plain HTTP.
    pub(crate) fn get(&self, path: &str, args: &[&str]) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let mut all = vec!["--path-as-is"];
        all.extend(args);
        all.push(&url);
        self.curl(&all)
    }

    /// A boot configuration, as the machine with this address asks for it.
    pub(crate) fn boot_config(&self, name: &str, address: &str) -> String {
        let answer = self.get(&format!("/boot/{name}"), &["--interface", address]);
        assert_eq!(answer.status, 200, "{name}");
        answer.text()
    }

    /// A call of the agents' interface.
    pub(crate) fn agent(&self, method: &str, call: &str, token: Option<&str>, body: Option<&[u8]>) -> Answer {
        let file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        let mut more = Vec::new();
        if let Some(body) = body {
            std::fs::write(file.path(), body).unwrap();
            more.extend(["-H".into(), "Content-Type: application/json".into()]);
            more.extend(["--data-binary".into(), format!("@{}", file.path().display())]);
        }
        self.agent_call((method, call), token, more)
    }

    /// Asks for the generation before, unless it is this one.
    pub(crate) fn parent_unless(&self, token: Option<&str>, known: &Manifest) -> Answer {
        let header = format!("If-None-Match: \"{}\"", known.digest());
        self.agent_call(("GET", "parent"), token, vec!["-H".into(), header])
    }

    pub(crate) fn agent_call(
        &self,
        (method, call): (&str, &str),
        token: Option<&str>,
        more: Vec<String>,
    ) -> Answer {
        let ca = self.path("ca.pem");
        if !ca.exists() {
            std::fs::copy(self.path("state/keys/ca.pem"), &ca).unwrap();
        }
        let mut args = vec!["--cacert".to_owned(), ca.display().to_string(), "-X".into(), method.into()];
        if let Some(token) = token {
            args.extend(["-H".into(), format!("Authorization: Bearer {token}")]);
        }
        args.extend(more);
        args.push(format!("https://127.0.0.1:{}/agent/v1/{call}", self.https));
        self.curl(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A call of the agents' interface with a JSON body.
    pub(crate) fn agent_json(&self, call: &str, token: Option<&str>, body: &Value) -> Answer {
        self.agent("POST", call, token, Some(body.to_string().as_bytes()))
    }
}
