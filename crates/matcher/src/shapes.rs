//! What the names of an event's fields say, worked out once for all events that have the same.
//!
//! A log repeats a few dozen lists of names. Which of them a class's rules ask for, and where the
//! parts of the logsource stand, follows from the names alone, so a worker remembers it. It never
//! remembers anything of a value.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use event::logsource::{CATEGORY, PRODUCT, SERVICE};
use event::{Event, Logsource, Names, Value};

use crate::Compiled;
use crate::plan::{Plan, PlanField};
use crate::run::mark;

/// The most lists of names that a worker remembers, and the most bytes of names. Beyond them it
/// begins anew.
const SHAPES_MAX: usize = 1024;
const NAMES_BYTES_MAX: usize = 4 << 20;

/// The most classes that are remembered for one list of names.
const READINGS_MAX: usize = 16;

/// The most classes whose plans a worker keeps at hand. Real sources have some hundred.
const CLASSES_MAX: usize = 1024;

type FastMap<T> = HashMap<u64, T, foldhash::fast::FixedState>;

/// The lists of names that a worker remembers.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    /// By [`Names::key`]; other names with the same one give way.
    all: FastMap<Shape>,
    names_bytes: usize,
    classes: Classes,
}

#[derive(Debug)]
struct Shape {
    names: Names,
    /// Where product, category and service stand.
    logsource: [Option<usize>; 3],
    readings: Vec<Reading>,
}

/// How events with certain names and of a certain class are read.
#[derive(Debug)]
pub(crate) struct Reading {
    class: Arc<Class>,
    /// As [`Plan::seen`], with what the fields' being there adds.
    pub(crate) seen: Box<[u64]>,
    /// The fields that rules ask for, in their order.
    pub(crate) asked: Box<[Asked]>,
}

/// A field that rules ask for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Its place in the event.
    pub(crate) at: u32,
    pub(crate) known: PlanField,
    /// Whether keywords look at it.
    pub(crate) keywords: bool,
}

impl Shapes {
    /// How to read an event.
    pub(crate) fn reading(&mut self, compiled: &Compiled, event: &Event) -> &Reading {
        let names = event.names();
        if !self.all.get(&names.key()).is_some_and(|shape| shape.names == *names) {
            if self.all.len() >= SHAPES_MAX || self.names_bytes >= NAMES_BYTES_MAX {
                self.all.clear();
                self.names_bytes = 0;
            }
            self.names_bytes += names.bytes();
            self.all.insert(names.key(), Shape::new(names));
        }
        let shape = self.all.entry(names.key()).or_insert_with(|| Shape::new(names));
        let class = shape.class(event);
        let known = shape.readings.iter().position(|reading| reading.class.is(class));
        let known = known.unwrap_or_else(|| {
            if shape.readings.len() >= READINGS_MAX {
                shape.readings.clear();
            }
            let class = self.classes.class(compiled, class);
            shape.readings.push(Reading::new(compiled, class, names));
            shape.readings.len() - 1
        });
        &shape.readings[known]
    }
}

impl Shape {
    fn new(names: &Names) -> Shape {
        let logsource = [PRODUCT, CATEGORY, SERVICE].map(|name| names.places(name).next());
        Shape { names: names.clone(), logsource, readings: Vec::new() }
    }

    /// As [`Logsource::of`].
    fn class<'e>(&self, event: &'e Event) -> Logsource<'e> {
        let part = |place: Option<usize>| event.value_at(place?).and_then(Value::as_str);
        let [product, category, service] = self.logsource;
        Logsource { product: part(product), category: part(category), service: part(service) }
    }
}

impl Reading {
    fn new(compiled: &Compiled, class: Arc<Class>, names: &Names) -> Reading {
        let plan = &class.plan;
        let mut seen: Box<[u64]> = plan.seen.clone().into();
        let (first, _) = seen.split_at_mut(plan.seen.len() / 2);
        let mut asked = Vec::new();
        for (at, (hash, name)) in (0..).zip(names.hashes().iter().zip(names.iter())) {
            let Some(known) = plan.field(*hash) else { continue };
            let field = compiled.atoms.fields.get(known.field as usize);
            let Some(field) = field.filter(|field| *field.name == *name) else { continue };
            mark(first, known.waiting.of(&plan.waiting));
            asked.push(Asked { at, known: *known, keywords: field.keywords_read });
        }
        Reading { class, seen, asked: asked.into() }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.class.plan
    }
}

#[derive(Debug, Default)]
struct Classes {
    /// By hash of the class; another one with the same hash gives way.
    by_hash: FastMap<Arc<Class>>,
}

#[derive(Debug)]
struct Class {
    product: Option<Box<str>>,
    category: Option<Box<str>>,
    service: Option<Box<str>>,
    plan: Arc<Plan>,
}

impl Class {
    fn is(&self, class: Logsource<'_>) -> bool {
        self.category.as_deref() == class.category
            && self.service.as_deref() == class.service
            && self.product.as_deref() == class.product
    }
}

impl Classes {
    fn class(&mut self, compiled: &Compiled, class: Logsource<'_>) -> Arc<Class> {
        let Logsource { product, category, service } = class;
        let hash = foldhash::fast::FixedState::with_seed(0).hash_one((product, category, service));
        if let Some(known) = self.by_hash.get(&hash).filter(|known| known.is(class)) {
            return known.clone();
        }
        if self.by_hash.len() >= CLASSES_MAX {
            self.by_hash.clear();
        }
        let made = Arc::new(Class {
            product: product.map(Into::into),
            category: category.map(Into::into),
            service: service.map(Into::into),
            plan: compiled.plan((product, category, service)),
        });
        self.by_hash.insert(hash, made.clone());
        made
    }
}
