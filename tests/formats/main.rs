//! Model files: what is written is read back bit by bit, what PyTorch writes is understood, and
//! what does not fit is named.

mod faults;
mod files;
mod inferred;
mod metadata;
mod round_trips;
