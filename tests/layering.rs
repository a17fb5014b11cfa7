//! Who may import whom: the layers of `docs/design.md`, enforced over `use` lines and paths.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("src/").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The first folder or file name below src/, without ending.
fn module_of(path: &Path) -> String {
    let below = path.strip_prefix(root()).expect("below src/");
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn level(module: &str) -> u32 {
    match module {
        "error" | "tensor" => 0,
        "model" | "batch" | "cell" | "kernel" | "train" => 1,
        "plan" | "reference" | "formats" => 2,
        "gpu" | "cpu" => 3,
        "engine" | "check" => 4,
        "lib" | "bin" => 5,
        other => panic!("src/{other}: give it a level in tests/layering.rs and docs/design.md"),
    }
}

/// Code lines: comments and test modules left out.
fn code(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("readable");
    let body = text.split("#[cfg(test)]\nmod tests").next().expect("some").to_owned();
    body.lines().filter(|l| !l.trim_start().starts_with("//")).map(str::to_owned).collect()
}

fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 30, "{}", files.len());
    files
}

#[test]
fn no_module_imports_a_higher_layer() {
    for path in files() {
        let module = module_of(&path);
        if level(&module) == 5 {
            continue;
        }
        for line in code(&path) {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + 7..];
                let name: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // Re-exports at the root and private macros have no module name.
                if name.is_empty() || name.starts_with(char::is_uppercase) || name == "wgpu_rnn" {
                    continue;
                }
                assert!(
                    level(&name) <= level(&module),
                    "{path:?} (level {}) imports {name} (level {}): {line}",
                    level(&module),
                    level(&name)
                );
            }
        }
    }
}

#[test]
fn wgpu_is_named_only_by_gpu_and_engine() {
    for path in files() {
        let module = module_of(&path);
        if ["gpu", "engine", "lib", "bin"].contains(&module.as_str()) {
            continue;
        }
        for line in code(&path) {
            assert!(!line.contains("wgpu::"), "{path:?}: {line}");
        }
    }
}

#[test]
fn files_are_opened_only_by_formats_and_bin() {
    for path in files() {
        let module = module_of(&path);
        if ["formats", "bin"].contains(&module.as_str()) {
            continue;
        }
        for line in code(&path) {
            let opens = ["std::fs", "File::open", "fs::read"].iter().any(|w| line.contains(w));
            assert!(!opens, "{path:?}: {line}");
        }
    }
}

#[test]
fn async_stays_at_the_edges() {
    for path in files() {
        let module = module_of(&path);
        if ["gpu", "engine", "check", "train", "bin"].contains(&module.as_str()) {
            continue;
        }
        for line in code(&path) {
            assert!(!line.contains("async "), "{path:?}: {line}");
        }
    }
}

#[test]
fn there_is_no_utils_module() {
    for path in files() {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(
            !["utils", "util", "common", "prelude", "helpers"].contains(&name.as_str()),
            "{path:?}"
        );
    }
}
