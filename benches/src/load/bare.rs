//! The least that a paced generator can be: one thread that asks the clock and the kernel in turn, sleeps in
//! the kernel until shortly before a slot, and writes to a free connection when it is due. What lateness it
//! has is the machine's.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::child::monotonic_ns;
use super::drive::CONNECTIONS;

/// How long before a slot it stops sleeping: as long as ours.
const SPIN_NS: u64 = 50_000;

/// The number of the timer among the connections.
const TIMER: usize = usize::MAX;

const REQUEST: &[u8] = b"GET /kv/key0000000001 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// Sends at `slots`, in nanoseconds from the beginning, and prints how late, `name value` in each line.
///
/// # Panics
/// If the server goes away.
pub fn run(port: u16, slots: impl Iterator<Item = u64>) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    let mut connections: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|number| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server is there");
            stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("a socket");
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)
                .expect("a socket can be watched");
            stream
        })
        .collect();
    let mut free: VecDeque<usize> = (0..CONNECTIONS).collect();
    let mut lateness = Histogram::<u64>::new(3).expect("three digits");
    let mut slots = slots.peekable();
    let mut events = Vec::with_capacity(CONNECTIONS);
    let mut input = vec![0; 16 * 1024];
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).expect("a timer");
    epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER as u64), epoll::EventFlags::IN)
        .expect("a timer can be watched");
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut set_ns = 0;
    // A moment for the first slot to be in the future.
    let started_ns = monotonic_ns() + 1_000_000;
    while slots.peek().is_some() || free.len() < CONNECTIONS {
        while let Some(slot) = slots.peek() {
            let now = monotonic_ns();
            if now < started_ns + slot {
                break;
            }
            let Some(number) = free.pop_front() else { break };
            lateness.record(now - started_ns - slot).expect("a histogram that grows");
            connections[number].write_all(REQUEST).expect("the server reads");
            slots.next();
        }
        events.clear();
        let wake_ns = slots.peek().map_or(0, |slot| started_ns + slot - SPIN_NS);
        let sleeps = wake_ns > monotonic_ns() || slots.peek().is_none();
        if sleeps && wake_ns > set_ns {
            set_ns = wake_ns;
            let value = Timespec {
                tv_sec: (wake_ns / 1_000_000_000) as i64,
                tv_nsec: (wake_ns % 1_000_000_000) as i64,
            };
            let wake = Itimerspec { it_interval: at_once, it_value: value };
            timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &wake).expect("a timer can be set");
        }
        let timeout = if sleeps { None } else { Some(&at_once) };
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), timeout).expect("epoll");
        for event in &events {
            let number = event.data.u64() as usize;
            if number == TIMER {
                // Set anew before it is waited for again.
                let _ = rustix::io::read(&timer, &mut [0_u8; 8]);
                continue;
            }
            match connections[number].read(&mut input) {
                // Answers are short: they come whole.
                Ok(read) if read > 1024 => free.push_back(number),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => panic!("a whole answer, not {other:?}"),
            }
        }
    }
    for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        println!("lateness-{name} {}", lateness.value_at_quantile(q));
    }
}
