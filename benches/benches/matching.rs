//! Matching, loading and memory, side by side with other engines in one run.
//!
//! `cargo bench -p benches --bench matching` measures us alone; with `--features peers` also
//! `rsigma-eval` and `sigma-rust`. See `benches/README.md` for what is and is not included.

#![expect(clippy::print_stdout, reason = "a benchmark's output is its purpose")]

use std::collections::BTreeMap;
use std::time::Instant;

use benches::allocator::{Counting, calls, live_bytes};
use benches::corpus::{self, Loaded, Sample};
use benches::timing::{Contender, REPEATS, in_blocks, interleaved};
use event::{Event, Logsource};
use matcher::{Matcher, plain};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often every contender passes over all events.
const ROUNDS: usize = 9;

fn main() {
    let rounds = number("ROUNDS").unwrap_or(ROUNDS);
    let mut sets = corpus::sets();
    if let Some(only) = number("SET") {
        sets = sets.into_iter().skip(only).take(1).collect();
    }
    let loaded = match corpus::rule_folders() {
        Some((main, all)) => {
            loading(&all);
            corpus::load(&main)
        }
        None => made_up(3000),
    };
    let before = live_bytes();
    let (matcher, refused) = Matcher::new(loaded.rules.clone());
    let own_memory = live_bytes() - before;
    println!("{} rules, {} refused", loaded.rules.len(), refused.len());
    for refused in &refused {
        println!("  {refused}");
    }
    for (name, samples) in &sets {
        measure(name, samples, &loaded, &matcher, rounds);
    }
    if number("PASSES").is_some() {
        return;
    }
    if let Some((name, samples)) = sets.first() {
        println!("\ngrowth with the number of rules, {name}");
        growth(&loaded, samples, rounds);
    }
    let report = matcher.report();
    if std::env::var_os("REPORT").is_some() {
        println!("{report}");
    }
    println!(
        "\nmemory: {} KiB allocated; of it, as reported, {} KiB compiled (search tables {} KiB for \
         {} classes) and {} KiB rules for explanations",
        own_memory / 1024,
        report.compiled_bytes / 1024,
        report.table_bytes / 1024,
        report.classes,
        report.rule_bytes / 1024
    );
    println!(
        "{} rules always evaluated, {} whenever a field is there",
        report.always.len(),
        report.by_field.len()
    );
}

/// One set of events: right first, then how fast.
fn measure(name: &str, samples: &[Sample], loaded: &Loaded, matcher: &Matcher, rounds: usize) {
    println!("\n{} {name}", samples.len());
    let bytes = |text: fn(&Sample) -> &str| {
        samples.iter().map(|sample| text(sample).len()).sum::<usize>() / samples.len().max(1)
    };
    println!(
        "bytes each: {} recorded, {} with native names, {} normalised",
        bytes(|sample| &sample.raw),
        bytes(|sample| &sample.native),
        bytes(|sample| &sample.normalized)
    );
    if let Some(passes) = number("PASSES") {
        // For a profiler: nothing but matching.
        let mut pass = own_pass(matcher, samples);
        let start = Instant::now();
        let hits: u64 = (0..passes).map(|_| pass()).sum();
        let each = start.elapsed() / (passes.max(1) * samples.len() * REPEATS) as u32;
        return println!("{hits} hits in {passes} passes, {each:?} per event");
    }
    let mut scratch = matcher.scratch();
    let own: Vec<Vec<u32>> =
        samples.iter().map(|s| matcher.matches(&s.event, &mut scratch).to_vec()).collect();
    agrees_with_plain(loaded, samples, &own);
    let warm = calls();
    for sample in samples {
        std::hint::black_box(matcher.matches(&sample.event, &mut scratch));
    }
    println!("allocations of a second pass over all events: {}", calls() - warm);
    println!(
        "evaluated rules per event: {:.2}",
        scratch.evaluated() as f64 / (2 * samples.len()) as f64
    );
    side_by_side(loaded, samples, matcher, &own, rounds);
}

/// A number from the environment.
fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// How long it takes from files to a matcher.
fn loading(folder: &std::path::Path) {
    let mut whole = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let loaded = corpus::load(folder);
        let read = start.elapsed();
        let count = loaded.rules.len();
        let (matcher, _) = Matcher::new(loaded.rules);
        let all = start.elapsed();
        std::hint::black_box(matcher);
        whole.push((all, read, count));
    }
    whole.sort();
    let (all, read, count) = whole[0];
    println!(
        "loading {count} rules, one thread, best of 5: {all:.0?} (reading, mapping, resolving \
         {read:.0?}, compiling {:.0?})",
        all - read
    );
}

