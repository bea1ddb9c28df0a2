//! The configuration file, read in this process: what it comes to, what is said of its errors, and what is written about
//! it.

mod access;
mod errors;
mod flags;
mod includes;
mod mutations;
mod proxy;
mod remotes;
mod round_trip;
mod striping;
mod support;
mod texts;
