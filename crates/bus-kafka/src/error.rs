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
            | Code::SSL
    )
}

/// What a person can do something with.
pub(crate) fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::FencedInstanceId) => {
            "another process runs under the same instance name; give each copy its own".to_owned()
        }
        _ => error.to_string(),
    }
}
