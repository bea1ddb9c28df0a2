//! Datagrams go both ways, one to one, whatever carries them.

mod echo;
mod ends;
mod exchange;
mod frames;
mod groups;
mod pressure;
mod relay;
mod sessions;
mod streams;
mod stuck;
