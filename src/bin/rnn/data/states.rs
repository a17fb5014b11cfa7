//! Initial and final states in `.npz` files.
//!
//! Stacked as PyTorch has them, `h_0 [L*D, B, R]` and `c_0 [L*D, B, H]`, or one array per layer
//! (`h_0_l0`, `c_0_l0`, …) where the layers differ in size. Final states are `h_n`, `c_n`; they are
//! accepted as initial states too, so that a run can go on where another one stopped.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use wgpu_rnn::{Model, Result, States, Tensor};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::read::npz::Archive;
use super::{Draft, array};
use crate::failure::{format_error, io_error, shape_error};

/// Reads initial states from the `.npz` file at `path`.
///
/// # Errors
/// `Io`, `Format` or `Shape`, naming file and array.
pub(crate) fn load(model: &Model, path: &Path) -> Result<States> {
    let file = File::open(path).map_err(|e| io_error(path.display(), "read", e))?;
    let states = Archive::open(file).and_then(|mut archive| read(model, &mut archive));
    states
        .and_then(|states| {
            states.ok_or_else(|| {
                format_error(
                    "initial states: expected arrays h_0 (and c_0), or h_n (and c_n), got neither",
                )
            })
        })
        .map_err(|e| e.in_context(path.display()))
}

/// Reads the initial states in an archive, where it has any.
///
/// # Errors
/// `Format` or `Shape`, naming the array.
pub(crate) fn read(model: &Model, archive: &mut Archive) -> Result<Option<States>> {
    let zeros = States::zeros(model, 1);
    for when in ["0", "n"] {
        let (h_name, c_name) = (format!("h_{when}"), format!("c_{when}"));
        let h = match archive.tensor(&h_name)? {
            Some(h) => Some(States::from_stacked(model, Some(&h), None)?.h),
            None => read_layers(archive, &h_name, zeros.h.iter().enumerate())?,
        };
        let cells = zeros.c.iter().enumerate().filter_map(|(layer, c)| Some((layer, c.as_ref()?)));
        let c: Option<Vec<Tensor>> = match archive.tensor(&c_name)? {
            Some(c) => {
                let states = States::from_stacked(model, None, Some(&c))?;
                Some(states.c.into_iter().flatten().collect())
            }
            None => read_layers(archive, &c_name, cells)?,
        };
        let has_cells = zeros.c.iter().any(Option::is_some);
        match (h, c) {
            (None, None) => {}
            (Some(h), None) if !has_cells => {
                let c = vec![None; h.len()];
                return Ok(Some(States { h, c }));
            }
            (Some(h), Some(c)) => {
                let mut c = c.into_iter();
                let c = zeros.c.iter().map(|cell| cell.as_ref().and_then(|_| c.next())).collect();
                return Ok(Some(States { h, c }));
            }
            (h, _) => {
                let missing = if h.is_some() { c_name } else { h_name };
                return Err(format_error(format!(
                    "initial states: expected {missing} too, got none"
                )));
            }
        }
    }
    Ok(None)
}

/// Reads `<name>_l<layer>` for every layer of `zeros`; `None` where there is no such array at all.
fn read_layers<'z>(
    archive: &mut Archive,
    name: &str,
    zeros: impl Iterator<Item = (usize, &'z Tensor)>,
) -> Result<Option<Vec<Tensor>>> {
    let axes = |tensor: &Tensor| match *tensor.shape() {
        [directions, _, width] => Some((directions, width)),
        _ => None,
    };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (layer, zero) in zeros {
        let name = format!("{name}_l{layer}");
        let Some(tensor) = archive.tensor(&name)? else {
            missing.push(name);
            continue;
        };
        if axes(&tensor) != axes(zero) {
            let (want, got) = (zero.shape(), tensor.shape());
            let want = format!("[{}, B, {}]", want[0], want[2]);
            return Err(shape_error(format!(
                "{name}: expected [D, B, width] = {want}, got {got:?}"
            )));
        }
        found.push(tensor);
    }
    if !found.is_empty() && !missing.is_empty() {
        let missing = missing.join(", ");
        let message = format!("initial states: expected an array per layer, got no {missing}");
        return Err(format_error(message));
    }
    Ok((!found.is_empty()).then_some(found))
}

/// Checks that `states` hold exactly `batch` sequences of `model`.
///
/// # Errors
/// `Shape`, naming what differs.
pub(crate) fn check(states: &States, model: &Model, batch: usize) -> Result<()> {
    let zeros = States::zeros(model, batch);
    let pairs = |states: &States| -> Vec<Vec<usize>> {
        states.h.iter().chain(states.c.iter().flatten()).map(|t| t.shape().to_vec()).collect()
    };
    for (got, want) in pairs(states).iter().zip(&pairs(&zeros)) {
        if got != want {
            return Err(shape_error(format!(
                "initial states: expected [D, B, width] = {want:?}, got {got:?}"
            )));
        }
    }
    Ok(())
}

/// Names the arrays that hold `states`.
pub(crate) fn arrays(states: &States) -> Vec<(String, Tensor)> {
    let mut list = Vec::new();
    match states.stacked_h() {
        Some(h) => list.push(("h_n".to_owned(), h)),
        None => {
            list.extend(states.h.iter().cloned().enumerate().map(|(l, h)| (format!("h_n_l{l}"), h)))
        }
    }
    let cells: Vec<_> =
        states.c.iter().enumerate().filter_map(|(l, c)| Some((l, c.clone()?))).collect();
    match states.stacked_c() {
        Some(c) => list.push(("c_n".to_owned(), c)),
        None => list.extend(cells.into_iter().map(|(l, c)| (format!("c_n_l{l}"), c))),
    }
    list
}

/// Writes final states as `.npz` into `draft`.
///
/// # Errors
/// `Io` when the disk is full.
pub(crate) fn save(states: &States, mut draft: Draft) -> Result<()> {
    let mut zip = ZipWriter::new(draft.file());
    let written = arrays(states).iter().try_for_each(|(name, tensor)| {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default().large_file(true))?;
        zip.write_all(&array::encode(tensor).map_err(std::io::Error::other)?)
    });
    let written = written.and_then(|()| Ok(zip.finish().map(|_| ())?));
    written.map_err(|e| draft.failed(e))?;
    draft.commit()
}
