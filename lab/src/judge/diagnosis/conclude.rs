//! The causes of one run: gathered from every family, the most direct kept.

use std::path::Path;

use roce::Report;

use crate::base::error::Result;
use crate::judge::completeness::Completeness;
use crate::run::evidence::RunEvidence;

use super::diagnosis::Diagnosis;
use super::facts::Facts;
use super::{connection, host, path, program, receive, remote_access, rxe};

/// The causes that the evidence of a run shows, then the deviations of SoftRoCE. Of the causes only the most direct
/// are kept: the others follow from them.
///
/// # Errors
///
/// The capture cannot be read again.
pub fn diagnose(
    evidence: &RunEvidence,
    report: Option<&Report>,
    completeness: &Completeness,
    artifacts: &Path,
) -> Result<Vec<Diagnosis>> {
    let facts = Facts::gather(evidence, report, completeness, artifacts)?;
    let families = [
        host::causes,
        program::causes,
        remote_access::causes,
        receive::causes,
        connection::causes,
        path::causes,
    ];
    let found = families.into_iter().flat_map(|causes| causes(&facts)).collect();
    let mut kept = most_direct(found);
    kept.extend(rxe::deviations(&facts));
    Ok(kept)
}

/// Those of the lowest rank, each cause once for a sentence.
fn most_direct(found: Vec<Diagnosis>) -> Vec<Diagnosis> {
    let Some(rank) = found.iter().map(|diagnosis| diagnosis.cause.rank()).min() else { return found };
    let mut kept: Vec<Diagnosis> = Vec::new();
    for diagnosis in found.into_iter().filter(|diagnosis| diagnosis.cause.rank() == rank) {
        if !kept.iter().any(|known| known.cause == diagnosis.cause && known.sentence == diagnosis.sentence) {
            kept.push(diagnosis);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::cause::Cause;

    #[test]
    fn the_most_direct_cause_explains_the_others() {
        let of = |causes: &[Cause]| -> Vec<Cause> {
            let found = causes.iter().map(|cause| Diagnosis::new(*cause, "s")).collect();
            most_direct(found).into_iter().map(|diagnosis| diagnosis.cause).collect()
        };
        let told = [Cause::PeerEnded, Cause::KeyByteSwapped, Cause::ClientFailed, Cause::KeyByteSwapped];
        assert_eq!(of(&told), [Cause::KeyByteSwapped]);
        assert_eq!(of(&[Cause::NobodyListens, Cause::SendQueueFull]), [Cause::SendQueueFull]);
        assert_eq!(of(&[]), []);
    }
}