fn made_up(count: usize) -> Loaded {
    println!("skipped: public rules; {count} made-up ones instead");
    let folder = std::env::temp_dir().join(format!("watchpost-benches-{}", std::process::id()));
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("rules.yml"), corpus::made_up_rules(count)));
    if let Err(error) = written {
        println!("can't write the made-up rules to {}: {error}", folder.display());
    }
    corpus::load(&folder)
}

/// The right answer first: every rule, every event, against the plain evaluator.
fn agrees_with_plain(loaded: &Loaded, samples: &[Sample], own: &[Vec<u32>]) {
    let mut differences = 0;
    for (sample, found) in samples.iter().zip(own) {
        let class = class(&sample.event);
        let expected: Vec<u32> = (0..)
            .zip(&loaded.rules)
            .filter(|(_, rule)| sigma::logsource::feeds(&rule.logsource, class))
            .filter(|(_, rule)| plain::matches(&rule.expr, &sample.event))
            .map(|(number, _)| number)
            .collect();
        differences += usize::from(expected != *found);
    }
    let hits: usize = own.iter().map(Vec::len).sum();
    println!("{hits} hits; the plain evaluator differs for {differences} events");
}

fn class(event: &Event) -> (Option<&str>, Option<&str>, Option<&str>) {
    let Logsource { product, category, service } = Logsource::of(event);
    (product, category, service)
}

fn side_by_side(
    loaded: &Loaded,
    samples: &[Sample],
    matcher: &Matcher,
    own: &[Vec<u32>],
    rounds: usize,
) {
    let count = samples.len() * REPEATS;
    #[cfg(feature = "peers")]
    let rsigma = peers::Rsigma::new(loaded, samples);
    #[cfg(feature = "peers")]
    let sigma_rust = peers::SigmaRust::new(loaded, samples);
    let mut contenders = vec![
        Contender {
            name: "serde_json parses the native events".into(),
            events: count,
            pass: Box::new(|| parse(samples, |sample| &sample.native)),
        },
        Contender {
            name: "serde_json parses the normalised events".into(),
            events: count,
            pass: Box::new(|| parse(samples, |sample| &sample.normalized)),
        },
        Contender {
            name: "ours: matching".into(),
            events: count,
            pass: own_pass(matcher, samples),
        },
        Contender {
            name: "ours: parsing the normalised events".into(),
            events: count,
            pass: Box::new(|| {
                let mut event = Event::new();
                in_blocks(samples, |sample| {
                    let parsed = event.parse_json(sample.normalized.as_bytes());
                    parsed.map_or(0, |()| event.len() as u64)
                })
            }),
        },
        Contender {
            name: "ours: parsing and matching".into(),
            events: count,
            pass: own_parse_and_match(matcher, samples),
        },
    ];
    if samples.iter().all(|sample| sample.raw.starts_with('{')) {
        contenders.push(Contender {
            name: "serde_json parses the recorded events".into(),
            events: count,
            pass: Box::new(|| parse(samples, |sample| &sample.raw)),
        });
    }
    #[cfg(feature = "peers")]
    {
        rsigma.contenders(&mut contenders);
        contenders.push(sigma_rust.contender());
    }

    let timings = interleaved(&mut contenders, rounds);
    let own_time = contenders
        .iter()
        .position(|c| c.name == "ours: matching")
        .map_or(0.0, |at| timings[at].min);
    println!(
        "\n{:46} {:>10} {:>10} {:>11} {:>8} {:>8}",
        "", "min ns", "median ns", "events/s", "ratio", "result"
    );
    for (contender, timing) in contenders.iter().zip(&timings) {
        println!(
            "{:46} {:10.0} {:10.0} {:11.0} {:8.2} {:8}",
            contender.name,
            timing.min,
            timing.median,
            1e9 / timing.min,
            timing.min / own_time,
            timing.result
        );
    }
    println!("(ratio: time per event against \"ours: matching\")");
    drop(contenders);
    #[cfg(feature = "peers")]
    {
        rsigma.differences(loaded, samples, own);
        sigma_rust.differences(loaded, samples, own);
    }
    #[cfg(not(feature = "peers"))]
    {
        let _ = (loaded, own);
        println!("skipped: the peers; they need --features peers --ignore-rust-version");
    }
}

