//! Which losses the user accepted, and which acceptances fit nothing.

use crate::fidelity::{Acceptance, Loss};
use crate::job::JobSpec;

/// The job's acceptances, and what each has met so far.
pub struct Accepted<'a>(Vec<Entry<'a>>);

struct Entry<'a> {
    acceptance: &'a Acceptance,
    pattern: Option<globset::GlobMatcher>,
    met_column: bool,
    met_loss: bool,
}

impl<'a> Accepted<'a> {
    pub fn new(spec: &'a JobSpec) -> Accepted<'a> {
        let entry = |acceptance: &'a Acceptance| Entry {
            acceptance,
            pattern: globset::Glob::new(&acceptance.column)
                .ok()
                .map(|glob| glob.compile_matcher()),
            met_column: false,
            met_loss: false,
        };
        Accepted(spec.accept.iter().map(entry).collect())
    }

    /// A column of the plan, by every name it may be called, and what it may lose.
    pub fn meet(&mut self, names: &[String], losses: &[Loss]) -> Vec<bool> {
        let mut accepted = vec![false; losses.len()];
        for entry in &mut self.0 {
            if !entry.takes(names) {
                continue;
            }
            entry.met_column = true;
            for (loss, accepted) in losses.iter().zip(&mut accepted) {
                if *loss == entry.acceptance.loss {
                    entry.met_loss = true;
                    *accepted = true;
                }
            }
        }
        accepted
    }

    /// Acceptances that concern nothing. A bare `*` may.
    pub fn unused(&self) -> Vec<String> {
        let named = self.0.iter().filter(|entry| entry.acceptance.column != "*");
        let told = |entry: &Entry<'_>| {
            let Acceptance { loss, column } = entry.acceptance;
            match (entry.met_column, entry.met_loss) {
                (_, true) => None,
                (false, _) => Some(format!(
                    "the acceptance {loss}:{column} fits no column of the job (write table.column)"
                )),
                (true, false) => Some(format!(
                    "the acceptance {loss}:{column}: {} don't occur there, on this way to the target",
                    loss.title()
                )),
            }
        };
        named.filter_map(told).collect()
    }
}

impl Entry<'_> {
    fn takes(&self, names: &[String]) -> bool {
        let pattern = self.pattern.as_ref();
        // A name with brackets in it may be meant as it stands.
        let exact = names.contains(&self.acceptance.column);
        exact || pattern.is_some_and(|glob| names.iter().any(|name| glob.is_match(name)))
    }
}
