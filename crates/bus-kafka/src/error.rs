//! What `librdkafka` says, in the bus's words: try again, or tell somebody?

use bus::BusError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The bus's error for a client's.
pub(crate) fn bus_error(doing: &'static str, error: &KafkaError) -> BusError {
    let reason = reason(error);
    match error.rdkafka_error_code() {
        Some(code) if is_denied(code) => BusError::Denied { doing, reason },
        _ if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => {
            BusError::Misconfigured {
                reason: format!("the Kafka client is not possible: {reason}"),
            }
        }
        _ => BusError::Unavailable { doing, reason },
    }
}

/// The brokers take no record of this size in this topic.
pub(crate) fn too_large(topic: &str) -> BusError {
    BusError::Misconfigured {
        reason: format!(
            "the brokers refuse a record of {topic} as too large; raise the topic's max.message.bytes"
        ),
    }
}

/// Whether this is what [`too_large`] tells.
pub(crate) fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge)
    )
}

/// Whether trying again is of no use until somebody changes something at the cluster.
pub(crate) fn is_denied(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::FencedInstanceId
            | Code::InvalidSessionTimeout
            | Code::InvalidTransactionTimeout
            | Code::GroupMaxSizeReached
            | Code::PolicyViolation
            | Code::SSL
    )
}

/// Whether a commit came from somebody whose place in the group is no longer that one.
pub(crate) fn is_fenced(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::FencedInstanceId
        )
    )
}

/// What a person can do something with.
fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::FencedInstanceId) => {
            "another process runs under the same instance name; give each copy its own".to_owned()
        }
        Some(code) => with_advice(code, error.to_string()),
        None => error.to_string(),
    }
}

/// What was said, and what to do about it where that is known.
pub(crate) fn with_advice(code: RDKafkaErrorCode, said: String) -> String {
    use RDKafkaErrorCode as Code;
    let advice = match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => "check the user, the password and the mechanism in [kafka]",
        Code::SSL => {
            "check in [kafka] whether TLS is right for this port, which CA signs the brokers' certificates, and our own certificate"
        }
        Code::TopicAuthorizationFailed => {
            "let the user read, write and describe the topics with our prefix, or make them for it"
        }
        Code::GroupAuthorizationFailed => {
            "let the user read and describe the consumer groups with our prefix"
        }
        Code::TransactionalIdAuthorizationFailed => {
            "let the user write and describe the transactional ids with our prefix"
        }
        Code::ClusterAuthorizationFailed => {
            "let the user make topics and write idempotently, or make the topics for it"
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic => {
            "somebody deleted the topic; make it again, or restart this process to have it made"
        }
        Code::UnknownPartition => {
            "its broker is away, or somebody made the topic anew with fewer partitions"
        }
        Code::InvalidSessionTimeout => {
            "the session timeout is outside of the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms"
        }
        Code::InvalidTransactionTimeout => {
            "the transaction timeout is above the brokers' transaction.max.timeout.ms"
        }
        Code::GroupMaxSizeReached => "raise the brokers' group.max.size",
        _ => return said,
    };
    format!("{said}; {advice}")
}
