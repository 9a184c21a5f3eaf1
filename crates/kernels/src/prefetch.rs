//! Asking for memory before it is used.
#![expect(unsafe_code, reason = "a prefetch is an instruction of each architecture")]

/// Asks for the cache line at `address`, which may lie anywhere.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch changes no value and faults at no address; SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch changes no value and faults at no address.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{address}]",
            address = in(reg) address,
            options(nostack, preserves_flags, readonly),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// How far ahead of a stream of weights its bytes are asked for.
const STREAM_BYTES_AHEAD: usize = 2048;

/// Asks for what follows `part` in its stream, for when it is needed.
#[inline(always)]
pub(crate) fn prefetch_stream<T>(part: &T) {
    prefetch(std::ptr::from_ref(part).wrapping_byte_add(STREAM_BYTES_AHEAD));
}
