//! Asking a running server, for the commands that can do without a data folder.

use std::time::Duration;

/// The largest answer that is read: a rejected record of the largest size, in hexadecimal digits.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A server, and who we are to it.
pub(crate) struct Server {
    name: String,
    url: String,
    token: String,
    agent: ureq::Agent,
}

/// Why there is no answer, in words for the person who called.
type Error = Box<dyn std::error::Error>;

impl Server {
    /// The server at this address, which may leave out `http://`; one call may take `time_max`.
    ///
    /// # Errors
    /// When no token is set.
    pub(crate) fn new(name: &str, time_max: Duration) -> Result<Server, Error> {
        let token = std::env::var("WATCHPOST_TOKEN").map_err(|_| {
            "WATCHPOST_TOKEN is not set; the token is in the file `token` of the server's data folder"
        })?;
        let scheme = if name.contains("://") { "" } else { "http://" };
        Ok(Server {
            name: name.to_owned(),
            url: format!("{scheme}{}", name.trim_end_matches('/')),
            token,
            agent: ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(time_max))
                .build()
                .into(),
        })
    }

    /// Asks for the text at a path.
    ///
    /// # Errors
    /// When there is no answer, or one that is an error.
    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<String, Error> {
        self.read(self.request(path, query))
    }

    /// Like [`Server::get`]; `None` if there is nothing at that path.
    pub(crate) fn find(&self, path: &str) -> Result<Option<String>, Error> {
        let sent = self.request(path, &[]);
        if sent.as_ref().is_ok_and(|response| response.status() == 404) {
            return Ok(None);
        }
        self.read(sent).map(Some)
    }

    /// Posts JSON, and reads the answer.
    ///
    /// # Errors
    /// When there is no answer, or one that is an error.
    pub(crate) fn post(&self, path: &str, json: &str) -> Result<String, Error> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let request = request.header("authorization", format!("Bearer {}", self.token));
        self.read(request.header("content-type", "application/json").send(json))
    }

    /// Opens an answer that is read as it comes.
    ///
    /// # Errors
    /// When there is no answer, or one that is an error.
    pub(crate) fn open(
        &self,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<impl std::io::Read + use<>, Error> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.query_pairs(query.iter().copied());
        let sent = request.header("authorization", format!("Bearer {}", self.token)).call();
        match sent {
            Ok(response) if response.status().is_success() => {
                Ok(response.into_body().into_reader())
            }
            other => Err(self.read(other).err().unwrap_or_else(|| "there is no answer".into())),
        }
    }

    fn request(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let request = request.query_pairs(query.iter().copied());
        request.header("authorization", format!("Bearer {}", self.token)).call()
    }

    fn read(
        &self,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, Error> {
        let name = &self.name;
        let mut response = sent.map_err(|error| format!("cannot ask {name}: {error}"))?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(|error| format!("cannot read {name}: {error}"))?;
        if !response.status().is_success() {
            let said = told(&text).unwrap_or(text);
            return Err(format!("{name} answered {}: {said}", response.status()).into());
        }
        Ok(text)
    }
}

/// What an answer that is an error says in words.
fn told(text: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(text).ok()?;
    let error = answer.get("error")?.as_str()?;
    Some(match answer.get("help").and_then(serde_json::Value::as_str) {
        Some(help) => format!("{error}; {help}"),
        None => error.to_owned(),
    })
}