fn parse(samples: &[Sample], text: fn(&Sample) -> &str) -> u64 {
    in_blocks(samples, |sample| {
        let value = serde_json::from_slice::<serde_json::Value>(text(sample).as_bytes());
        u64::from(value.is_ok_and(|value| value.is_object()))
    })
}

fn own_pass<'a>(matcher: &'a Matcher, samples: &'a [Sample]) -> Box<dyn FnMut() -> u64 + 'a> {
    let mut scratch = matcher.scratch();
    Box::new(move || in_blocks(samples, |s| matcher.matches(&s.event, &mut scratch).len() as u64))
}

fn own_parse_and_match<'a>(
    matcher: &'a Matcher,
    samples: &'a [Sample],
) -> Box<dyn FnMut() -> u64 + 'a> {
    let mut scratch = matcher.scratch();
    Box::new(move || {
        let mut event = Event::new();
        in_blocks(samples, |sample| match event.parse_json(sample.normalized.as_bytes()) {
            Ok(()) => matcher.matches(&event, &mut scratch).len() as u64,
            Err(_) => 0,
        })
    })
}

/// How the time per event grows with the number of rules.
fn growth(loaded: &Loaded, samples: &[Sample], rounds: usize) {
    // An order that has nothing to do with folders, the same in every run.
    let mut order: Vec<usize> = (0..loaded.rules.len()).collect();
    order.sort_by_key(|at| event::path_hash(&loaded.ids[*at]));
    let matchers: Vec<(usize, Matcher)> = [100, 300, 1000, 3000]
        .into_iter()
        .map(|count| {
            let rules = order.iter().take(count).map(|at| loaded.rules[*at].clone()).collect();
            (count, Matcher::new(rules).0)
        })
        .collect();
    #[cfg(feature = "peers")]
    let engines: Vec<(usize, peers::Rsigma)> = [100, 3000]
        .into_iter()
        .map(|count| {
            let ids: Vec<&str> = order.iter().take(count).map(|at| &*loaded.ids[*at]).collect();
            (count, peers::Rsigma::of(loaded, samples, Some(&ids)))
        })
        .collect();
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    for (count, matcher) in &matchers {
        contenders.push(Contender {
            name: format!("{count} rules: matching"),
            events: samples.len() * REPEATS,
            pass: own_pass(matcher, samples),
        });
        contenders.push(Contender {
            name: format!("{count} rules: parsing and matching"),
            events: samples.len() * REPEATS,
            pass: own_parse_and_match(matcher, samples),
        });
    }
    #[cfg(feature = "peers")]
    for (count, engine) in &engines {
        contenders.push(engine.growth_contender(*count));
    }
    let timings = interleaved(&mut contenders, rounds);
    let mut first: BTreeMap<&str, f64> = BTreeMap::new();
    for (contender, timing) in contenders.iter().zip(&timings) {
        let kind = contender.name.split_once(": ").map_or("", |(_, kind)| kind);
        let least = *first.entry(kind).or_insert(timing.min);
        println!("{:46} {:10.0} ns {:10.2} times", contender.name, timing.min, timing.min / least);
    }
}

#[cfg(feature = "peers")]
mod peers {
    //! The other engines, each given what it wants: rules by their native names without any
    //! pipeline, events flat by native names, and the logsource class that normalisation found.

    use std::collections::{BTreeMap, BTreeSet, HashSet};

    use benches::allocator::live_bytes;
    use benches::corpus::{Loaded, Sample};
    use benches::timing::{Contender, REPEATS, in_blocks};
    use rsigma_eval::{Engine, JsonEvent};
    use rsigma_parser::{LogSource, parse_sigma_yaml};

    type Json = serde_json::Value;

    pub(crate) struct Rsigma {
        engine: Engine,
        bloom: Engine,
        events: Vec<(Json, LogSource)>,
        texts: Vec<(String, LogSource)>,
    }

    impl Rsigma {
        pub(crate) fn new(loaded: &Loaded, samples: &[Sample]) -> Rsigma {
            Rsigma::of(loaded, samples, None)
        }

