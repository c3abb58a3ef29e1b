//! Pictures that commands look at: files and directories.

use crate::{interrupt, ui};
use anyhow::{Context, Result, bail};
use argand::Picture;
use std::io;
use std::path::{Path, PathBuf};

/// Pictures that are handed to the model at once: enough to fill its steps, few enough to show progress and to stop between.
const AT_ONCE: usize = 8;

/// Names of the formats that can be read end in one of these.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Pictures among what was given: files, and whatever lies below directories; `list` names more, a path a line. At least one.
pub fn find(given: &[String], list: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let listed = match list {
        Some(path) if path.is_dir() || is_picture(path) => vec![path.display().to_string()],
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read names of pictures from {}", path.display()))?;
            text.lines().filter(|line| !line.trim().is_empty()).map(str::to_string).collect()
        }
        None => Vec::new(),
    };
    for path in given.iter().chain(&listed).map(Path::new) {
        if path.is_dir() {
            let before = all.len();
            directory(path, &mut all)?;
            if all.len() == before {
                bail!("{} holds no pictures; their names end in {}", path.display(), ENDINGS.join(", "));
            }
        } else {
            all.push(path.to_path_buf());
        }
    }
    if all.is_empty() {
        bail!("there are no pictures; give files or directories as arguments, or with --file");
    }
    Ok(all)
}

/// Whether pictures are meant by arguments: one of them is called like one, or is a directory. A name that leads nowhere is an error
/// then, and no text.
pub fn are_meant(given: &[String]) -> bool {
    given.iter().map(Path::new).any(|path| is_picture(path) || path.is_dir())
}

/// Whether pictures are meant by a file: it is one, a directory with some, or a list of their names.
pub fn are_listed(path: &Path) -> bool {
    if path.is_dir() {
        let mut found = Vec::new();
        return directory(path, &mut found).is_ok() && !found.is_empty();
    }
    let names = |text: String| {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
        lines.peek().is_some() && lines.all(|line| is_picture(Path::new(line)))
    };
    is_picture(path) || std::fs::read_to_string(path).is_ok_and(names)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ENDINGS.contains(&ending.as_str())
}

/// Each picture of a directory, by name, whatever lies below; hidden files and links to directories, which may lead in circles, are
/// passed over.
fn directory(path: &Path, all: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        interrupt::check()?;
        let path = entry.path();
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => directory(&path, all)?,
            false if is_picture(&path) && !path.is_dir() => all.push(path),
            false => {}
        }
    }
    Ok(())
}

/// Hands pictures to a model some at a time, with a bar on terminals: `prepare` makes of each what the model looks at, `run` looks, and
/// `hear` gets what came of it. A picture among several that cannot be read is told and left out, and the end is an error.
pub fn each<M, P, R>(
    model: &mut M,
    pictures: &[PathBuf],
    label: &str,
    prepare: impl Fn(&M, Picture) -> Result<P, argand::Error>,
    mut run: impl FnMut(&mut M, &[P]) -> Result<Vec<R>, argand::Error>,
    mut hear: impl FnMut(&Path, R) -> Result<()>,
) -> Result<()> {
    let _gentle = interrupt::gentle();
    let bar = ui::counter(label, pictures.len() as u64);
    let mut unread = 0;
    for chunk in pictures.chunks(AT_ONCE) {
        interrupt::check()?;
        let (mut names, mut prepared) = (Vec::new(), Vec::new());
        for path in chunk {
            let ready = argand::open_picture(path).map_err(argand::Error::from).and_then(|p| prepare(model, p));
            match ready.map_err(|error| about(path, error)) {
                Ok(ready) => {
                    names.push(path);
                    prepared.push(ready);
                }
                Err(error) if pictures.len() > 1 => {
                    bar.suspend(|| eprintln!("{error:#}"));
                    unread += 1;
                }
                Err(error) => return Err(error),
            }
        }
        if !prepared.is_empty() {
            for (path, result) in names.into_iter().zip(run(model, &prepared)?) {
                hear(path, result)?;
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    match unread {
        0 => Ok(()),
        _ => bail!("{unread} of {} pictures could not be read", pictures.len()),
    }
}

/// An error that names the picture: those of reading its file do.
pub fn about(path: &Path, error: argand::Error) -> anyhow::Error {
    match error {
        argand::Error::Unfit(error) => {
            anyhow::Error::from(argand::Error::Unfit(error)).context(path.display().to_string())
        }
        named => named.into(),
    }
}

/// A JSON object about a picture, with more fields.
pub fn json(path: &Path, mut fields: serde_json::Value) -> serde_json::Value {
    fields["file"] = path.display().to_string().into();
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_walked_once() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        std::fs::create_dir(&below).unwrap();
        std::os::unix::fs::symlink("..", below.join("loop")).unwrap();
        for name in ["b.png", "a.JPG", ".hidden.png", "notes.txt", "below/c.jpeg"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = find(&[folder.path().display().to_string()], None).unwrap();
        let names: Vec<_> = found.iter().map(|p| p.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.JPG", "b.png", "below/c.jpeg"]);
    }

    #[test]
    fn a_name_of_a_picture_that_is_not_there_is_no_text() {
        let given = |all: &[&str]| are_meant(&all.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert!(given(&["nosuch.png"]) && given(&["a cat", "cat.JPG"]) && given(&["/"]));
        assert!(!given(&["a cat", "png"]) && !given(&[]));
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.txt");
        for (text, expected) in [("a.png\n\nb.jpg\n", true), ("a.png\na cat\n", false), ("\n", false)] {
            std::fs::write(&list, text).unwrap();
            assert_eq!(are_listed(&list), expected, "{text:?}");
        }
    }
}
