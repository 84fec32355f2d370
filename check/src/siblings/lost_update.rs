//! Lost updates: of two writes made from the same state, one silently replaced the other.
//!
//! An acknowledged put with a non-empty context that is not covered by a later get, which covers another
//! write made from the same context. Blind writes never count, and neither does a put that a delete may
//! have removed. A get of a replica that is merely behind can look like this for a while: `lasting` says
//! whether the update is still missing in the final values.

use std::collections::HashMap;

use super::KeyHistory;
use super::cover::Cover;
use super::frontier::by_return;
use super::walk::Scene;
use crate::history::{Function, Id, NONE};
use crate::report::{Findings, Kind};
use crate::say;

/// Acknowledged puts that have rivals, and which of them may yet be found lost.
///
/// Only gets that miss an acknowledged put are looked at, and from one of those to the next only
/// differences: a put that this get misses beside a rival that it shows was found at the one before,
/// unless the put was acknowledged since, or one of the two is covered differently. Under
/// last-write-wins, where most writes have lost a rival, anything else would look at all of them at
/// every get.
pub(crate) struct LostUpdate<'a> {
    puts: Vec<(i64, u32)>,
    next: usize,
    /// Known from the first get on that misses a put.
    rivals: Option<Rivals>,
    /// What the final values account for, if there are any.
    accounted: Option<&'a Cover>,
}

impl<'a> LostUpdate<'a> {
    pub(crate) fn new(key: &KeyHistory<'_>, accounted: Option<&'a Cover>) -> Self {
        let has_context =
            |op: u32| key.history.entry(op).f != Function::Delete && !key.history.context_of(op).is_empty();
        LostUpdate { puts: by_return(key.history, key.key, has_context), next: 0, rivals: None, accounted }
    }

    /// Judges a get, which misses an acknowledged put if `misses`; each lost update is found once.
    pub(crate) fn check(
        &mut self,
        key: &KeyHistory<'_>,
        scene: &Scene<'_>,
        misses: bool,
        findings: &mut Findings,
    ) {
        if !misses {
            return;
        }
        let (history, causality) = (key.history, &key.causality);
        let rivals = self.rivals.get_or_insert_with(|| Rivals::new(key));
        let call = history.entry(scene.get).invoke;
        while let Some(&(_, op)) = self.puts.get(self.next).filter(|(ret, _)| *ret < call) {
            rivals.arm(causality.write_of_op(op));
            self.next += 1;
        }
        // The same process's puts that ended at the very stamp at which this get began.
        let is_put =
            |op: &u32| history.entry(*op).is_ok(Function::Put) || history.entry(*op).is_ok(Function::Cas);
        let tied: Vec<u32> =
            scene.tied.iter().copied().filter(is_put).filter_map(|op| causality.write_of_op(op)).collect();
        tied.iter().for_each(|&index| rivals.arm(Some(index)));
        let lost = rivals.lost(key, scene);
        // A put that only its process knows to be over, or a delete that only this get may have seen,
        // hides here what the next get may miss.
        rivals.fresh.extend(tied);
        causality.differences(scene.shown, scene.excused, |index| rivals.fresh.push(index));
        for (index, rival) in lost {
            let put = causality.writes[index as usize].op;
            let rival = causality.writes[rival as usize].op;
            findings.add(Kind::LostUpdate, || {
                let says = format!(
                    "{} and {} were made from the same context, and {} shows the second without the first",
                    say::operation(history, put),
                    say::operation(history, rival),
                    say::operation(history, scene.get)
                );
                let mut violation = key.violation(Kind::LostUpdate, &[put, rival, scene.get], says);
                violation.lasting =
                    self.accounted.map(|accounted| !causality.covers(accounted.view(), index));
                violation
            });
        }
    }
}

/// Where a write stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not acknowledged yet.
    Open,
    /// Acknowledged and not found lost.
    Armed,
    /// Found lost.
    Lost,
}

struct Rivals {
    /// Writes made from one context stand together.
    members: Vec<u32>,
    /// By write: its place among them, or `NONE` if it has no rival; and how many they are.
    group_of: Vec<(u32, u32)>,
    standing: Vec<Standing>,
    /// Those to look at for the next get whatever it shows: acknowledged or hidden at the last one.
    fresh: Vec<u32>,
    /// What the last get looked at showed.
    previous: Cover,
}

impl Rivals {
    fn new(key: &KeyHistory<'_>) -> Self {
        let writes = &key.causality.writes;
        // Only asked, never walked: groups are numbered in order of their first members.
        let mut number_of: HashMap<Vec<Id>, usize> = HashMap::new();
        let mut groups: Vec<Vec<u32>> = Vec::new();
        for (index, write) in (0_u32..).zip(writes) {
            let mut context = key.history.context_of(write.op).to_vec();
            context.sort_unstable();
            context.dedup();
            if !context.is_empty() {
                let number = *number_of.entry(context).or_insert(groups.len());
                if number == groups.len() {
                    groups.push(Vec::new());
                }
                groups[number].push(index);
            }
        }
        let mut rivals = Rivals {
            members: Vec::new(),
            group_of: vec![(NONE, 0); writes.len()],
            standing: vec![Standing::Open; writes.len()],
            fresh: Vec::new(),
            previous: Cover::default(),
        };
        for group in groups.into_iter().filter(|group| group.len() > 1) {
            let place = u32::try_from(rivals.members.len()).unwrap_or(NONE);
            for &index in &group {
                rivals.group_of[index as usize] = (place, u32::try_from(group.len()).unwrap_or(0));
            }
            rivals.members.extend(group);
        }
        rivals
    }

    fn arm(&mut self, index: Option<u32>) {
        if let Some(index) = index.filter(|&index| !self.group(index).is_empty()) {
            // Armed once for its own process and once for all others, by equal stamps.
            let standing = &mut self.standing[index as usize];
            if *standing != Standing::Lost {
                *standing = Standing::Armed;
                self.fresh.push(index);
            }
        }
    }

    fn group(&self, index: u32) -> &[u32] {
        let (place, len) = self.group_of[index as usize];
        if place == NONE { &[] } else { &self.members[place as usize..][..len as usize] }
    }

    fn is_armed(&self, index: u32) -> bool {
        self.standing[index as usize] == Standing::Armed
    }

    /// Armed puts that the get misses although it shows a rival, each with a rival; no longer armed.
    fn lost(&mut self, key: &KeyHistory<'_>, scene: &Scene<'_>) -> Vec<(u32, u32)> {
        let causality = &key.causality;
        let mut suspects = std::mem::take(&mut self.fresh);
        let deadline = &causality.tables.deadline;
        causality.differences(self.previous.view(), scene.shown, |index| {
            // Looked at here, obeyed by the walk.
            deadline.step();
            suspects.extend(self.group(index).iter().filter(|&&member| self.is_armed(member)));
        });
        self.previous.copy_from(scene.shown);
        suspects.retain(|&index| {
            self.is_armed(index)
                && key.history.precedes(causality.writes[index as usize].op, scene.get)
                && !scene.settles(causality, index)
        });
        suspects.sort_unstable();
        suspects.dedup();
        let mut lost = Vec::new();
        for index in suspects {
            let mut rivals = self.group(index).iter().copied().filter(|&rival| rival != index);
            if let Some(rival) = rivals.find(|&rival| causality.covers(scene.shown, rival)) {
                lost.push((index, rival));
            }
        }
        for &(index, _) in &lost {
            self.standing[index as usize] = Standing::Lost;
        }
        lost
    }
}
