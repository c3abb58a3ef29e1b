//! Zeroed memory for weights: aligned to cache lines, on huge pages where the system has them.

use super::layout::ALIGN;
use std::ptr::NonNull;

/// An owned range of zero-initialised bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    data: NonNull<u8>,
    len: usize,
    /// What the system gave: `data` lies inside.
    base: NonNull<u8>,
    base_len: usize,
}

// SAFETY: plain bytes, owned; shared references only read.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// Size of a huge page: from here on memory is aligned to it.
const HUGE: usize = 2 << 20;

impl Memory {
    /// `len` zero bytes; `None` when the system has not that many.
    pub fn zeroed(len: usize) -> Option<Memory> {
        let align = if len >= HUGE { HUGE } else { ALIGN };
        let base_len = len.max(1).checked_add(if align == HUGE { HUGE } else { 0 })?;
        let base = map(base_len)?;
        let skip = base.as_ptr().align_offset(align);
        // SAFETY: maps begin on pages, so `skip` is 0 or, for huge alignment, below the added `HUGE`.
        let data = unsafe { base.add(skip) };
        if align == HUGE {
            advise_huge(data, len);
        }
        Some(Memory { data, len, base, base_len })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes owned by `self`.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        unmap(self.base, self.base_len);
    }
}

#[cfg(unix)]
fn map(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: a fresh anonymous map has no requirements.
    let p = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if p == libc::MAP_FAILED { None } else { NonNull::new(p.cast()) }
}

#[cfg(unix)]
fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: exactly what `map` returned; nothing borrows it any more.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

#[cfg(not(unix))]
fn page_layout(len: usize) -> Option<std::alloc::Layout> {
    std::alloc::Layout::from_size_align(len, 4096).ok()
}

#[cfg(not(unix))]
fn map(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(page_layout(len)?) })
}

#[cfg(not(unix))]
fn unmap(base: NonNull<u8>, len: usize) {
    if let Some(layout) = page_layout(len) {
        // SAFETY: exactly what `map` returned; nothing borrows it any more.
        unsafe { std::alloc::dealloc(base.as_ptr(), layout) };
    }
}

#[cfg(target_os = "linux")]
fn advise_huge(data: NonNull<u8>, len: usize) {
    // SAFETY: the range is mapped; the advice changes no content, and its failure changes nothing.
    unsafe { libc::madvise(data.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge(_data: NonNull<u8>, _len: usize) {}
