//! How a refusal looks on the wire: gRPC's code for programs of any kind, our label for ours, our sentence for people.

use sealcast_broker::{Denial, DenialKind};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::backend::Fault;

/// Metadata key of the refusal's label.
pub(super) const REFUSAL_METADATA: &str = "sealcast-refusal";
/// Metadata key of when to try again, in milliseconds.
pub(super) const RETRY_METADATA: &str = "sealcast-retry-ms";

impl From<&Denial> for Fault {
    fn from(denial: &Denial) -> Fault {
        Fault::Denied(denial.clone())
    }
}

/// The status of a fault.
pub(super) fn status(fault: &Fault) -> Status {
    let mut status = match fault {
        Fault::Denied(denial) => Status::new(code(denial.kind()), denial.to_string()),
        Fault::Busy => Status::unavailable(fault.to_string()),
        Fault::Store(_) => Status::unavailable(fault.to_string()),
        Fault::Password(_) => Status::resource_exhausted(fault.to_string()),
        Fault::NoBroker(_) | Fault::UnknownPeer(_) | Fault::NodeUnreachable(..) | Fault::OutOfService => {
            Status::unavailable(fault.to_string())
        }
        Fault::NoBrokerHere => Status::failed_precondition(fault.to_string()),
        Fault::Refused(_) => Status::permission_denied(fault.to_string()),
        Fault::Bug => Status::internal(fault.to_string()),
    };
    status.metadata_mut().insert(REFUSAL_METADATA, MetadataValue::from_static(fault.label()));
    if let Fault::Denied(Denial::TooOften { retry_after_ms }) = fault {
        status.metadata_mut().insert(RETRY_METADATA, MetadataValue::from(*retry_after_ms));
    }
    status
}

/// The answer of another node, as this one hands it back: code, label, sentence and when to come again. A connection that
/// broke before the answer is this mesh's fault and no refusal: the call may have been done.
pub(super) fn hand_back(answer: Status) -> Status {
    if std::error::Error::source(&answer).is_some() {
        tracing::debug!(error = %answer, "a node closed the connection before it answered");
        let mut broken = Status::unavailable(
            "the node that this was handed to closed the connection before it answered: it may have been done; look, then \
             try again",
        );
        broken.metadata_mut().insert(REFUSAL_METADATA, MetadataValue::from_static("handed_on_broken"));
        return broken;
    }
    let mut back = Status::new(answer.code(), answer.message());
    for key in [REFUSAL_METADATA, RETRY_METADATA] {
        if let Some(value) = answer.metadata().get(key) {
            back.metadata_mut().insert(key, value.clone());
        }
    }
    back
}

const fn code(kind: DenialKind) -> Code {
    match kind {
        DenialKind::Unauthenticated => Code::Unauthenticated,
        DenialKind::PermissionDenied => Code::PermissionDenied,
        DenialKind::NotFound => Code::NotFound,
        DenialKind::AlreadyExists => Code::AlreadyExists,
        DenialKind::InvalidArgument => Code::InvalidArgument,
        DenialKind::FailedPrecondition => Code::FailedPrecondition,
        DenialKind::ResourceExhausted => Code::ResourceExhausted,
        DenialKind::Unavailable => Code::Unavailable,
        DenialKind::Internal => Code::Internal,
    }
}

/// A code's name as a metrics label.
pub(super) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Unauthenticated => "unauthenticated",
        Code::PermissionDenied => "permission_denied",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::InvalidArgument => "invalid_argument",
        Code::FailedPrecondition => "failed_precondition",
        Code::ResourceExhausted => "resource_exhausted",
        Code::Unavailable => "unavailable",
        _ => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[GW-13\]: code, label and sentence travel side by side.
    #[test]
    fn a_denial_keeps_label_and_sentence() {
        let status = status(&Fault::Denied(Denial::TooOften { retry_after_ms: 6_000 }));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get(REFUSAL_METADATA).unwrap(), "too_often");
        assert_eq!(status.metadata().get(RETRY_METADATA).unwrap(), "6000");
        assert!(status.message().contains("wait 6 s"), "{}", status.message());
    }

    /// \[GW-9\]: wrong password, unknown account and lock are one answer.
    #[test]
    fn a_failed_login_says_no_more_than_that() {
        let status = status(&Fault::Denied(Denial::LoginFailed));
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.metadata().get(REFUSAL_METADATA).unwrap(), "login_failed");
    }
}