        pub(crate) fn of(loaded: &Loaded, samples: &[Sample], ids: Option<&[&str]>) -> Rsigma {
            let wanted: HashSet<&str> = ids.map_or_else(
                || loaded.ids.iter().map(String::as_str).collect(),
                |ids| ids.iter().copied().collect(),
            );
            let start = std::time::Instant::now();
            let before = live_bytes();
            let mut rules = Vec::new();
            for file in &loaded.files {
                let Ok(text) = std::fs::read_to_string(file) else { continue };
                let Ok(collection) = parse_sigma_yaml(&text) else { continue };
                rules.extend(
                    collection
                        .rules
                        .into_iter()
                        .filter(|rule| wanted.contains(rule.id.as_deref().unwrap_or(&rule.title))),
                );
            }
            let mut engine = Engine::new();
            let failed = engine.add_rules(&rules);
            if ids.is_none() {
                println!(
                    "\nrsigma-eval: {} rules in {:.0?}, {} KiB, {} it can't compile",
                    engine.rule_count(),
                    start.elapsed(),
                    (live_bytes() - before) / 1024,
                    failed.len()
                );
            }
            let mut bloom = Engine::new();
            bloom.set_bloom_prefilter(true);
            bloom.add_rules(&rules);
            let events: Vec<_> = samples
                .iter()
                .map(|sample| {
                    let (product, category, service) = super::class(&sample.event);
                    let logsource = LogSource {
                        product: product.map(str::to_owned),
                        category: category.map(str::to_owned),
                        service: service.map(str::to_owned),
                        ..LogSource::default()
                    };
                    (serde_json::from_str(&sample.native).unwrap_or_default(), logsource)
                })
                .collect();
            let texts = samples
                .iter()
                .zip(&events)
                .map(|(sample, (_, logsource)): (_, &(Json, LogSource))| {
                    (sample.native.clone(), logsource.clone())
                })
                .collect();
            Rsigma { engine, bloom, events, texts }
        }

