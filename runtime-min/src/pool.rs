//! The thread pool.

use crate::barrier::{Barrier, FEW};
use crate::sleep::Signal;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

/// A task: its context and the number of the thread that runs it.
pub type Task = unsafe extern "C" fn(*mut c_void, usize);

/// `struct mnnc_parallel` of `mnnc.h`.
#[repr(C)]
pub struct Parallel {
    /// Number of threads, the caller's among them.
    pub threads: usize,
    /// Runs `task(context, i)` for all `i < threads` and returns 0 when all have returned.
    pub run: unsafe extern "C" fn(*mut Parallel, Task, *mut c_void) -> i32,
    /// Returns once all tasks have called it.
    pub barrier: unsafe extern "C" fn(*mut Parallel),
}

/// What workers are to do next.
struct Job {
    task: Option<Task>,
    context: *mut c_void,
}

/// A pool; what callers hold is a pointer to its first field.
#[repr(C)]
struct State {
    parallel: Parallel,
    /// Tries before a waiting thread sleeps; few if there are more threads than processors.
    spins: u32,
    job: UnsafeCell<Job>,
    /// Counts jobs; a worker waits for it to change.
    jobs: Signal,
    /// Counts workers that have done the present job.
    done: Signal,
    barrier: Barrier,
    workers: *mut Worker,
    started: usize,
}

struct Worker {
    pool: *const State,
    index: usize,
    thread: MaybeUninit<libc::pthread_t>,
}

/// Most threads that a pool may have; more are a mistake.
pub const MAX_THREADS: usize = 1024;
/// Tries before sleeping: some tens of microseconds.
const SPINS: u32 = 4000;

/// Processors that this process may use.
fn processors() -> usize {
    #[cfg(target_os = "linux")]
    // SAFETY: the set is plain data, and its size is given.
    unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) == 0 {
            return (libc::CPU_COUNT(&set) as usize).max(1);
        }
    }
    // SAFETY: takes a number, returns a number.
    let n = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(n).unwrap_or(1).max(1)
}

/// A pool of `threads` threads, the caller's among them; 0 means one for each processor. Null if they are more than
/// [`MAX_THREADS`], there is no memory, or a thread cannot be started.
#[unsafe(no_mangle)]
pub extern "C" fn mnnc_pool_create(threads: usize) -> *mut Parallel {
    let available = processors();
    let threads = if threads == 0 { available.min(MAX_THREADS) } else { threads };
    if threads > MAX_THREADS {
        return ptr::null_mut();
    }
    // SAFETY: both blocks are checked before use and written before they are read; a worker's pool outlives it,
    // because `mnnc_pool_destroy` joins before it frees.
    unsafe {
        let mut block = ptr::null_mut();
        let failed = libc::posix_memalign(&mut block, align_of::<State>(), size_of::<State>());
        let pool = if failed == 0 { block.cast::<State>() } else { ptr::null_mut() };
        let workers = libc::malloc(size_of::<Worker>() * threads).cast::<Worker>();
        if pool.is_null() || workers.is_null() {
            libc::free(pool.cast());
            libc::free(workers.cast());
            return ptr::null_mut();
        }
        pool.write(State {
            parallel: Parallel { threads, run, barrier },
            spins: if threads <= available { SPINS } else { FEW },
            job: UnsafeCell::new(Job { task: None, context: ptr::null_mut() }),
            jobs: Signal::new(0),
            done: Signal::new(0),
            barrier: Barrier::new(),
            workers,
            started: 0,
        });
        for index in 1..threads {
            let worker = workers.add(index);
            worker.write(Worker { pool, index, thread: MaybeUninit::uninit() });
            let thread = (&raw mut (*worker).thread).cast::<libc::pthread_t>();
            if libc::pthread_create(thread, ptr::null(), work, worker.cast()) != 0 {
                mnnc_pool_destroy(pool.cast());
                return ptr::null_mut();
            }
            (*pool).started = index;
        }
        pool.cast()
    }
}

/// Ends the threads of a pool and frees it. Null is allowed.
///
/// # Safety
/// `pool` comes from [`mnnc_pool_create`], is idle, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnnc_pool_destroy(pool: *mut Parallel) {
    let pool = pool.cast::<State>();
    if pool.is_null() {
        return;
    }
    // SAFETY: as the caller promises; workers wait for a job, and one without a task ends them.
    unsafe {
        (*(*pool).job.get()).task = None;
        (*pool).jobs.add(1);
        for index in 1..=(*pool).started {
            libc::pthread_join((*(*pool).workers.add(index)).thread.assume_init(), ptr::null_mut());
        }
        libc::free((*pool).workers.cast());
        libc::free(pool.cast());
    }
}

/// A pool owned by Rust code.
pub struct Pool(ptr::NonNull<Parallel>);

// SAFETY: any thread may start work on the pool, one at a time; `&mut` sees to that.
unsafe impl Send for Pool {}

