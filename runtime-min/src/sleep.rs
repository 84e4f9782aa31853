//! Waiting for a word of memory to change: first by spinning, because steps of a network follow each other within
//! microseconds, then asleep in the kernel.

use core::sync::atomic::{AtomicU32, Ordering};

/// A word that threads wait on, in a cache line of its own (two, because processors fetch lines in pairs).
#[repr(C, align(128))]
pub(crate) struct Signal {
    word: AtomicU32,
    /// Threads that are, or are about to be, asleep.
    sleepers: AtomicU32,
}

impl Signal {
    pub(crate) const fn new(value: u32) -> Signal {
        Signal { word: AtomicU32::new(value), sleepers: AtomicU32::new(0) }
    }
    /// The word; what was written before the change that is seen is seen, too.
    pub(crate) fn get(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }
    /// Sets the word without waking anyone: nobody waits on it yet.
    pub(crate) fn set(&self, value: u32) {
        self.word.store(value, Ordering::Relaxed);
    }
    /// Adds to the word and wakes those who wait.
    pub(crate) fn add(&self, by: u32) {
        // Sequentially consistent, as are the accesses to `sleepers`: either a sleeper has announced itself before this
        // load, or it will see the new value.
        self.word.fetch_add(by, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            wake_all(self.word.as_ptr());
        }
    }
    /// Waits until the word is no longer `old`; tries `spins` times before sleeping.
    pub(crate) fn wait_while(&self, old: u32, spins: u32) {
        for _ in 0..spins {
            if self.get() != old {
                return;
            }
            core::hint::spin_loop();
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.word.load(Ordering::SeqCst) == old {
            sleep_while(self.word.as_ptr(), old);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sleeps while the word at this address is `old`, or not at all; may return early.
#[cfg(target_os = "linux")]
pub(crate) fn sleep_while(word: *mut u32, old: u32) {
    // SAFETY: the word is alive for the call; the kernel only compares it. Spurious returns are the caller's loop's matter.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            old,
            core::ptr::null::<libc::timespec>(),
        );
    }
}

/// Wakes all threads that sleep on the word at this address.
#[cfg(target_os = "linux")]
pub(crate) fn wake_all(word: *mut u32) {
    // SAFETY: the word is alive for the call; the kernel uses its address only.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX);
    }
}

/// Elsewhere a waiting thread lets others run.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sleep_while(_: *mut u32, _: u32) {
    // SAFETY: takes nothing, touches nothing.
    unsafe {
        libc::sched_yield();
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn wake_all(_: *mut u32) {}
