//! Sources as data: how records of a product are recognised, read and mapped to ECS.
//!
//! A source is a small YAML file (`detections/sources/`, documented in `docs/sources.md`). It says
//! which records are its (a selection in Sigma's words over their own fields), how a line is taken
//! apart (patterns, pairs, columns, CEF, LEEF), under which ECS names its fields go, and what its
//! values mean: category, type, outcome, the Sigma logsource class. What no rule speaks of keeps its
//! own name under the product's prefix, so nothing is lost.
//!
//! [`Mappings`] holds all sources and finds the one of a record; [`Source::map`] applies it. Faults in
//! files are [`Diagnostic`]s with line and column. This crate knows nothing of envelopes and
//! headers around records, which are `normalize`'s.

pub mod audit;
mod convert;
mod decode;
mod derive;
mod ecs_words;
mod file;
pub mod pattern;
mod source;

use std::collections::HashMap;

use event::{Event, Logsource, path_hash};
use sigma::{Code, Diagnostic, Span};

pub use decode::{PROGRAM, TEXT};
pub use derive::derive;
use source::Candidate;
pub use source::{MAPPING, Source, Work};

/// The most programs whose candidates a worker remembers.
const PROGRAMS_MAX: usize = 1_000;

/// The longest name of a program that is remembered, in bytes.
const PROGRAM_BYTES_MAX: usize = 200;

/// The most pairs of channel and provider whose candidates a worker remembers, and the longest, in
/// bytes.
const CHANNELS_MAX: usize = 1_000;
const CHANNEL_BYTES_MAX: usize = 400;

/// Fields of a Windows record with its channel and its provider.
const CHANNEL: &str = "winlog.channel";
const PROVIDER: &str = "winlog.provider_name";

/// The most sources.
pub const SOURCES_MAX: usize = 2000;

/// All sources.
#[derive(Debug, Clone, Default)]
pub struct Mappings {
    sources: Vec<Source>,
    by_name: HashMap<String, usize>,
    /// Those of JSON documents, and those of lines; generic ones last.
    json: Vec<usize>,
    lines: Vec<usize>,
    /// And those of Windows event logs.
    windows: Vec<usize>,
}

