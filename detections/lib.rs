//! The detections that come with Watchpost, compiled into the binary.
//!
//! The files beside this one are what a detection engineer edits: Sigma rules with their tests,
//! hunts, pipelines, sources. This crate only carries them, so that `watchpost demo` and `watchpost run`
//! have them without anything installed; the crates that give them meaning never depend on it.

/// A file of this folder, by its path within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Path below `detections/`, with `/` on every system.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The Sigma rules and correlations, without their tests.
pub fn rules() -> impl Iterator<Item = File> {
    files("rules/").filter(|file| !file.path.ends_with(".test.yml"))
}

/// The tests of the rules: `NAME.test.yml` beside `NAME.yml`.
pub fn rule_tests() -> impl Iterator<Item = File> {
    files("rules/").filter(|file| file.path.ends_with(".test.yml"))
}

/// The hunts.
pub fn hunts() -> impl Iterator<Item = File> {
    files("hunts/")
}

/// The saved searches.
pub fn searches() -> impl Iterator<Item = File> {
    files("searches/")
}

/// The sources: how records become events.
pub fn sources() -> impl Iterator<Item = File> {
    files("sources/")
}

fn files(folder: &'static str) -> impl Iterator<Item = File> {
    FILES.iter().copied().filter(move |file| file.path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_rule_has_its_tests_beside_it() {
        let tests: Vec<_> = super::rule_tests().map(|file| file.path).collect();
        for rule in super::rules() {
            let test = rule.path.replace(".yml", ".test.yml");
            assert!(tests.contains(&test.as_str()), "{} has no {test}", rule.path);
        }
        assert!(super::rules().count() >= 20);
        assert!(super::hunts().count() >= 1);
    }
}
