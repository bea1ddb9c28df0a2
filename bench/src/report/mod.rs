//! The results: a table to read now, JSON to compute with, and charts to look at; and a table of what has goals.

pub mod goals;
pub mod json;
pub mod svg;
pub mod table;
