//! Regular expressions: one way to compile them, with one limit.
//!
//! `regex-automata`'s meta engine is used rather than the `regex` crate on top of it, because it
//! lets a worker own the search cache: no pool, no lock, and no allocation once it is warm.

use regex_automata::meta;
use regex_automata::util::syntax;

/// The most memory of one compiled expression, in bytes: what the language crate accepts.
pub const REGEX_BYTES_MAX: usize = sigma::REGEX_BYTES_MAX;

/// How much memory a worker may keep for the lazily built states of one expression, in bytes.
/// When it is full the states are thrown away and built anew. An expression that takes more memory
/// itself gets as much again: with less, too few states fit, and each search would be done by an
/// engine that builds none and is many times slower.
pub const REGEX_CACHE_BYTES_MAX: usize = 1 << 20;

/// Compiles an expression, or tells in one line why not.
pub(crate) fn compile(source: &sigma::expr::Regex) -> Result<meta::Regex, String> {
    let regex = build(source, REGEX_CACHE_BYTES_MAX)?;
    match regex.memory_usage() {
        bytes if bytes > REGEX_CACHE_BYTES_MAX => build(source, bytes),
        _ => Ok(regex),
    }
}

fn build(source: &sigma::expr::Regex, cache_bytes: usize) -> Result<meta::Regex, String> {
    meta::Regex::builder()
        .configure(
            meta::Config::new()
                .nfa_size_limit(Some(REGEX_BYTES_MAX))
                .hybrid_cache_capacity(cache_bytes)
                // Only asked whether and where there is a match; groups are of no use.
                .which_captures(regex_automata::nfa::thompson::WhichCaptures::Implicit)
                .onepass(false),
        )
        .syntax(
            syntax::Config::new()
                .case_insensitive(source.ignore_case)
                .multi_line(source.multi_line)
                .dot_matches_new_line(source.dot_all),
        )
        .build(&source.source)
        .map_err(|error| match error.size_limit() {
            Some(limit) => {
                format!("the regular expression /{}/ takes more than {limit} bytes", source.source)
            }
            None => format!("the regular expression /{}/ is not valid: {error}", source.source),
        })
}