impl Mappings {
    /// Reads source files: each a name for messages, and its text. A file with a fault is left out.
    /// A later file replaces an earlier one of the same source.
    pub fn load<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Mappings, Vec<Diagnostic>) {
        let mut mappings = Mappings::default();
        let mut faults = Vec::new();
        for (file, text) in files {
            match file::read(file, text) {
                Ok(source) => match mappings.by_name.get(&source.name) {
                    Some(index) => mappings.sources[*index] = source,
                    None if mappings.sources.len() == SOURCES_MAX => {
                        let message = format!("more than {SOURCES_MAX} sources");
                        let fault = Diagnostic::error(Code::TooLarge, Span::default(), message);
                        faults.push(fault.in_file(file));
                    }
                    None => {
                        mappings.by_name.insert(source.name.clone(), mappings.sources.len());
                        mappings.sources.push(source);
                    }
                },
                Err(found) => faults.extend(found),
            }
        }
        let mut order: Vec<usize> = (0..mappings.sources.len()).collect();
        order.sort_by_key(|index| {
            let source = &mappings.sources[*index];
            (source.is_generic, source.name.clone())
        });
        let of = |takes: fn(&Source) -> bool| {
            order.iter().copied().filter(|index| takes(&mappings.sources[*index])).collect()
        };
        (mappings.json, mappings.lines, mappings.windows) =
            (of(Source::takes_json), of(Source::takes_lines), of(Source::takes_windows));
        (mappings, faults)
    }

    /// The sources, in the order in which they were read.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The Sigma classes that events of these sources may have, each once.
    pub fn classes(&self) -> Vec<Logsource<'_>> {
        let mut classes: Vec<Logsource<'_>> =
            self.sources.iter().flat_map(Source::classes).collect();
        classes.sort_by_key(|class| (class.product, class.category, class.service));
        classes.dedup();
        classes
    }

    /// The source of a JSON document with these fields. `dataset` is what its sender calls it.
    pub fn of_document(&self, dataset: &str, native: &Event, work: &mut Work) -> Option<&Source> {
        if let Some(named) = self.named(dataset).filter(|source| source.takes_json()) {
            return Some(named);
        }
        let json = self.json.iter().filter_map(|index| self.sources.get(*index));
        json.into_iter().find(|source| source.recognises(native, &mut work.scratch))
    }

    /// The source of a line, whose fields are then in `native`. `program` is the one that a header
    /// named; empty if there was none.
    pub fn of_line(
        &self,
        dataset: &str,
        program: &str,
        text: &str,
        native: &mut Event,
        work: &mut Work,
    ) -> Option<&Source> {
        native.clear();
        if !program.is_empty() {
            native.set(PROGRAM, program);
        }
        native.set(TEXT, text);
        let own = native.len();
        for named in self.lines_named(dataset) {
            native.keep_first(own);
            if read(named, text, native, work) {
                return Some(named);
            }
        }
        // Taken out while they are asked, so that `work` is free.
        let (key, candidates) = match work.of_program.remove_entry(program) {
            Some(known) => known,
            None => (program.into(), self.candidates(program)),
        };
        let found = candidates.iter().find_map(|candidate| {
            let source = self.sources.get(candidate.source)?;
            native.keep_first(own);
            let is_its = candidate.is_sure || source.recognises(native, &mut work.scratch);
            (is_its && read(source, text, native, work)).then_some(source)
        });
        if work.of_program.len() >= PROGRAMS_MAX {
            work.of_program.clear();
        }
        if key.len() <= PROGRAM_BYTES_MAX {
            work.of_program.insert(key, candidates);
        }
        found
    }

    /// The source of a record of a Windows event log: its header and data under the names that
    /// `docs/sources.md` tells. `channel` and `provider` are among them; empty if it has none.
    pub fn of_windows(
        &self,
        channel: &str,
        provider: &str,
        native: &Event,
        work: &mut Work,
    ) -> Option<&Source> {
        let Work { key, of_channel, scratch, .. } = work;
        key.clear();
        key.extend([channel, "\n", provider]);
        let mut found = |candidates: &[Candidate]| {
            candidates.iter().find_map(|candidate| {
                let source = self.sources.get(candidate.source)?;
                (candidate.is_sure || source.recognises(native, scratch)).then_some(source)
            })
        };
        if let Some(candidates) = of_channel.get(key.as_str()) {
            return found(candidates);
        }
        let candidates = self.windows_candidates(channel, provider);
        let source = found(&candidates);
        if of_channel.len() >= CHANNELS_MAX {
            of_channel.clear();
        }
        if key.len() <= CHANNEL_BYTES_MAX {
            of_channel.insert(key.as_str().into(), candidates);
        }
        source
    }

    /// The sources of Windows records that channel and provider do not rule out. Those that ask for
    /// more than these two come before those that don't, generic ones last.
    fn windows_candidates(&self, channel: &str, provider: &str) -> Vec<Candidate> {
        let said = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let header = [(path_hash(CHANNEL), said(channel)), (path_hash(PROVIDER), said(provider))];
        let mut candidates = Vec::new();
        for index in &self.windows {
            let Some(source) = self.sources.get(*index) else { continue };
            let Some(recognise) = &source.recognise else { continue };
            let decided = recognise.decided_by(&header);
            if decided != Some(false) {
                let is_sure = decided == Some(true);
                // The whole channel is less than a provider's part of it.
                let is_whole = recognise.decided_by(&header[..1]) == Some(true);
                let candidate = Candidate { source: *index, is_sure };
                candidates.push(((source.is_generic, is_sure, is_whole), candidate));
            }
        }
        candidates.sort_by_key(|(order, _)| *order);
        candidates.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// The sources of lines that a program's name does not rule out. Those that it names come before
    /// those that only look at the text, generic ones last.
    fn candidates(&self, program: &str) -> Vec<Candidate> {
        let hash = path_hash(PROGRAM);
        let mut candidates = Vec::new();
        for index in &self.lines {
            let Some(source) = self.sources.get(*index) else { continue };
            let decided = match &source.recognise {
                // Its patterns tell.
                None => Some(true),
                Some(_) if program.is_empty() => None,
                Some(recognise) => recognise.decided_by(&[(hash, Some(program))]),
            };
            if decided != Some(false) {
                let is_named = source.recognise.is_some() && decided == Some(true);
                let is_sure = decided == Some(true);
                let candidate = Candidate { source: *index, is_sure };
                candidates.push(((source.is_generic, !is_named), candidate));
            }
        }
        candidates.sort_by_key(|(order, _)| *order);
        candidates.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// The sources of lines that a sender names: one by its name, or those of a product, of which
    /// only what they can tell by their patterns are asked.
    fn lines_named(&self, dataset: &str) -> impl Iterator<Item = &Source> {
        let one = self.named(dataset).filter(|source| source.takes_lines());
        let is_product = one.is_none() && !dataset.is_empty() && !dataset.contains('.');
        let of_product = self.lines.iter().filter_map(|index| self.sources.get(*index));
        let of_product = of_product.filter(move |source| {
            is_product
                && source.name.strip_prefix(dataset).is_some_and(|rest| rest.starts_with('.'))
                && source.decoders.iter().all(|decoder| decoder.form.tells())
        });
        one.into_iter().chain(of_product)
    }

    fn named(&self, dataset: &str) -> Option<&Source> {
        self.by_name.get(dataset).and_then(|index| self.sources.get(*index))
    }
}

fn read(source: &Source, text: &str, native: &mut Event, work: &mut Work) -> bool {
    let Work { captures, scratch, .. } = work;
    let own = native.len();
    source.decoders.iter().any(|decoder| {
        native.keep_first(own);
        decoder.read(text, &source.empty, native, captures, scratch)
    })
}

#[cfg(test)]
mod tests;
