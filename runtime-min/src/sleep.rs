//! Waiting for a word of memory to change: first by spinning, because steps of a network follow each other within
//! microseconds, then asleep in the kernel.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// A word that threads wait on.
pub(crate) struct Signal {
    word: AtomicU32,
    /// Threads that are, or are about to be, asleep.
    sleepers: AtomicU32,
}

impl Signal {
    pub(crate) const fn new(value: u32) -> Signal {
        Signal { word: AtomicU32::new(value), sleepers: AtomicU32::new(0) }
    }
    pub(crate) fn get(&self) -> u32 {
        self.word.load(SeqCst)
    }
    /// Sets the word without waking anyone: nobody waits on it yet.
    pub(crate) fn set(&self, value: u32) {
        self.word.store(value, SeqCst);
    }
    /// Adds to the word, wakes those who wait, and returns the new value.
    pub(crate) fn add(&self, by: u32) -> u32 {
        let new = self.word.fetch_add(by, SeqCst).wrapping_add(by);
        // Either a sleeper has announced itself before this load, or it will see the new value.
        if self.sleepers.load(SeqCst) > 0 {
            wake_all(&self.word);
        }
        new
    }
    /// Waits until the word is no longer `old`; tries `spins` times before sleeping.
    pub(crate) fn wait_while(&self, old: u32, spins: u32) {
        for _ in 0..spins {
            if self.get() != old {
                return;
            }
            core::hint::spin_loop();
        }
        self.sleepers.fetch_add(1, SeqCst);
        while self.get() == old {
            sleep_while(&self.word, old);
        }
        self.sleepers.fetch_sub(1, SeqCst);
    }
}

#[cfg(target_os = "linux")]
fn sleep_while(word: &AtomicU32, old: u32) {
    // SAFETY: the word is alive for the call; the kernel only compares it. Spurious returns are the caller's loop's matter.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            old,
            core::ptr::null::<libc::timespec>(),
        );
    }
}

#[cfg(target_os = "linux")]
fn wake_all(word: &AtomicU32) {
    // SAFETY: the word is alive for the call; the kernel uses its address only.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX);
    }
}

/// Elsewhere a waiting thread lets others run.
#[cfg(not(target_os = "linux"))]
fn sleep_while(_: &AtomicU32, _: u32) {
    // SAFETY: takes nothing, touches nothing.
    unsafe {
        libc::sched_yield();
    }
}

#[cfg(not(target_os = "linux"))]
fn wake_all(_: &AtomicU32) {}