impl Pool {
    /// A pool of `threads` threads, the caller's among them; 0 means one for each processor. `None` if they are more than
    /// [`MAX_THREADS`], there is no memory, or a thread cannot be started.
    pub fn new(threads: usize) -> Option<Pool> {
        ptr::NonNull::new(mnnc_pool_create(threads)).map(Pool)
    }
    /// Number of threads.
    pub fn threads(&self) -> usize {
        // SAFETY: the pool lives as long as `self`.
        unsafe { self.0.as_ref().threads }
    }
    /// The pool as `NAME_run_parallel` takes it, for one call at a time.
    pub fn as_ptr(&mut self) -> *mut Parallel {
        self.0.as_ptr()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: it is idle, because a call borrows it, and not used again.
        unsafe { mnnc_pool_destroy(self.0.as_ptr()) }
    }
}

extern "C" fn work(worker: *mut c_void) -> *mut c_void {
    // SAFETY: the pool is alive until this thread is joined. The job is written before `jobs` changes and not again
    // before every worker has added to `done`.
    unsafe {
        let worker = worker.cast::<Worker>();
        let (pool, index) = (&*(*worker).pool, (*worker).index);
        let mut seen = 0;
        loop {
            pool.jobs.wait_while(seen, pool.barrier.spins(pool.spins));
            seen = seen.wrapping_add(1);
            let Job { task: Some(task), context } = *pool.job.get() else { return ptr::null_mut() };
            task(context, index);
            pool.done.add(1);
        }
    }
}

unsafe extern "C" fn run(parallel: *mut Parallel, task: Task, context: *mut c_void) -> i32 {
    // SAFETY: `parallel` is the first field of a live pool, and one job runs at a time.
    unsafe {
        let pool = &*parallel.cast::<State>();
        let workers = pool.parallel.threads as u32 - 1;
        *pool.job.get() = Job { task: Some(task), context };
        pool.done.set(0);
        pool.jobs.add(1);
        task(context, 0);
        loop {
            let done = pool.done.get();
            if done == workers {
                return 0;
            }
            pool.done.wait_while(done, pool.barrier.spins(pool.spins));
        }
    }
}

unsafe extern "C" fn barrier(parallel: *mut Parallel) {
    // SAFETY: `parallel` is the first field of a live pool.
    let pool = unsafe { &*parallel.cast::<State>() };
    pool.barrier.wait(pool.parallel.threads as u64, pool.spins);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

    struct Phases {
        pool: *mut Parallel,
        counts: [AtomicU32; 50],
        wrong: AtomicU32,
    }

    unsafe extern "C" fn phases(context: *mut c_void, index: usize) {
        // SAFETY: the test keeps the context alive.
        let p = unsafe { &*context.cast::<Phases>() };
        // SAFETY: the test keeps the pool alive.
        let threads = unsafe { (*p.pool).threads } as u32;
        for (i, count) in p.counts.iter().enumerate() {
            count.fetch_add(1, SeqCst);
            if (i + index).is_multiple_of(7) {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            // SAFETY: every task of the pool gets here.
            unsafe { ((*p.pool).barrier)(p.pool) };
            if count.load(SeqCst) % threads != 0 {
                p.wrong.fetch_add(1, SeqCst);
            }
            // SAFETY: as above. Without it a fast thread could count for the next run.
            unsafe { ((*p.pool).barrier)(p.pool) };
        }
    }

    #[test]
    fn all_threads_pass_each_barrier_together() {
        for threads in [1, 2, 3, 8] {
            let pool = mnnc_pool_create(threads);
            assert!(!pool.is_null());
            let context = Phases { pool, counts: [const { AtomicU32::new(0) }; 50], wrong: AtomicU32::new(0) };
            for round in 1..=20u32 {
                // SAFETY: pool and context are alive.
                let r = unsafe { ((*pool).run)(pool, phases, (&raw const context).cast_mut().cast()) };
                assert_eq!(r, 0);
                assert!(context.counts.iter().all(|c| c.load(SeqCst) == round * threads as u32), "{threads} threads");
                if round == 10 {
                    // Long enough for the workers to fall asleep.
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            }
            assert_eq!(context.wrong.load(SeqCst), 0, "{threads} threads");
            // SAFETY: the pool is idle.
            unsafe { mnnc_pool_destroy(pool) };
        }
    }

    #[test]
    fn too_many_threads_are_refused() {
        assert!(mnnc_pool_create(MAX_THREADS + 1).is_null());
        assert!(Pool::new(usize::MAX).is_none());
    }

    #[test]
    fn no_number_means_all_processors() {
        let pool = mnnc_pool_create(0);
        // SAFETY: the pool is live, then idle.
        unsafe {
            assert_eq!((*pool).threads, std::thread::available_parallelism().map_or(1, usize::from));
            mnnc_pool_destroy(pool);
            mnnc_pool_destroy(ptr::null_mut());
        }
    }
}
