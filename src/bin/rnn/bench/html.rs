//! stub
use super::*;
pub(super) fn page(_: &[Record], _: &Build, _: &[Site]) -> String { String::new() }
