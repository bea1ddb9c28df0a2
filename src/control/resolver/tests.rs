//! The whole, with servers at ports of the kernel's.
