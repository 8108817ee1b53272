//! AWS CloudTrail.
//!
//! What ECS has a name for is moved there; every other native field stays under `aws.cloudtrail.`
//! with its own camel-case name, which is what rules and AWS' documentation speak of.
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>

use event::{Event, Logsource, Value};

use crate::{Decoded, set_ip, set_time};

/// The class of every record.
pub(crate) const CLASS: Logsource<'static> =
    Logsource { product: Some("aws"), category: None, service: Some("cloudtrail") };

/// Native field, ECS field. The value is kept under the ECS name only.
const MOVED: [(&str, &str); 9] = [
    ("eventName", "event.action"),
    ("eventSource", "event.provider"),
    ("awsRegion", "cloud.region"),
    ("sourceIPAddress", "source.address"),
    ("userAgent", "user_agent.original"),
    ("errorCode", "aws.cloudtrail.error_code"),
    ("errorMessage", "aws.cloudtrail.error_message"),
    ("recipientAccountId", "cloud.account.id"),
    ("eventTime", "@timestamp"),
];

/// Starts of API names, ECS `event.type`.
const TYPES: [(&str, &str); 22] = [
    ("Create", "creation"),
    ("Put", "change"),
    ("Update", "change"),
    ("Modify", "change"),
    ("Attach", "change"),
    ("Detach", "change"),
    ("Add", "change"),
    ("Remove", "change"),
    ("Set", "change"),
    ("Stop", "change"),
    ("Start", "change"),
    ("Run", "creation"),
    ("Terminate", "deletion"),
    ("Delete", "deletion"),
    ("Describe", "access"),
    ("Get", "access"),
    ("List", "access"),
    ("Head", "access"),
    ("Lookup", "access"),
    ("Assume", "start"),
    ("ConsoleLogin", "start"),
    ("Disable", "change"),
];

/// Reads a CloudTrail record.
pub(crate) fn decode(source: &Event, out: &mut Event) -> Decoded {
    let (Some(name), Some(service)) = (source.str("eventName"), source.str("eventSource")) else {
        return Decoded::No;
    };
    if !service.ends_with(".amazonaws.com") && source.get("awsRegion").is_none() {
        return Decoded::No;
    }
    out.clone_with_prefix(source, "aws.cloudtrail.");
    for (native, ecs) in MOVED {
        let Some(value) = source.get(native) else { continue };
        if native != "eventTime" || value.as_str().is_some_and(|text| set_time(out, ecs, text)) {
            out.remove(&format!("aws.cloudtrail.{native}"));
            if native != "eventTime" && value != Value::Null {
                out.set(ecs, value);
            }
        }
    }
    // Logstash moves the time to where it keeps every event's.
    if out.get("@timestamp").is_none()
        && source.str("@timestamp").is_some_and(|text| set_time(out, "@timestamp", text))
    {
        out.remove("aws.cloudtrail.@timestamp");
    }
    if let Some(address) = source.str("sourceIPAddress") {
        set_ip(out, "source.ip", address);
    }
    if let (None, Some(Value::Text(account))) =
        (out.get("cloud.account.id"), source.get("userIdentity.accountId"))
    {
        out.set("cloud.account.id", account);
    }
    let user = ["userIdentity.userName", "userIdentity.sessionContext.sessionIssuer.userName"]
        .iter()
        .find_map(|path| source.str(path))
        .or_else(|| (source.str("userIdentity.type") == Some("Root")).then_some("root"));
    if let Some(user) = user {
        out.set("user.name", user);
    }
    if let Some(id) = source.str("userIdentity.principalId") {
        out.set("user.id", id);
    }
    out.set("cloud.provider", "aws");
    out.set("event.dataset", "aws.cloudtrail");
    out.set("event.module", "aws");
    let failed = source.str("errorCode").is_some()
        || source.str("responseElements.ConsoleLogin") == Some("Failure");
    out.set("event.outcome", if failed { "failure" } else { "success" });
    let category = match service.split('.').next().unwrap_or_default() {
        "signin" | "sts" => "authentication",
        "iam" => "iam",
        "s3" => "file",
        _ => "configuration",
    };
    out.append("event.category", category);
    let kind = TYPES.iter().find(|(start, _)| name.starts_with(start)).map_or("info", |(_, t)| t);
    out.append("event.type", kind);
    CLASS.stamp(out);
    Decoded::Yes
}

#[cfg(test)]
mod tests {
    use crate::tests::normalized;

    #[test]
    fn a_record_is_mapped() {
        insta::assert_snapshot!(normalized(r#"{"eventVersion":"1.09","userIdentity":{"type":"IAMUser","principalId":"AIDAX","userName":"deploy","accountId":"111122223333"},"eventTime":"2026-11-24T10:00:00Z","eventSource":"cloudtrail.amazonaws.com","eventName":"StopLogging","awsRegion":"eu-west-1","sourceIPAddress":"203.0.113.9","userAgent":"aws-cli/2","requestParameters":{"name":"main","tags":[{"k":"v"}]},"responseElements":null,"recipientAccountId":"111122223333"}"#, ""), @r#"{"@timestamp":"2026-11-24T10:00:00Z","aws":{"cloudtrail":{"eventVersion":"1.09","requestParameters":{"name":"main","tags":[{"k":"v"}]},"responseElements":null,"userIdentity":{"accountId":"111122223333","principalId":"AIDAX","type":"IAMUser","userName":"deploy"}}},"cloud":{"account":{"id":"111122223333"},"provider":"aws","region":"eu-west-1"},"event":{"action":"StopLogging","category":["configuration"],"dataset":"aws.cloudtrail","module":"aws","outcome":"success","provider":"cloudtrail.amazonaws.com","type":["change"]},"related":{"ip":["203.0.113.9"],"user":["deploy"]},"source":{"address":"203.0.113.9","ip":"203.0.113.9"},"user":{"id":"AIDAX","name":"deploy"},"user_agent":{"original":"aws-cli/2"},"watchpost":{"logsource":{"product":"aws","service":"cloudtrail"}}}"#);
    }

    #[test]
    fn a_failed_sign_in_is_a_failure() {
        let event = normalized(
            r#"{"eventTime":"2026-11-24T10:00:00Z","eventSource":"signin.amazonaws.com","eventName":"ConsoleLogin","awsRegion":"us-east-1","sourceIPAddress":"AWS Internal","responseElements":{"ConsoleLogin":"Failure"}}"#,
            "",
        );
        assert!(event.contains(r#""outcome":"failure""#), "{event}");
        assert!(event.contains(r#""source":{"address":"AWS Internal"}"#), "{event}");
    }
}