        pub(crate) fn contenders<'a>(&'a self, contenders: &mut Vec<Contender<'a>>) {
            let events = self.events.len() * REPEATS;
            let mut add = |name: &str, pass: Box<dyn FnMut() -> u64 + 'a>| {
                contenders.push(Contender { name: name.into(), events, pass });
            };
            let all = &self.events;
            add(
                "rsigma: matching, no routing",
                Box::new(move || {
                    let each = |(json, _): &(Json, LogSource)| {
                        self.engine.evaluate(&JsonEvent::borrow(json)).len() as u64
                    };
                    in_blocks(all, each)
                }),
            );
            add(
                "rsigma: matching, routed by logsource",
                Box::new(move || {
                    let each = |(json, logsource): &(Json, LogSource)| {
                        let event = JsonEvent::borrow(json);
                        self.engine.evaluate_with_logsource(&event, logsource).len() as u64
                    };
                    in_blocks(all, each)
                }),
            );
            add(
                "rsigma: matching, pruned by logsource",
                Box::new(move || {
                    let each = |(json, logsource): &(Json, LogSource)| {
                        self.engine.evaluate_pruned(&JsonEvent::borrow(json), logsource).len()
                            as u64
                    };
                    in_blocks(all, each)
                }),
            );
            add(
                "rsigma: matching, routed, with its bloom filter",
                Box::new(move || {
                    let each = |(json, logsource): &(Json, LogSource)| {
                        let event = JsonEvent::borrow(json);
                        self.bloom.evaluate_with_logsource(&event, logsource).len() as u64
                    };
                    in_blocks(all, each)
                }),
            );
            add("rsigma: parsing and matching, routed", self.parse_and_match());
        }

        fn parse_and_match<'a>(&'a self) -> Box<dyn FnMut() -> u64 + 'a> {
            Box::new(move || {
                in_blocks(&self.texts, |(text, logsource)| {
                    let Ok(json) = serde_json::from_str::<Json>(text) else { return 0 };
                    let event = JsonEvent::borrow(&json);
                    self.engine.evaluate_with_logsource(&event, logsource).len() as u64
                })
            })
        }

        pub(crate) fn growth_contender<'a>(&'a self, count: usize) -> Contender<'a> {
            Contender {
                name: format!("{count} rules: rsigma parsing and matching, routed"),
                events: self.events.len() * REPEATS,
                pass: self.parse_and_match(),
            }
        }

        pub(crate) fn differences(&self, loaded: &Loaded, samples: &[Sample], own: &[Vec<u32>]) {
            let theirs = self.events.iter().map(|(json, logsource)| {
                let event = JsonEvent::borrow(json);
                let hits = self.engine.evaluate_with_logsource(&event, logsource);
                hits.into_iter()
                    .map(|hit| hit.header.rule_id.unwrap_or(hit.header.rule_title))
                    .collect()
            });
            print_differences("rsigma", loaded, samples, own, theirs);
        }
    }

    pub(crate) struct SigmaRust {
        rules: Vec<(String, sigma::Logsource, sigma_rust::Rule)>,
        events: Vec<sigma_rust::Event>,
    }

    /// It is slow, so it gets every so manieth event.
    const SIGMA_RUST_STEP: usize = 20;
    /// And of those every so manieth is timed.
    const SIGMA_RUST_TIMED_STEP: usize = 6;

    impl SigmaRust {
        pub(crate) fn new(loaded: &Loaded, samples: &[Sample]) -> SigmaRust {
            let mut texts = BTreeMap::new();
            for file in &loaded.files {
                let Ok(text) = std::fs::read_to_string(file) else { continue };
                let Ok(rule) = sigma_rust::rule_from_yaml(&text) else { continue };
                let id = rule.id.clone().unwrap_or_else(|| rule.title.clone());
                texts.insert(id, rule);
            }
            let rules: Vec<_> = loaded
                .ids
                .iter()
                .zip(&loaded.rules)
                .filter_map(|(id, own)| {
                    Some((id.clone(), own.logsource.clone(), texts.remove(id)?))
                })
                .collect();
            println!("sigma-rust: {} rules", rules.len());
            let events = samples
                .iter()
                .step_by(SIGMA_RUST_STEP)
                .map(|sample| sigma_rust::event_from_json(&sample.native).unwrap_or_default())
                .collect();
            SigmaRust { rules, events }
        }

        /// It has no routing of its own: all rules for every event.
        pub(crate) fn contender<'a>(&'a self) -> Contender<'a> {
            Contender {
                name: "sigma-rust: matching, no routing".into(),
                events: self.events.len().div_ceil(SIGMA_RUST_TIMED_STEP),
                pass: Box::new(move || {
                    let each = |event: &sigma_rust::Event| {
                        self.rules.iter().filter(|(_, _, rule)| rule.is_match(event)).count() as u64
                    };
                    self.events.iter().step_by(SIGMA_RUST_TIMED_STEP).map(each).sum()
                }),
            }
        }

        pub(crate) fn differences(&self, loaded: &Loaded, samples: &[Sample], own: &[Vec<u32>]) {
            let samples: Vec<&Sample> = samples.iter().step_by(SIGMA_RUST_STEP).collect();
            let own: Vec<Vec<u32>> = own.iter().step_by(SIGMA_RUST_STEP).cloned().collect();
            let theirs = self.events.iter().zip(&samples).map(|(event, sample)| {
                let class = super::class(&sample.event);
                self.rules
                    .iter()
                    .filter(|(_, logsource, _)| sigma::logsource::feeds(logsource, class))
                    .filter(|(_, _, rule)| rule.is_match(event))
                    .map(|(id, _, _)| id.clone())
                    .collect()
            });
            print_differences("sigma-rust", loaded, samples.iter().copied(), &own, theirs);
        }
    }

    fn print_differences<'a>(
        peer: &str,
        loaded: &Loaded,
        samples: impl IntoIterator<Item = &'a Sample>,
        own: &[Vec<u32>],
        theirs: impl Iterator<Item = BTreeSet<String>>,
    ) {
        let titles: BTreeMap<&str, &str> = loaded
            .ids
            .iter()
            .map(String::as_str)
            .zip(loaded.rules.iter().map(|r| &*r.label))
            .collect();
        let mut by_rule: BTreeMap<String, (u32, u32, String)> = BTreeMap::new();
        let (mut same, mut different) = (0, 0);
        for ((sample, own), theirs) in samples.into_iter().zip(own).zip(theirs) {
            let ours: BTreeSet<String> =
                own.iter().map(|rule| loaded.ids[*rule as usize].clone()).collect();
            same += ours.intersection(&theirs).count();
            for id in ours.symmetric_difference(&theirs) {
                different += 1;
                let (only_ours, only_theirs, example) =
                    by_rule.entry(id.clone()).or_insert_with(|| (0, 0, sample.native.clone()));
                if ours.contains(id) {
                    *only_ours += 1
                } else {
                    *only_theirs += 1
                }
                if sample.native.len() < example.len() {
                    example.clone_from(&sample.native);
                }
            }
        }
        println!(
            "\n{peer}: {same} hits are the same, {different} differ, of {} rules",
            by_rule.len()
        );
        for (id, (only_ours, only_theirs, example)) in by_rule {
            let title = titles.get(&*id).copied().unwrap_or(&id);
            println!("  {title}: {only_ours} only ours, {only_theirs} only {peer}'s");
            if std::env::var_os("EXAMPLES").is_some() {
                println!("      {}", example.chars().take(700).collect::<String>());
            }
        }
    }
}
