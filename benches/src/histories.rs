//! Histories for benches, made in memory from a seed: what closed-loop clients would record of a store
//! that applies every operation at one moment of its own between call and return.
//!
//! Not here: stores that lose or delay anything, but for the one stale get that makes a history invalid.

use std::collections::BTreeMap;

use quorate_check::history::{Argument, Function, Operation, Outcome, Value, sort_by_invocation};

/// Random numbers (splitmix64): a seed names a history.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// An operation that waits for its turn: when it is called, applied and answered.
struct Slot {
    client: u64,
    call: u64,
    ret: u64,
}

/// Closed-loop clients, 1 to 21 microseconds an operation; slots in the order in which they are applied.
fn slots(operations: u64, clients: u64, random: &mut Random) -> Vec<Slot> {
    let mut by_moment: Vec<(u64, Slot)> = Vec::with_capacity(usize::try_from(operations).unwrap_or(0));
    for client in 0..clients {
        let mut now = random.below(10_000);
        for _ in 0..operations / clients {
            let ret = now + 1_000 + random.below(20_000);
            by_moment.push((now + random.below(ret - now + 1), Slot { client, call: now, ret }));
            now = ret + 1 + random.below(100);
        }
    }
    by_moment.sort_by_key(|(moment, slot)| (*moment, slot.client));
    by_moment.into_iter().map(|(_, slot)| slot).collect()
}

fn operation(slot: &Slot, f: Function, key: Value) -> Operation {
    let mut operation = Operation::invoked(slot.client, f, key, slot.call);
    operation.return_ns = Some(slot.ret);
    operation.outcome = Outcome::Ok;
    operation
}

/// What the values of a register are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Each is put once.
    Unique,
    /// Each is put once, and half way one get returns the very first of them.
    OneStale,
    /// Every 50th get returns what was overwritten 20 puts before.
    ManyStale,
    /// One of five.
    Repeated,
}

/// One register, half puts and half gets.
#[must_use]
pub fn register(operations: u64, clients: u64, values: Values) -> Vec<Operation> {
    let mut random = Random(7);
    let slots = slots(operations, clients, &mut random);
    let half = slots.len() / 2;
    let (mut held, mut puts): (Option<i64>, Vec<i64>) = (None, Vec::new());
    let mut stale_to_come = values == Values::OneStale;
    let mut recorded = Vec::with_capacity(slots.len());
    for (number, slot) in slots.iter().enumerate() {
        if random.below(2) == 0 {
            let fresh = i64::try_from(number).unwrap_or(0);
            let value = if values == Values::Repeated { fresh % 5 } else { fresh };
            let mut put = operation(slot, Function::Put, "k".into());
            put.value = Some(Argument::from(value));
            held = Some(value);
            puts.push(value);
            recorded.push(put);
            continue;
        }
        let mut seen = held;
        if stale_to_come && number > half {
            (seen, stale_to_come) = (puts.first().copied(), false);
        }
        if values == Values::ManyStale && number % 50 == 0 && puts.len() > 20 {
            seen = Some(puts[puts.len() - 20]);
        }
        let mut get = operation(slot, Function::Get, "k".into());
        get.values = Some(seen.into_iter().map(Value::from).collect());
        recorded.push(get);
    }
    sort_by_invocation(&mut recorded);
    recorded
}

/// What a store does with writes that did not read each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// Keeps them side by side.
    Siblings,
    /// Keeps the last.
    LastWriteWins,
}

/// Clients that read a key and then write it with what they read, one time in `deletes` a delete (0:
/// never), one time in `blind` without what they read (0: never).
#[must_use]
pub fn read_modify_write(
    operations: u64,
    clients: u64,
    keys: u64,
    conflicts: Conflicts,
    (deletes, blind): (u64, u64),
) -> Vec<Operation> {
    let mut random = Random(11);
    let slots = slots(operations, clients, &mut random);
    let mut held: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    let mut read: BTreeMap<u64, (u64, Vec<i64>)> = BTreeMap::new();
    let mut recorded = Vec::with_capacity(slots.len());
    let values = |list: &[i64]| list.iter().copied().map(Value::from).collect::<Vec<Value>>();
    for (number, slot) in slots.iter().enumerate() {
        if let Some((key, context)) = read.remove(&slot.client) {
            let fresh = i64::try_from(number).unwrap_or(0);
            let is_delete = deletes > 0 && random.below(deletes) == 0;
            let is_blind = !is_delete && blind > 0 && random.below(blind) == 0;
            let f = if is_delete { Function::Delete } else { Function::Put };
            let mut write = operation(slot, f, i64::try_from(key).unwrap_or(0).into());
            write.value = Some(Argument::from(fresh));
            write.context = if is_blind { Vec::new() } else { values(&context) };
            let held = held.entry(key).or_default();
            match conflicts {
                Conflicts::Siblings => held.retain(|value| is_blind || !context.contains(value)),
                Conflicts::LastWriteWins => held.clear(),
            }
            if !is_delete {
                held.push(fresh);
            }
            recorded.push(write);
        } else {
            let key = random.below(keys);
            let mut get = operation(slot, Function::Get, i64::try_from(key).unwrap_or(0).into());
            let held = held.get(&key).map_or(&[][..], Vec::as_slice);
            get.values = Some(values(held));
            read.insert(slot.client, (key, held.to_vec()));
            recorded.push(get);
        }
    }
    sort_by_invocation(&mut recorded);
    recorded
}

/// One set: adds of elements of their own and, evenly between them, so many gets of all.
#[must_use]
pub fn set(operations: u64, clients: u64, gets: u64) -> Vec<Operation> {
    let mut random = Random(13);
    let slots = slots(operations, clients, &mut random);
    let every = slots.len() / usize::try_from(gets).unwrap_or(1).max(1);
    let mut held: Vec<Value> = Vec::new();
    let mut recorded = Vec::with_capacity(slots.len());
    for (number, slot) in slots.iter().enumerate() {
        if number % every == every - 1 {
            let mut get = operation(slot, Function::Get, "set".into());
            get.values = Some(held.clone());
            recorded.push(get);
        } else {
            let fresh = i64::try_from(number).unwrap_or(0);
            let mut add = operation(slot, Function::Add, "set".into());
            add.value = Some(Argument::from(fresh));
            held.push(fresh.into());
            recorded.push(add);
        }
    }
    sort_by_invocation(&mut recorded);
    recorded
}
