//! The words that ECS allows in its categorisation fields.
//! <https://www.elastic.co/docs/reference/ecs/ecs-category-field-values-reference>

const KIND: [&str; 8] =
    ["alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"];

const CATEGORY: [&str; 20] = [
    "api",
    "authentication",
    "configuration",
    "database",
    "driver",
    "email",
    "file",
    "host",
    "iam",
    "intrusion_detection",
    "library",
    "malware",
    "network",
    "package",
    "process",
    "registry",
    "session",
    "threat",
    "vulnerability",
    "web",
];

const TYPE: [&str; 18] = [
    "access",
    "admin",
    "allowed",
    "change",
    "connection",
    "creation",
    "deletion",
    "denied",
    "device",
    "end",
    "error",
    "group",
    "indicator",
    "info",
    "installation",
    "protocol",
    "start",
    "user",
];

const OUTCOME: [&str; 3] = ["failure", "success", "unknown"];

/// What is wrong with a value of one of these fields.
pub(crate) fn fault(path: &str, value: &str) -> Option<String> {
    let allowed: &[&str] = match path {
        "event.kind" => &KIND,
        "event.category" => &CATEGORY,
        "event.type" => &TYPE,
        "event.outcome" => &OUTCOME,
        _ => return None,
    };
    (!allowed.contains(&value))
        .then(|| format!("`{value}` is no {path} of ECS; those are {}", allowed.join(", ")))
}

/// Fields that ECS has as arrays.
pub(crate) fn is_list(path: &str) -> bool {
    matches!(
        path,
        "event.category"
            | "event.type"
            | "tags"
            | "dns.resolved_ip"
            | "dns.header_flags"
            | "registry.data.strings"
    ) || path.starts_with("related.")
}
