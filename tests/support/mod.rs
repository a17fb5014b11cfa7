//! What several test files share.

pub(crate) mod compare;
pub(crate) mod golden;
