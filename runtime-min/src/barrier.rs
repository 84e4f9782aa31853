//! Where the threads of a pool wait for each other between dependent steps.

use crate::crowd::Crowd;
use crate::sleep::{sleep_while, wake_all};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A barrier for a fixed number of threads, used any number of times. It has a cache line of its own: every arrival moves
/// one line from core to core, and the last one releases the others with the same write.
#[repr(C, align(128))]
pub(crate) struct Barrier {
    /// Arrivals since the pool exists. A thread that arrives as number `n` waits for the next multiple of the number of
    /// threads; 64 bits do not wrap.
    arrivals: AtomicU64,
    /// Threads that are, or are about to be, asleep.
    sleepers: AtomicU32,
    crowd: Crowd,
}

/// Tries where threads share a processor: the sooner one sleeps, the sooner the other runs.
pub(crate) const FEW: u32 = 10;

impl Barrier {
    pub(crate) const fn new() -> Barrier {
        Barrier { arrivals: AtomicU64::new(0), sleepers: AtomicU32::new(0), crowd: Crowd::new() }
    }

    /// How often a thread should look before it sleeps, which is `spins` while all threads have processors of their own.
    pub(crate) fn spins(&self, spins: u32) -> u32 {
        if self.crowd.is_shared() { FEW.min(spins) } else { spins }
    }

    /// Returns once `threads` threads have called it; tries `spins` times before sleeping. What they wrote before, all
    /// of them see afterwards.
    pub(crate) fn wait(&self, threads: u64, spins: u32) {
        // Nobody comes to this round before all have come to the last.
        let round = self.arrivals.load(Ordering::Relaxed).checked_div(threads).unwrap_or(0);
        self.crowd.arrive(round);
        // Sequentially consistent, as are the accesses to `sleepers`: either a sleeper has announced itself before the
        // last arrival looks for sleepers, or it sees that arrival.
        let before = self.arrivals.fetch_add(1, Ordering::SeqCst);
        // A pool has threads; a division that cannot fail keeps the code of panics out of the library.
        let full = (before.checked_div(threads).unwrap_or(0) + 1) * threads;
        if before + 1 == full {
            self.crowd.close(round, threads);
            if self.sleepers.load(Ordering::SeqCst) > 0 {
                wake_all(self.low_half());
            }
            return;
        }
        for _ in 0..self.spins(spins) {
            if self.arrivals.load(Ordering::Acquire) >= full {
                return;
            }
            spin_loop();
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let now = self.arrivals.load(Ordering::SeqCst);
            if now >= full {
                break;
            }
            // Returns at once if someone has arrived since.
            sleep_while(self.low_half(), now as u32);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// The half of the count that changes with every arrival: the kernel waits on 32 bits.
    fn low_half(&self) -> *mut u32 {
        self.arrivals.as_ptr().cast::<u32>().wrapping_add(usize::from(cfg!(target_endian = "big")))
    }
}
