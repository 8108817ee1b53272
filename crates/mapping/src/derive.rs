//! What one ECS field says of others, whatever the source.

use event::{Event, Value};

use crate::convert::{address, base_name, put};

/// Fills fields that follow from others and are not there.
pub fn derive(out: &mut Event) {
    for (field, ip, domain) in [
        ("source.address", "source.ip", "source.domain"),
        ("destination.address", "destination.ip", "destination.domain"),
        ("client.address", "client.ip", "client.domain"),
        ("server.address", "server.ip", "server.domain"),
    ] {
        address_of(field, ip, domain, out);
    }
    for (path, name) in [
        ("process.executable", "process.name"),
        ("process.parent.executable", "process.parent.name"),
        ("file.path", "file.name"),
    ] {
        part(out, path, name, |text| Some(base_name(text)));
    }
    part(out, "file.name", "file.extension", |name| {
        name.rsplit_once('.').filter(|(before, _)| !before.is_empty()).map(|(_, after)| after)
    });
    part(out, "user.email", "user.name", |email| email.split('@').next());
    url(out);
}

/// `X.address` is an address or a name; ECS wants `X.ip` or `X.domain` beside it.
fn address_of(field: &str, ip: &str, domain: &str, out: &mut Event) {
    let Some(text) = out.str(field).map(str::to_owned) else {
        if let Some(ip) = out.str(ip).map(str::to_owned) {
            out.set(field, ip.as_str());
        }
        return;
    };
    match address(&text) {
        Some(_) => {
            put(out, ip, Value::Text(&text));
        }
        None if !text.contains(' ') => {
            put(out, domain, Value::Text(&text));
        }
        None => {}
    }
}

fn part(out: &mut Event, from: &str, to: &str, of: impl Fn(&str) -> Option<&str>) {
    if out.get(to).is_some() {
        return;
    }
    let is_said = |text: &&str| !matches!(*text, "" | "-");
    let found = out.str(from).and_then(of).filter(is_said).map(str::to_owned);
    if let Some(text) = found {
        out.set(to, text.as_str());
    }
}

/// `url.original` is what was asked for, a path or a whole address.
fn url(out: &mut Event) {
    let Some(original) = out.str("url.original").or_else(|| out.str("url.full")).map(str::to_owned)
    else {
        return;
    };
    let mut rest = original.as_str();
    if let Some((scheme, after)) = rest.split_once("://")
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    {
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, behind) = after.split_at_checked(end).unwrap_or((after, ""));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
            _ => (host, ""),
        };
        put(out, "url.scheme", Value::Text(&scheme.to_ascii_lowercase()));
        if !host.is_empty() {
            put(out, "url.domain", Value::Text(host));
        }
        if !port.is_empty() {
            put(out, "url.port", Value::Text(port));
        }
        rest = behind;
    } else if !rest.starts_with('/') {
        return;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if !path.is_empty() {
        put(out, "url.path", Value::Text(path));
    }
    if let Some(query) = query {
        put(out, "url.query", Value::Text(query));
    }
    if !fragment.is_empty() {
        put(out, "url.fragment", Value::Text(fragment));
    }
}

#[cfg(test)]
mod tests {
    use event::Event;

    use super::derive;

    #[test]
    fn what_follows_is_filled() {
        let derived = |json: &str| {
            let mut out = Event::new();
            out.parse_json(json.as_bytes()).unwrap();
            derive(&mut out);
            out.to_json()
        };
        assert_eq!(
            derived(
                r#"{"source":{"address":"10.0.0.1"},"destination":{"address":"a.example"},"server":{"ip":"10.0.0.2"}}"#
            ),
            r#"{"destination":{"address":"a.example","domain":"a.example"},"server":{"address":"10.0.0.2","ip":"10.0.0.2"},"source":{"address":"10.0.0.1","ip":"10.0.0.1"}}"#
        );
        assert_eq!(
            derived(r#"{"url":{"original":"https://u@a.example:8443/x/y?q=1#z"}}"#),
            r#"{"url":{"domain":"a.example","fragment":"z","original":"https://u@a.example:8443/x/y?q=1#z","path":"/x/y","port":8443,"query":"q=1","scheme":"https"}}"#
        );
        assert_eq!(
            derived(r#"{"url":{"original":"/x?"},"file":{"path":"/a/.bashrc"}}"#),
            r#"{"file":{"name":".bashrc","path":"/a/.bashrc"},"url":{"original":"/x?","path":"/x","query":""}}"#
        );
    }
}
