//! Which native fields the common logsources have.
//!
//! A misspelled field is the quietest fault of a rule: it loads, it runs, and it never matches.
//! So the fields of each logsource are listed by hand in `detections/taxonomy.yml`, carried here as
//! the built-in pipelines are, and the lint compares rules with them. Nothing else does: a rule
//! with a field that is not listed works all the same.

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Diagnostic};
use crate::rule::Logsource;
use crate::suggest;
use crate::yaml::{self, Node};

/// The fields of one kind of log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFields {
    /// The class of its events, as far as Sigma names it.
    pub logsource: Logsource,
    /// The names, as the source or Sigma's taxonomy spells them.
    pub names: BTreeSet<String>,
    /// Names that the source does not write, and that some agents add to its events.
    pub added: BTreeSet<String>,
    /// Whether there are more names than those listed.
    pub open: bool,
}

/// The built-in catalogue.
pub fn fields() -> Vec<KnownFields> {
    match parse(TEXT, FILE) {
        Ok(fields) => fields,
        Err(fault) => panic!("the built-in catalogue of fields is wrong: {fault}"),
    }
}

const FILE: &str = "detections/taxonomy.yml";
const TEXT: &str = include_str!("../../../detections/taxonomy.yml");

/// Reads a catalogue. What is wrong with it is said of the first place only: it is our own file.
fn parse(text: &str, file: &str) -> Result<Vec<KnownFields>, Diagnostic> {
    catalogue(text).map_err(|fault| fault.in_file(file))
}

fn catalogue(text: &str) -> Result<Vec<KnownFields>, Diagnostic> {
    let root = yaml::parse(text).into_iter().next().transpose()?;
    let Some(root) = root else { return Ok(Vec::new()) };
    only_keys(&root, &["groups", "logsources"])?;
    let mut found: Vec<KnownFields> = Vec::new();
    for entry in root.get("logsources").map_or(&[][..], Node::one_or_more) {
        only_keys(entry, &["logsource", "open", "include", "fields", "added"])?;
        let logsource = entry.get("logsource").unwrap_or(entry);
        only_keys(logsource, &["product", "category", "service"])?;
        let part = |key: &str| logsource.get(key).and_then(Node::to_text);
        let logsource = Logsource {
            product: part("product"),
            category: part("category"),
            service: part("service"),
            definition: None,
        };
        if found.iter().any(|known| known.logsource == logsource) {
            return Err(wrong(entry, format!("`{logsource}` is here twice")));
        }
        let mut names = groups(&root, entry, "include")?;
        if let Some(own) = entry.get("fields") {
            add(own, &mut names)?;
        }
        let added = groups(&root, entry, "added")?;
        let open = entry.get("open").is_some_and(|open| open.kind == yaml::Kind::Bool(true));
        found.push(KnownFields { logsource, names, added, open });
    }
    Ok(found)
}

/// The names of the groups that a key of an entry lists.
fn groups(root: &Node, entry: &Node, key: &str) -> Result<BTreeSet<String>, Diagnostic> {
    let mut names = BTreeSet::new();
    for group in entry.get(key).map_or(&[][..], Node::one_or_more) {
        let name = group.to_text().unwrap_or_default();
        let listed = root.get("groups").and_then(|groups| groups.get(&name));
        let listed = listed.ok_or_else(|| wrong(group, format!("no group is `{name}`")))?;
        add(listed, &mut names)?;
    }
    Ok(names)
}

/// Adds the names of a list, each of which must be new: what is listed twice is looked after once.
fn add(list: &Node, names: &mut BTreeSet<String>) -> Result<(), Diagnostic> {
    for item in list.one_or_more() {
        let name = item.to_text().ok_or_else(|| wrong(item, "a field's name is a text"))?;
        if !names.insert(name.clone()) {
            return Err(wrong(item, format!("`{name}` is here twice")));
        }
    }
    Ok(())
}

fn only_keys(node: &Node, known: &[&str]) -> Result<(), Diagnostic> {
    let Some(entries) = node.as_map() else {
        return Err(wrong(node, format!("this should be a map of {}", known.join(", "))));
    };
    match entries.iter().find(|(key, _)| !known.contains(&key.text.as_str())) {
        None => Ok(()),
        Some((key, _)) => {
            let message = format!("`{}` is not a key here", key.text);
            let help = suggest::help(&key.text, known.iter().copied());
            Err(Diagnostic::error(Code::UnknownKey, key.span, message).with_help(help))
        }
    }
}

fn wrong(node: &Node, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::WrongType, node.span, message)
}

#[cfg(test)]
mod tests {
    use super::{fields, parse};
    use crate::documents::Document;
    use crate::{parse_documents, pipeline};

    #[test]
    fn the_built_in_catalogue_is_read() {
        let known = fields();
        let of = |category: &str| {
            known
                .iter()
                .find(|known| {
                    known.logsource.category.as_deref() == Some(category)
                        && known.logsource.product.as_deref() == Some("windows")
                })
                .expect("listed")
        };
        assert!(of("process_creation").names.contains("CommandLine"));
        assert!(of("process_creation").names.contains("EventID"));
        assert!(!of("process_creation").names.contains("NewProcessName"));
        assert!(!of("process_creation").open && of("file_access").open);
        assert!(known.len() > 100);
    }

    /// A field that the catalogue promises and that no pipeline puts into the event model would be
    /// a rule that never matches, which is what the lint is there to prevent.
    #[test]
    fn the_pipelines_map_every_name() {
        let pipelines = pipeline::builtin();
        let mut missing = Vec::new();
        for known in fields() {
            let part = |name: &str, value: &Option<String>| {
                value.as_ref().map_or(String::new(), |value| format!("{name}: '{value}', "))
            };
            let logsource = &known.logsource;
            let text = format!(
                "title: t\nlogsource: {{{}{}{}}}\ndetection: {{a: {{b: c}}, condition: a}}\n",
                part("product", &logsource.product),
                part("category", &logsource.category),
                part("service", &logsource.service),
            );
            let (documents, _) = parse_documents(&text, "t.yml");
            let Some(Document::Rule(rule)) = documents.first() else { panic!("{text}") };
            for name in &known.names {
                let mapped = pipeline::map_field(rule, name, &pipelines).expect("mapped");
                if mapped.iter().any(|path| path == name) {
                    missing.push(format!("{logsource}: {name}"));
                }
            }
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }

    #[test]
    fn a_wrong_catalogue_says_where() {
        let check = |text: &str, expected: &str| {
            let fault = parse(text, "t.yml").expect_err("wrong");
            assert_eq!(fault.to_string(), expected);
        };
        check(
            "logsources:\n  - logsource: {product: a}\n    include: [b]\n",
            "t.yml:3:15: error[wrong-type]: no group is `b`",
        );
        check(
            "groups: {g: [x]}\nlogsources:\n  - {logsource: {product: a}, include: g, fields: [y, x]}\n",
            "t.yml:3:55: error[wrong-type]: `x` is here twice",
        );
        check(
            "logsources:\n  - logsource: {produkt: a}\n",
            "t.yml:2:17: error[unknown-key]: `produkt` is not a key here (did you mean `product`?)",
        );
        assert_eq!(parse("", "t.yml"), Ok(Vec::new()));
    }
}
