//! What the allocator keeps, where it is glibc's. Other allocators are left as they are.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// Makes all threads allocate from one arena, which they would do from one each. While bytes move they allocate next
    /// to nothing, and only of the first arena is free memory given back wholly. To be called before threads start.
    pub fn use_one_arena() {
        // SAFETY: it sets a number of the allocator's, before there is a thread that could read it.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }

    /// Gives free memory back to the system.
    pub fn give_back() {
        // SAFETY: it may be called at any time, by any thread.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use glibc::{give_back, use_one_arena};

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod other {
    /// Does nothing.
    pub fn use_one_arena() {}

    /// Does nothing.
    pub fn give_back() {}
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub use other::{give_back, use_one_arena};
