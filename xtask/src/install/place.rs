//! Puts the files of a plan where they belong, or takes them away.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use super::plan::{Content, File, Plan};

fn at(error: &io::Error, path: &Path) -> String {
    format!("{}: {error}", path.display())
}

/// Where a file goes below a root.
fn target(root: &Path, file: &File) -> PathBuf {
    root.join(&file.path)
}

/// Puts every file there. Each is renamed into its place whole: a program may have the old one mapped.
pub(crate) fn install(plan: &Plan, root: &Path) -> Result<(), String> {
    // Looked at first: a half-built tree installs nothing.
    for file in &plan.files {
        if let Content::Copy(from, _) = &file.content
            && !from.is_file()
        {
            return Err(format!("{}: not there; build it first: make build", from.display()));
        }
    }
    plan.files.iter().try_for_each(|file| install_file(file, root))
}

pub(crate) fn install_file(file: &File, root: &Path) -> Result<(), String> {
    let path = target(root, file);
    let folder = path.parent().unwrap_or(root);
    make_folder(folder).map_err(|error| at(&error, folder))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = match &file.content {
        Content::Copy(from, mode) => fs::copy(from, &fresh)
            .and_then(|_| fs::set_permissions(&fresh, fs::Permissions::from_mode(*mode))),
        Content::Text(text) => fs::write(&fresh, text)
            .and_then(|()| fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644))),
        Content::Link(to) => symlink(to, &fresh),
    };
    written.and_then(|()| fs::rename(&fresh, &path)).map_err(|error| {
        let _ = fs::remove_file(&fresh); // perhaps never made
        at(&error, &path)
    })
}

/// Makes a folder that all may read, whatever the umask of who installs.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::set_permissions(folder, fs::Permissions::from_mode(0o755)),
    }
}

/// Takes every file of the plan away that is there, and folders of our own that are empty then.
pub(crate) fn remove(plan: &Plan, root: &Path) -> Result<(), String> {
    for file in &plan.files {
        let path = target(root, file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&error, &path)),
            _ => {}
        }
        let mut folder = path.parent();
        while let Some(own) = folder.filter(|folder| is_own(root, folder)) {
            // What somebody else put there stays, with its folder.
            if fs::remove_dir(own).is_err() {
                break;
            }
            folder = own.parent();
        }
    }
    Ok(())
}

/// Whether a folder is one that only Tallyport has: something below a folder of that name, or itself.
fn is_own(root: &Path, folder: &Path) -> bool {
    let below = folder.strip_prefix(root).unwrap_or(folder);
    below.components().any(|part| part.as_os_str() == "tallyport")
}
