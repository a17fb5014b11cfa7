//! Pictures as SVG, drawn without a library: a canvas, axes, and one file per kind of picture.

mod axes;
pub(crate) mod bars;
pub(crate) mod chart;
pub(crate) mod probabilities;
pub(crate) mod series;
mod svg;
pub(crate) mod unrolled;

use std::io::Write as _;

use wgpu_rnn::Result;

pub(crate) use self::svg::escape;
use crate::data::Draft;

/// Text.
const INK: &str = "#1f2933";
/// Text that steps back.
const MUTED: &str = "#66727f";
/// Grid lines and frames.
const GRID: &str = "#e3e8ed";
/// Curves, told apart by people with any colour vision (after Okabe and Ito, 2008).
const CURVES: [&str; 6] = ["#24527a", "#d9572b", "#178a6d", "#b0578d", "#c98a00", "#4aa3d8"];

/// Writes a picture to its file.
///
/// # Errors
/// `Io` when the disk is full.
pub(crate) fn save(picture: &str, mut draft: Draft) -> Result<()> {
    let written = draft.file().write_all(picture.as_bytes());
    written.map_err(|e| draft.failed(e))?;
    draft.commit()
}
