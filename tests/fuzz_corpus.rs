//! Every file that fuzzing starts from (`fuzz/corpus/`) or once failed on (`fuzz/regressions/`), through
//! the same functions that the fuzz targets call, with a stable compiler.

#[path = "../src/bin/rnn/data/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the writers are not fuzzed")]
mod data;
#[path = "../fuzz/src/entries.rs"]
#[allow(unreachable_pub, reason = "a library's interface in the fuzz workspace")]
mod entries;
#[path = "../src/bin/rnn/failure.rs"]
#[allow(dead_code, reason = "exit codes are the program's")]
#[allow(clippy::print_stderr, reason = "the program's own")]
mod failure;
#[path = "../src/bin/rnn/interrupt.rs"]
#[allow(dead_code, reason = "only the program handles interrupts")]
mod interrupt;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest that one small file may take, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[test]
fn every_file_is_read_or_refused_without_a_panic() {
    for (target, entry) in entries::ENTRIES {
        let corpus = files(&folder("corpus").join(target));
        assert!(corpus.len() >= 3, "fuzz/corpus/{target}: expected some files to start from");
        for path in corpus.iter().chain(&files(&folder("regressions").join(target))) {
            let bytes = std::fs::read(path).expect("readable");
            println!("{}", path.display());
            let start = Instant::now();
            entry(&bytes);
            assert!(start.elapsed() < PATIENCE, "{}: {:?}", path.display(), start.elapsed());
        }
    }
}

#[test]
fn every_folder_belongs_to_a_target_and_every_target_is_a_program() {
    for kind in ["corpus", "regressions"] {
        for path in files(&folder(kind)) {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(entries::ENTRIES.iter().any(|(target, _)| *target == name), "{kind}/{name}");
        }
    }
    for (target, _) in entries::ENTRIES {
        assert!(folder("fuzz_targets").join(format!("{target}.rs")).exists(), "{target}");
    }
}
