//! What a user agent is.

use woothee::parser::Parser;

use crate::cache::Facts;

/// What the library says where it knows nothing.
const UNKNOWN: &str = "UNKNOWN";

/// Adds `name`, `version`, `os.name`, `os.version` and `device.name` of a user agent.
pub(crate) fn find(agent: &str, facts: &mut Facts) {
    let Some(found) = Parser::new().parse(agent) else { return };
    let device = match found.category {
        "pc" => "Desktop",
        "smartphone" | "mobilephone" => "Mobile",
        "crawler" => "Spider",
        "appliance" => "Appliance",
        _ => UNKNOWN,
    };
    let told = [
        ("name", found.name),
        ("version", found.version),
        ("os.name", found.os),
        ("os.version", &found.os_version),
        ("device.name", device),
    ];
    for (name, value) in told {
        if !value.is_empty() && value != UNKNOWN {
            facts.push((name, value.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::cache::Facts;

    #[test]
    fn agents_are_told_apart() {
        let mut facts = Facts::new();
        find("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", &mut facts);
        let expected: Facts = vec![
            ("name", "Firefox".into()),
            ("version", "128.0".into()),
            ("os.name", "Linux".into()),
            ("device.name", "Desktop".into()),
        ];
        assert_eq!(facts, expected);
        facts.clear();
        find("my-own-tool", &mut facts);
        assert_eq!(facts, []);
    }
}
