//! Big blocks of zeroed memory straight from the system: page-aligned, in huge pages where it helps, touched lazily.

use std::io;
use std::ptr::NonNull;

/// Blocks from this size on ask for huge pages where they may: two of them.
const HUGE: usize = 4 << 20;

/// Anonymous zeroed memory.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is owned memory; who shares its pointers says how.
unsafe impl Send for Region {}
// SAFETY: a shared region only gives out its address and length.
unsafe impl Sync for Region {}

impl Region {
    /// At least `len` bytes of zeros, in huge pages when they are many. Pages take real memory only once they are written.
    ///
    /// # Errors
    /// When the system has no such room.
    pub fn new(len: usize) -> io::Result<Self> {
        Self::with_pages(len, len >= HUGE)
    }

    /// At least `len` bytes of zeros in small pages: for memory of which only a little may ever be written.
    ///
    /// # Errors
    /// When the system has no such room.
    pub fn sparse(len: usize) -> io::Result<Self> {
        Self::with_pages(len, false)
    }

    fn with_pages(len: usize, huge: bool) -> io::Result<Self> {
        let len = len.max(1).checked_next_multiple_of(4096).ok_or(io::ErrorKind::OutOfMemory)?;
        let (prot, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a fresh anonymous mapping touches no existing memory.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        if huge {
            // SAFETY: the range was just mapped. A refusal costs speed only.
            unsafe { libc::madvise(base, len, libc::MADV_HUGEPAGE) };
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Region { base, len })
    }

    /// Where it begins.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing; a region never does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes it hold `len` bytes at least; what it held is lost if it has to grow.
    ///
    /// # Errors
    /// When the system has no such room.
    pub fn grow(&mut self, len: usize) -> io::Result<()> {
        if len > self.len {
            *self = Region::new(len)?;
        }
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's own and nobody can reach it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
