//! Compiled pipelines on the disk: read by the next engine, replaced when damaged, never in the way.

use std::path::{Path, PathBuf};

use wgpu_rnn::check::input_value;
use wgpu_rnn::{
    Batch, Cell, DeviceChoice, Engine, EngineOptions, ErrorKind, Init, InputSpec, LayerSpec,
    Layout, Model, Output, PipelineCache, wgpu,
};

/// Every usable adapter: its place, its name, and whether it gives pipelines out.
fn adapters() -> Vec<(usize, String, bool)> {
    let required = std::env::var("REQUIRE_GPU").is_ok_and(|v| v == "1");
    let reports = pollster::block_on(Engine::adapters());
    assert!(!(required && reports.is_empty()), "REQUIRE_GPU=1 and no adapter");
    let usable = reports.into_iter().filter(|report| report.unusable.is_none());
    usable
        .map(|report| {
            let gives = report.features.contains(wgpu::Features::PIPELINE_CACHE);
            (report.index, report.info.name, gives)
        })
        .collect()
}

fn open(index: usize, folder: &Path) -> Engine {
    let options = EngineOptions {
        device: DeviceChoice::Index(index),
        pipeline_cache: Some(folder.to_path_buf()),
        ..EngineOptions::default()
    };
    pollster::block_on(Engine::with_options(&options)).expect("opens whatever the folder holds")
}

fn run(engine: &Engine) -> Output {
    let spec = LayerSpec::new(Cell::Gru, 4);
    let model = Model::builder(InputSpec::Dense { size: 3 }).layer(spec);
    let model = model.build(Init::PyTorch, 1).expect("valid");
    let values: Vec<f32> = (0..30).map(input_value).collect();
    let batch = Batch::dense(values, 2, 5, 3, Layout::BatchFirst).expect("valid");
    engine.load(&model).expect("loads").run_blocking(&batch).expect("runs")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect()
}

#[test]
fn the_next_engine_reads_what_the_last_one_wrote() {
    for (index, name, gives) in adapters() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = open(index, folder.path());
        let want = run(&first);
        let state = first.info().pipeline_cache.clone();
        drop(first);
        if !gives {
            assert_eq!((state, files(folder.path()).len()), (PipelineCache::Unsupported, 0));
            continue;
        }
        assert_eq!(state, PipelineCache::Empty, "{name}");
        assert_eq!(
            files(folder.path()).len(),
            1,
            "{name}: written by the last handle, no other file"
        );
        let second = open(index, folder.path());
        assert_eq!(second.info().pipeline_cache, PipelineCache::Read, "{name}");
        assert_eq!(run(&second), want, "{name}");
    }
}

#[test]
fn a_damaged_file_is_replaced_and_fails_nothing() {
    for (index, name, _) in adapters().into_iter().filter(|(.., gives)| *gives) {
        let folder = tempfile::tempdir().expect("a folder");
        let want = run(&open(index, folder.path()));
        let file = files(folder.path()).remove(0);
        let whole = std::fs::read(&file).expect("a file");
        let mut flipped = whole.clone();
        *flipped.last_mut().expect("bytes") ^= 0x40;
        for damage in [
            &b""[..],
            b"not a cache at all, but longer than any header",
            &whole[..whole.len() / 2],
            &flipped,
        ] {
            std::fs::write(&file, damage).expect("written");
            let engine = open(index, folder.path());
            let state = engine.info().pipeline_cache.clone();
            assert!(
                matches!(&state, PipelineCache::Replaced(why) if why.contains("damaged")),
                "{name}: {state:?}"
            );
            assert_eq!(run(&engine), want, "{name}");
            drop(engine);
            assert_eq!(open(index, folder.path()).info().pipeline_cache, PipelineCache::Read);
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_of_saving_alone() {
    for (index, name, gives) in adapters() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a file, not a folder");
        std::fs::write(&file, "").expect("written");
        let engine = open(index, &file);
        run(&engine);
        let saved = engine.save_pipelines();
        assert_eq!(saved.as_ref().err().map(wgpu_rnn::Error::kind), gives.then_some(ErrorKind::Io));
        assert_eq!(files(folder.path()).len(), 1, "{name}");
    }
    assert!(Engine::cpu().save_pipelines().is_ok());
    assert_eq!(Engine::cpu().info().pipeline_cache, PipelineCache::Off);
}
