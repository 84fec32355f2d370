//! Reads that go back: a get that began after another had returned misses what that one had shown.
//!
//! Across clients: whoever asked. A value that a delete may have removed meanwhile is not missed.

use super::KeyHistory;
use super::causality::Causality;
use super::cover::View;
use super::frontier::{Demand, Frontier, by_return};
use super::remembered::missed_write;
use super::walk::Scene;
use crate::report::{Findings, Guarantee, Kind};
use crate::say;

/// What gets have shown so far.
pub(crate) struct ReadsGoBack {
    gets: Vec<(i64, u32)>,
    next: usize,
    frontier: Frontier,
}

impl ReadsGoBack {
    pub(crate) fn new(key: &KeyHistory<'_>) -> Self {
        ReadsGoBack {
            gets: by_return(key.history, key.key, |op| key.history.is_read(op)),
            next: 0,
            frontier: Frontier::new(&key.causality),
        }
    }

    pub(crate) fn settle(&mut self, causality: &Causality, settled: View<'_>) {
        self.frontier.settle(causality, settled);
    }

    /// Judges a get.
    pub(crate) fn check(&mut self, key: &KeyHistory<'_>, scene: &Scene<'_>, findings: &mut Findings) {
        let (history, causality) = (key.history, &key.causality);
        let call = history.entry(scene.get).invoke;
        while let Some(&(_, earlier)) = self.gets.get(self.next).filter(|(ret, _)| *ret < call) {
            for write in history.values_of(earlier).iter().filter_map(|&value| causality.write_of(value)) {
                self.frontier.demand(causality, scene.buried, Demand { write, because: earlier });
            }
            self.next += 1;
        }
        let missed = self.frontier.gap(scene.excused).or_else(|| {
            scene.tied.iter().filter(|&&op| history.is_read(op)).find_map(|&because| {
                let write = missed_write(history, causality, scene, because)?;
                Some(Demand { write, because })
            })
        });
        if let Some(Demand { write, because }) = missed {
            let put = causality.writes[write as usize].op;
            findings.add(Kind::Session, || {
                let says = format!(
                    "{} misses {}, which {} had already shown",
                    say::operation(history, scene.get),
                    say::value(history, history.entry(put).value),
                    say::operation(history, because)
                );
                key.session(Guarantee::ReadsGoBack, &[put, because, scene.get], says)
            });
        }
    }
}
