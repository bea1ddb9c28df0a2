//! Datagrams go both ways, one to one, whatever carries them.

mod echo;
mod frames;
mod pressure;
mod relay;
mod sessions;
mod streams;
