//! How many sessions a service may have, and how many may begin.

/// The place of a session among those that are counted; it is given back when this is dropped.
#[derive(Debug)]
pub struct Ticket(());
