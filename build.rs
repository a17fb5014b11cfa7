//! Names the commit that is built, for the records of `rnn bench`: sets `WGPU_RNN_COMMIT` unless the caller
//! did. Outside of a git checkout it stays unset, and records say n/a.
#![allow(clippy::print_stdout, reason = "a build script speaks to cargo through standard output")]

use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "WGPU_RNN_COMMIT";

fn main() {
    println!("cargo::rerun-if-env-changed={NAME}");
    println!("cargo::rerun-if-changed=build.rs");
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let given = std::env::var(NAME).ok().filter(|name| !name.is_empty());
    if let Some(name) = given.or_else(|| commit(&root)) {
        println!("cargo::rustc-env={NAME}={name}");
    }
}

/// Returns the short hash of HEAD, and whether tracked files differ from it.
fn commit(root: &Path) -> Option<String> {
    // Inside somebody else's checkout, git would name their commit.
    if !root.join(".git").exists() {
        return None;
    }
    let hash = git(root, ["rev-parse", "--short", "HEAD"])?;
    watch(root, "HEAD");
    if let Some(branch) = git(root, ["symbolic-ref", "--quiet", "HEAD"]) {
        watch(root, &branch);
    }
    // Figures come from release builds, whose mark has to follow the files; others keep the mark of the last
    // commit or start, so that a change of the program alone does not build the library again.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        for name in ["src", "shaders", "Cargo.toml", "Cargo.lock"] {
            println!("cargo::rerun-if-changed={name}");
        }
    }
    let changes = git(root, ["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { hash } else { format!("{hash}-dirty") })
}

/// Runs this script again when what git keeps under `name` changes.
fn watch(root: &Path, name: &str) {
    let Some(path) = git(root, ["rev-parse", "--git-path", name]) else { return };
    let path = root.join(path);
    // A branch may be packed: its folder changes when it gets a file. Cargo takes a path that is missing for
    // one that changed.
    if let Some(there) = path.ancestors().find(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", there.display());
    }
}

fn git<const N: usize>(root: &Path, words: [&str; N]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("--no-optional-locks").arg("-C").arg(root).args(words);
    // A hook of git names another repository by these.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
