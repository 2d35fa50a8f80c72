//! Which program a worker is, and where it lies.

use std::path::{Path, PathBuf};

/// A worker program and how to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerProgram {
    /// A short name for logs, e.g. `media`.
    pub name: &'static str,
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Added to its nice value, so that it yields to whoever sits at the machine.
    pub niceness: i32,
    /// The most processors that it may use, with all that it starts; `None` for all.
    pub processors: Option<u32>,
}

/// Finds a program of this install: where the settings say, else beside this program, else on the path.
pub fn find_program(chosen: Option<&Path>, name: &str) -> Option<PathBuf> {
    if let Some(path) = chosen {
        return path.is_file().then(|| path.to_path_buf());
    }
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(&file)));
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    beside.into_iter().chain(on_path.map(|folder| folder.join(&file))).find(|path| path.is_file())
}
