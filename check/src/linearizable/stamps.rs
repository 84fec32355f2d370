//! Equal stamps within one process: its order in the file counts, while equal stamps of different
//! processes are concurrent. The other checkers compare stamps only; here stamps that tie within a
//! process are drawn apart so that comparing is enough.

use super::Op;
use super::clusters::Scratch;

/// Draws ties apart, in place. False if stamps cannot express the order: two processes both tie at one
/// stamp. Those ties then stay concurrent, which forgets some order but invents none.
pub(crate) fn separate_ties(ops: &mut [Op], scratch: &mut Scratch) -> bool {
    let last_return = &mut scratch.last_return;
    let mut tied = false;
    for op in ops.iter() {
        tied |= last_return[op.process as usize] == op.call;
        last_return[op.process as usize] = op.ret;
    }
    for op in ops.iter() {
        last_return[op.process as usize] = i64::MIN;
    }
    !tied || renumber(ops)
}

/// One end of an operation. A process's own ends are in the order of its operations.
#[derive(Clone, Copy)]
struct End {
    at: i64,
    op: usize,
    is_return: bool,
}

fn renumber(ops: &mut [Op]) -> bool {
    let mut ends: Vec<End> = Vec::with_capacity(ops.len() * 2);
    for (op, entry) in ops.iter().enumerate() {
        ends.push(End { at: entry.call, op, is_return: false });
        if entry.returned() {
            ends.push(End { at: entry.ret, op, is_return: true });
        }
    }
    ends.sort_by_key(|end| (end.at, ops[end.op].process, end.op, end.is_return));
    let mut exact = true;
    let mut next = 0_i64;
    let mut renumbered: Vec<(i64, i64)> = ops.iter().map(|op| (op.call, op.ret)).collect();
    for group in ends.chunk_by(|a, b| a.at == b.at) {
        // Per process: how far its ends at this stamp go beyond "called" and "returned".
        let mut chains = group
            .chunk_by(|a, b| ops[a.op].process == ops[b.op].process)
            .filter(|chain| chain.windows(2).any(|pair| pair[0].is_return && !pair[1].is_return));
        let chain = chains.next();
        let single = chains.next().is_none();
        exact &= single;
        let chain = chain.filter(|_| single).unwrap_or_default();
        let last = next + 1 + i64::try_from(chain.len()).unwrap_or(0);
        for end in group {
            set(&mut renumbered, *end, if end.is_return { last } else { next });
        }
        let mut place = next;
        for (position, end) in chain.iter().enumerate() {
            let is_first_call = position == 0 && !end.is_return;
            let is_last_return = position + 1 == chain.len() && end.is_return;
            if !is_first_call && !is_last_return {
                place += 1;
                set(&mut renumbered, *end, place);
            }
        }
        next = last + 1;
    }
    for (op, (call, ret)) in ops.iter_mut().zip(renumbered) {
        (op.call, op.ret) = (call, ret);
    }
    exact
}

fn set(renumbered: &mut [(i64, i64)], end: End, place: i64) {
    let (call, ret) = &mut renumbered[end.op];
    *(if end.is_return { ret } else { call }) = place;
}
