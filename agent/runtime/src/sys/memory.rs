//! The C library's allocator.

/// Lets all threads of this process share two arenas of memory. By default there are eight for each processor, and
/// what one thread gives back to its arena no other uses: the memory of a program with many threads grows for hours
/// without anything being kept. Call it before there are threads. Nothing happens where the allocator is another one.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        const ARENAS: libc::c_int = 2;
        // SAFETY: mallopt takes two numbers, keeps no pointer, and is called before there are other threads. That
        // it refuses, which it tells by 0, changes nothing that a caller could rely on.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    }
}
