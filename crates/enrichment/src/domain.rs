//! The domain that somebody registered, by the public suffix list (<https://publicsuffix.org/>).

use crate::cache::Facts;

/// Adds `registered_domain`, `top_level_domain` and `subdomain` of a name. A name below no suffix of
/// the list, such as a host of one's own network, has none.
pub(crate) fn find(name: &str, facts: &mut Facts) {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let Some(domain) = psl::domain(name.as_bytes()) else { return };
    if !domain.suffix().is_known() {
        return;
    }
    let (Ok(registered), Ok(suffix)) =
        (str::from_utf8(domain.as_bytes()), str::from_utf8(domain.suffix().as_bytes()))
    else {
        return;
    };
    facts.push(("registered_domain", registered.into()));
    facts.push(("top_level_domain", suffix.into()));
    let below = name.strip_suffix(registered).and_then(|below| below.strip_suffix('.'));
    if let Some(below) = below.filter(|below| !below.is_empty()) {
        facts.push(("subdomain", below.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::cache::{Fact, Facts};

    fn of(name: &str) -> Vec<String> {
        let mut facts = Facts::new();
        find(name, &mut facts);
        let text = |fact: Fact| match fact {
            Fact::Text(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        facts.into_iter().map(|(name, fact)| format!("{name}={}", text(fact))).collect()
    }

    #[test]
    fn a_name_is_below_what_was_registered() {
        assert_eq!(
            of("A.b.Example.co.uk."),
            ["registered_domain=example.co.uk", "top_level_domain=co.uk", "subdomain=a.b"]
        );
        assert_eq!(of("example.com"), ["registered_domain=example.com", "top_level_domain=com"]);
        assert_eq!(of("com"), [""; 0]);
        assert_eq!(of("dc01.corp.lan"), [""; 0]);
        assert_eq!(of("10.0.0.1"), [""; 0]);
        assert_eq!(of("..."), [""; 0]);
    }
}
