//! Clusters: a write and all gets that returned its value (Gibbons and Korach, "Testing shared
//! memories", 1997). In any legal order the operations of a cluster stand together.

use super::{Op, Step};
use crate::deadline::Deadline;
use crate::history::{History, Id, NONE};

/// A write and its readers. Operations are positions in the key's list; `NONE` is the initial write,
/// which returned before everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cluster {
    pub(crate) put: u32,
    /// The call of the write; the smallest time for the initial one.
    pub(crate) put_call: i64,
    /// The earliest return in the cluster, and whose.
    pub(crate) f: i64,
    pub(crate) f_op: u32,
    /// The latest call in the cluster, and whose.
    pub(crate) s: i64,
    pub(crate) s_op: u32,
    /// Whether any get returned the value.
    pub(crate) read: bool,
}

impl Cluster {
    fn new(put: u32, call: i64, ret: i64) -> Self {
        Cluster { put, put_call: call, f: ret, f_op: put, s: call, s_op: put, read: false }
    }

    pub(crate) fn take(&mut self, op: u32, call: i64, ret: i64) {
        if ret < self.f {
            (self.f, self.f_op) = (ret, op);
        }
        if call > self.s {
            (self.s, self.s_op) = (call, op);
        }
    }

    /// The value was provably held all the time from `f` to `s`.
    pub(crate) fn is_forward(&self) -> bool {
        self.f < self.s
    }
}

/// Where the cluster of a value is; kept from key to key so that a million keys cost no million tables.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    of_value: Vec<u32>,
    used: Vec<Id>,
    /// By process: when its operation before this one returned.
    pub(super) last_return: Vec<i64>,
    /// Asked by whoever walks over operations.
    pub(super) deadline: Deadline,
}

impl Scratch {
    pub(crate) fn new(history: &History, deadline: &Deadline) -> Self {
        Scratch {
            of_value: vec![NONE; history.value_count() + 2],
            used: Vec::new(),
            last_return: vec![i64::MIN; history.process_count()],
            deadline: deadline.clone(),
        }
    }

    /// The cluster of a value, or `NONE`.
    pub(super) fn cluster_of(&self, value: Id) -> u32 {
        let last = self.of_value.len() - 1;
        self.of_value[last.min(value as usize)]
    }

    /// Gives a value to a cluster.
    pub(super) fn claim(&mut self, value: Id, cluster: u32) {
        self.used.push(value);
        *self.slot(value) = cluster;
    }

    fn slot(&mut self, value: Id) -> &mut u32 {
        // Two states are no values of the history: "not found" takes the last place, and an initial
        // value that no operation mentions the one before it.
        let last = self.of_value.len() - 1;
        &mut self.of_value[last.min(value as usize)]
    }

    /// Forgets all values.
    pub(super) fn clear(&mut self) {
        for value in std::mem::take(&mut self.used) {
            *self.slot(value) = NONE;
        }
    }
}

/// The clusters of one key, in order of their writes' calls, the initial one first.
#[derive(Debug)]
pub(crate) struct Clusters {
    pub(crate) list: Vec<Cluster>,
    /// By operation: its cluster, or `NONE` for an ambiguous get; for a cas, the one that it wrote.
    pub(crate) of_op: Vec<u32>,
    /// Each cas, and the cluster that it read or would read (`NONE`: nobody wrote that value).
    pub(crate) cas_from: Vec<(u32, u32)>,
    /// A value is written twice: zones do not apply.
    pub(crate) repeated: bool,
    /// Why some gets could not be given to one write; they are left out.
    pub(crate) ambiguous: Option<String>,
    /// There is a cas that happened or may have happened.
    pub(crate) has_cas: bool,
}

impl Clusters {
    pub(crate) fn build(ops: &[Op], initial: Id, scratch: &mut Scratch) -> Clusters {
        let mut clusters = Clusters {
            list: Vec::with_capacity(ops.len() / 2 + 1),
            of_op: vec![NONE; ops.len()],
            cas_from: Vec::new(),
            repeated: false,
            ambiguous: None,
            has_cas: false,
        };
        clusters.list.push(Cluster::new(NONE, i64::MIN, i64::MIN));
        scratch.used.push(initial);
        *scratch.slot(initial) = 0;
        // Deletes all write "not found", so a get that says so does not say which: each is a cluster
        // of its own that nobody is known to have read.
        let mut deletes = 0_usize;
        for (position, op) in (0_u32..).zip(ops) {
            if scratch.deadline.step() {
                break;
            }
            let value = match op.step {
                Step::Read(_) => continue,
                Step::Write(super::NOT_FOUND) => {
                    deletes += 1;
                    clusters.add(position, op);
                    continue;
                }
                Step::Write(value) => value,
                Step::Cas(_, value) => {
                    clusters.has_cas = true;
                    value
                }
            };
            clusters.repeated |= *scratch.slot(value) != NONE;
            scratch.used.push(value);
            *scratch.slot(value) = u32::try_from(clusters.list.len()).unwrap_or(NONE);
            clusters.add(position, op);
        }
        for (position, op) in (0_u32..).zip(ops) {
            if scratch.deadline.step() {
                break;
            }
            let read = match op.step {
                Step::Read(value) | Step::Cas(value, _) => value,
                Step::Write(_) => continue,
            };
            if read == super::NOT_FOUND && deletes > 0 {
                clusters.ambiguous = Some("gets that found nothing may have read any delete".to_owned());
                continue;
            }
            let cluster = *scratch.slot(read);
            if let Step::Cas(..) = op.step {
                clusters.cas_from.push((position, cluster));
                continue;
            }
            // Phantoms were taken out before; what is left here was written.
            if let Some(found) = clusters.list.get_mut(cluster as usize) {
                found.take(position, op.call, op.ret);
                found.read = true;
                clusters.of_op[position as usize] = cluster;
            }
        }
        scratch.clear();
        clusters
    }

    fn add(&mut self, position: u32, op: &Op) {
        self.of_op[position as usize] = u32::try_from(self.list.len()).unwrap_or(NONE);
        self.list.push(Cluster::new(position, op.call, op.ret));
    }
}
