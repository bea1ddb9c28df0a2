//! The results: a table to read now, JSON to compute with, and charts to look at.

pub mod json;
pub mod svg;
pub mod table;
