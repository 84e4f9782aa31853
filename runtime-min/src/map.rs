//! Files of weights in memory.

use core::ffi::{c_char, c_void};
use core::ptr;

/// Maps a file read-only; its size goes to `*bytes`. Null on failure, and for an empty file.
///
/// # Safety
/// `path` is a C string; `bytes` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnnc_map_file(path: *const c_char, bytes: *mut usize) -> *const c_void {
    // SAFETY: as the caller promises; the descriptor is closed in any case, which does not end the mapping.
    unsafe {
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return ptr::null();
        }
        let mut stat: libc::stat = core::mem::zeroed();
        let size = if libc::fstat(file, &mut stat) == 0 { usize::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        let data = if size == 0 {
            libc::MAP_FAILED
        } else {
            libc::mmap(ptr::null_mut(), size, libc::PROT_READ, libc::MAP_PRIVATE, file, 0)
        };
        libc::close(file);
        if data == libc::MAP_FAILED {
            return ptr::null();
        }
        *bytes = size;
        data
    }
}

/// Takes a mapping back. Null is allowed.
///
/// # Safety
/// `data` and `bytes` come from [`mnnc_map_file`] and are not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnnc_unmap_file(data: *const c_void, bytes: usize) {
    if !data.is_null() {
        // SAFETY: as the caller promises.
        unsafe {
            libc::munmap(data.cast_mut(), bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_file_is_seen_as_it_is() {
        let path = std::env::current_exe().expect("a path");
        let text = CString::new(path.as_os_str().as_bytes()).expect("no zero byte");
        let mut bytes = 0;
        // SAFETY: the string and the number are alive; the mapping is used before it is taken back.
        unsafe {
            let data = mnnc_map_file(text.as_ptr(), &mut bytes);
            assert!(!data.is_null());
            let seen = core::slice::from_raw_parts(data.cast::<u8>(), bytes);
            assert!(seen == std::fs::read(&path).expect("reads"));
            mnnc_unmap_file(data, bytes);
            assert!(mnnc_map_file(c"/no/such/file".as_ptr(), &mut bytes).is_null());
        }
    }
}
