//! The pages in a real browser: Chromium loads them, follows a link, and runs no stray script.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Server, needed_in_ci};
use serde_json::{Value, json};

// Keys as WebDriver names them.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const DOWN: &str = "\u{e015}";

/// A browser driven over the WebDriver protocol (W3C), by ChromeDriver.
struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start() -> Option<Browser> {
        let driver = ["/usr/bin/chromedriver", "/usr/local/bin/chromedriver"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists());
        let Some(driver) = driver else {
            needed_in_ci("chromedriver is not there");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new(driver)
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let profile = tempfile::tempdir().unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let options = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--window-size=1400,1000", format!("--user-data-dir={}", profile.path().display()),
        ]}}}});
        let until = Instant::now() + Duration::from_secs(60);
        let mut browser = Browser { driver, session: base.clone(), _profile: profile };
        loop {
            match call("POST", &format!("{base}/session"), Some(&options)) {
                Ok(answer) => {
                    let id = answer["sessionId"].as_str().expect("a session").to_owned();
                    browser.session = format!("{base}/session/{id}");
                    return Some(browser);
                }
                Err(error) if Instant::now() > until => panic!("no browser session: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn open(&self, url: &str) {
        call("POST", &format!("{}/url", self.session), Some(&json!({"url": url}))).unwrap();
    }

    fn url(&self) -> String {
        let answer = call("GET", &format!("{}/url", self.session), None).unwrap();
        answer.as_str().unwrap().to_owned()
    }

    fn text(&self, selector: &str) -> String {
        let element = self.element(selector);
        let path = format!("{}/element/{element}/text", self.session);
        call("GET", &path, None).unwrap().as_str().unwrap().to_owned()
    }

    fn click(&self, selector: &str) {
        let element = self.element(selector);
        let path = format!("{}/element/{element}/click", self.session);
        call("POST", &path, Some(&json!({}))).unwrap();
    }

    fn type_keys(&self, selector: &str, keys: &str) {
        let element = self.element(selector);
        let path = format!("{}/element/{element}/value", self.session);
        call("POST", &path, Some(&json!({"text": keys}))).unwrap();
    }

    /// Waits until a script returns true.
    fn wait_for(&self, script: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.script(script) != Value::Bool(true) {
            assert!(Instant::now() < until, "this never came: {script}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn element(&self, selector: &str) -> String {
        let query = json!({"using": "css selector", "value": selector});
        let found = call("POST", &format!("{}/element", self.session), Some(&query))
            .unwrap_or_else(|error| panic!("no element {selector}: {error}"));
        let (_, id) = found.as_object().unwrap().iter().next().unwrap();
        id.as_str().unwrap().to_owned()
    }

    fn script(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        call("POST", &format!("{}/execute/sync", self.session), Some(&body)).unwrap()
    }

    fn screenshot(&self, name: &str) {
        // Kept for whoever wants to look; the folder is the build's own.
        let image = call("GET", &format!("{}/screenshot", self.session), None).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(folder.join(format!("{name}.png.base64")), image.as_str().unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; then the driver, which is our own process.
        call("DELETE", &self.session, None).ok();
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

fn call(method: &str, url: &str, body: Option<&Value>) -> Result<Value, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let sent = match (method, body) {
        ("POST", Some(body)) => agent.post(url).send(body.to_string()),
        ("DELETE", _) => agent.delete(url).call(),
        _ => agent.get(url).call(),
    };
    let mut response = sent.map_err(|error| error.to_string())?;
    let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    if response.status().is_success() {
        Ok(answer["value"].clone())
    } else {
        Err(answer["value"]["message"].as_str().unwrap_or(&text).to_owned())
    }
}

#[test]
fn an_analyst_goes_from_an_alert_to_its_event() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    // A command line that would run as a script, if the page let it.
    let command = r#"powershell.exe -NoP -W Hidden -EncodedCommand SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQA <script>window.stray=1</script>"#;
    let events: String = (0..20)
        .map(|n| {
            // One alert only, so that the first row of the list is it.
            let (command, parent) = match n {
                7 => (command, r"C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE"),
                _ => ("notepad.exe", r"C:\Windows\explorer.exe"),
            };
            let event = json!({
                "@timestamp": event::Timestamp::now().to_string(),
                "ecs": {"version": "9.0"},
                "event": {"kind": "event", "category": ["process"], "code": "1"},
                "host": {"name": "ws-07"},
                "user": {"name": "anna"},
                "process": {
                    "executable": r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
                    "command_line": command,
                    "parent": {"executable": parent},
                },
                "watchpost": {"logsource": {"product": "windows", "category": "process_creation", "service": "sysmon"}},
            });
            format!("{event}\n")
        })
        .collect();
    let (status, answer) = server.post("/ingest/windows.sysmon", events.as_bytes());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.search_total("host.name:ws-07", 20), 20);

    browser.open(&format!("{}/login?token={}", server.url, server.token));
    let until = Instant::now() + Duration::from_secs(30);
    while browser.text("main").contains("No alert") && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(300));
        browser.open(&format!("{}/alerts?since=all", server.url));
    }
    assert!(!browser.url().contains("token"), "{}", browser.url());
    browser.screenshot("alerts");
    let list = browser.text("main");
    assert!(list.contains("ws-07"), "{list}");

    browser.click("table.hits td.time a");
    let alert = browser.text("main");
    assert!(alert.contains("EncodedCommand"), "{alert}");
    assert!(alert.contains("detection:"), "the rule's source is shown: {alert}");
    browser.screenshot("alert");

    browser.click("table.hits td.time a");
    let event = browser.text("main");
    assert!(event.contains("process.command_line"), "{event}");
    assert!(event.contains("<script>window.stray=1</script>"), "{event}");
    browser.screenshot("event");
    assert_eq!(browser.script("return window.stray ?? null"), Value::Null);

    browser.open(&format!("{}/search?since=all&q=host.name%3Aws-07", server.url));
    assert!(browser.text(".summary").contains("20"), "{}", browser.text(".summary"));
    browser.element(".histogram rect.bar");
    browser.click(".facets li a");
    assert!(browser.url().contains("/search?"), "{}", browser.url());
    browser.screenshot("search");

    // What may come is offered while a query is typed, and taken with the keyboard alone.
    browser.open(&format!("{}/search?since=all", server.url));
    browser.type_keys("input[name=q]", "host.na");
    browser.wait_for("return document.querySelectorAll('#suggestions li').length > 0");
    browser.type_keys("input[name=q]", TAB);
    let typed = || browser.script("return document.querySelector('input[name=q]').value");
    assert_eq!(typed(), "host.name:");
    browser.wait_for(
        "return document.querySelector('#suggestions li')?.textContent.startsWith('ws-07')",
    );
    browser.screenshot("suggestions");
    browser.type_keys("input[name=q]", DOWN);
    browser.wait_for("return document.querySelector('[aria-selected=true]')?.id === document.querySelector('input[name=q]').getAttribute('aria-activedescendant')");
    browser.type_keys("input[name=q]", ENTER);
    assert_eq!(typed(), "host.name:ws-07 ");
    browser.type_keys("input[name=q]", ESCAPE);
    browser.wait_for("return document.querySelector('#suggestions').hidden");
    browser.type_keys("input[name=q]", ENTER);
    browser
        .wait_for("return document.querySelector('.summary')?.textContent.startsWith('20 events')");

    browser.open(&format!("{}/search?since=all&q=host.name%3A(", server.url));
    assert!(browser.text("pre.error").contains('^'), "{}", browser.text("pre.error"));

    let until = Instant::now() + Duration::from_secs(30);
    loop {
        browser.open(&format!("{}/datasets", server.url));
        if browser.text("main").contains("windows.sysmon") {
            break;
        }
        assert!(Instant::now() < until, "{}", browser.text("main"));
        std::thread::sleep(Duration::from_millis(500));
    }
    browser.screenshot("datasets");
    browser.click("table.rows td a");
    assert!(browser.url().contains("/search?q=event.dataset"), "{}", browser.url());
}
