//! Compiled pipelines on the disk, where the backend gives them out (Vulkan).
//!
//! A cache is never in the way: what cannot be read is made anew, what cannot be written is a warning.
#![allow(unsafe_code, reason = "wgpu takes a driver's bytes back only through an unsafe function")]

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::Result;
use crate::formats::pipelines;

/// How the pipelines of an [`crate::Engine`] stand to those of earlier programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipelineCache {
    /// Nothing is kept: the options name no folder.
    Off,
    /// Nothing is kept: the backend gives no pipelines out, or a borrowed device lacks the feature.
    Unsupported,
    /// No earlier program left any.
    Empty,
    /// Those of an earlier program were read.
    Read,
    /// What was there could not be used, for this reason, and will be replaced.
    Replaced(String),
}

/// wgpu's cache with the file that it came from and goes to.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) cache: wgpu::PipelineCache,
    file: PathBuf,
    /// What the file holds.
    saved: Mutex<Option<Vec<u8>>>,
}

impl Kept {
    /// Reads what an earlier program left in `folder`.
    pub(super) fn open(
        device: &wgpu::Device,
        info: &wgpu::AdapterInfo,
        folder: Option<&Path>,
    ) -> (Option<Self>, PipelineCache) {
        let Some(folder) = folder else { return (None, PipelineCache::Off) };
        let is_offered = device.features().contains(wgpu::Features::PIPELINE_CACHE);
        let key = wgpu::util::pipeline_cache_key(info).filter(|_| is_offered);
        let Some(key) = key else { return (None, PipelineCache::Unsupported) };
        let file = folder.join(key);
        let (data, state) = match pipelines::read(&file) {
            Ok(Some(data)) => (Some(data), PipelineCache::Read),
            Ok(None) => (None, PipelineCache::Empty),
            Err(error) => {
                log::warn!("pipelines are compiled anew: {error}");
                (None, PipelineCache::Replaced(error.to_string()))
            }
        };
        let cache = create(device, data.as_deref());
        (Some(Self { cache, file, saved: Mutex::new(data) }), state)
    }

    /// Writes the pipelines, where there are others than the file holds.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub(super) fn save(&self) -> Result<()> {
        let mut saved = self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match self.cache.get_data() {
            Some(data) if saved.as_ref() != Some(&data) => {
                pipelines::write(&self.file, &data)?;
                *saved = Some(data);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = self.save() {
            log::warn!("compiled pipelines are not kept: {error}");
        }
    }
}

fn create(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor =
        wgpu::PipelineCacheDescriptor { label: Some("wgpu-rnn"), data, fallback: true };
    // SAFETY: the bytes are what `PipelineCache::get_data` gave to `Kept::save`: `pipelines::read`
    // has compared length and checksum, and wgpu compares backend, adapter and driver version and
    // starts empty where they differ. Only a file forged on purpose passes both; whoever can write
    // the folder is trusted, which `EngineOptions::pipeline_cache` says.
    unsafe { device.create_pipeline_cache(&descriptor) }
}
