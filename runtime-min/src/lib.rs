//! The runtime of compiled models: a thread pool for `NAME_run_parallel`, and the mapping of weight files. A model that runs
//! on one thread needs none of it.
//!
//! The C interface is `include/mnnc.h`. Nothing here uses Rust's standard library; with the feature `no_std` nothing of it
//! is linked either.

#![cfg_attr(all(feature = "no_std", not(test)), no_std)]

mod barrier;
mod crowd;
mod map;
mod pool;
mod sleep;

pub use map::{mnnc_map_file, mnnc_unmap_file};
pub use pool::{MAX_THREADS, Parallel, Pool, Task, mnnc_pool_create, mnnc_pool_destroy};

/// Nothing here panics on purpose; should something, the process must end.
#[cfg(all(feature = "no_std", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: abort takes nothing and does not return.
    unsafe { libc::abort() }
}
