//! Where the cluster is, and who we are to it.

use std::path::{Path, PathBuf};

use event::Timestamp;

/// Which cluster, and by which names events and alerts are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `https://search.example:9200`; a path behind it is kept.
    pub url: String,
    /// The indices of events: a name with one `*`, for which the day is put where they are written.
    pub events: String,
    /// The indices of alerts, also with one `*`; all that are written are in one.
    pub alerts: String,
    /// Who we are; nobody if empty and there is no key.
    pub user: String,
    /// The file with the password of `user`.
    pub password_file: PathBuf,
    /// The file with an API key, as the cluster encoded it; instead of user and password.
    pub api_key_file: PathBuf,
    /// Certificates that sign the cluster's, in PEM; the system's if empty.
    pub ca: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            url: "http://127.0.0.1:9200".to_owned(),
            events: "watchpost-events-*".to_owned(),
            alerts: "watchpost-alerts-*".to_owned(),
            user: String::new(),
            password_file: PathBuf::new(),
            api_key_file: PathBuf::new(),
            ca: PathBuf::new(),
        }
    }
}

/// The index of a pattern that has the events of a time's day.
pub(crate) fn index_of(pattern: &str, time: Timestamp) -> String {
    let day: String = time.to_string().chars().take("2026-08-05".len()).collect();
    pattern.replacen('*', &day.replace('-', "."), 1)
}

/// What is wrong with the name of an index pattern, if anything: what a cluster refuses in a name.
pub(crate) fn fault_of(pattern: &str) -> Option<&'static str> {
    if pattern.matches('*').count() != 1 {
        return Some("has to have one `*`, where a day is put");
    }
    if pattern.starts_with(['-', '_', '+', '*']) {
        return Some("may not begin with `-`, `_`, `+` or `*`");
    }
    let wrong = |c: char| c.is_uppercase() || c.is_whitespace() || "\\/?\"<>|,#:".contains(c);
    pattern
        .contains(wrong)
        .then_some("may have no capitals, blanks, nor any of \\ / ? \" < > | , # :")
}

/// What a file of a secret holds, without the end of its line.
pub(crate) fn secret(path: &Path) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use event::Timestamp;

    use super::{fault_of, index_of};

    #[test]
    fn the_day_stands_for_the_star() {
        let time = Timestamp::parse_rfc3339("2026-08-05T23:59:59Z").unwrap();
        assert_eq!(index_of("watchpost-events-*", time), "watchpost-events-2026.08.05");
    }

    #[test]
    fn names_that_a_cluster_refuses_are_refused_before() {
        for wrong in ["events", "a-*-*", "-a*", "A*", "a b*", "a,b*", "*"] {
            assert!(fault_of(wrong).is_some(), "{wrong}");
        }
        assert_eq!(fault_of("logs-watchpost.events-*"), None);
    }
}
