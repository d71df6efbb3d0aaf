//! `cargo xtask deb`: Debian packages of the plan that `cargo xtask install` has.
//!
//! `libtallyportN` has the library and the helper, `libtallyport-dev` what compilers need, `tallyport`
//! the command and the exporters that are files. `control` writes the texts; this file stages, strips
//! and packs with dpkg's own tools.

mod control;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Outcome,
    install::{
        build,
        place::install_file,
        plan::{Content, File, Layout, Plan},
    },
};
use control::{Package, packages};

const USAGE: &str = "usage: cargo xtask deb [--out FOLDER] [--from FOLDER]";

/// Packs the three packages into a folder.
pub(crate) fn run(root: &Path, args: &[&str]) -> Outcome {
    let (mut out, mut from) = (root.join("build/deb"), None);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let value =
            || words.clone().next().copied().ok_or(format!("{word} needs a value\n{USAGE}"));
        match *word {
            "--out" => out = root.join(value()?),
            "--from" => from = Some(root.join(value()?)),
            _ => return Err(format!("no option {word}\n{USAGE}")),
        }
        words.next();
    }
    let from = match from {
        Some(folder) => folder,
        None => build::release(root)?,
    };
    let architecture = tell(Command::new("dpkg").arg("--print-architecture"))?;
    let triplet = tell(Command::new("dpkg-architecture").arg("-qDEB_HOST_MULTIARCH"))?;
    let layout = Layout { prefix: "/usr".into(), libdir: format!("lib/{}", triplet.trim()) };
    let plan = Plan::new(root, &from, &layout)?;
    let time = commit_time(root)?;
    let job = Job { root, out: &out, architecture: architecture.trim(), time: &time };
    let mut shared = None;
    for package in packages() {
        shared = Some(job.pack(&package, &plan, shared.as_deref())?);
    }
    Ok(())
}

/// What all packages of one run have in common.
struct Job<'a> {
    root: &'a Path,
    out: &'a Path,
    architecture: &'a str,
    /// Seconds since the Unix epoch: of the commit, so that one commit makes one package.
    time: &'a str,
}

impl Job<'_> {
    /// Stages and packs one package; returns the stage of the library's, where programs find it.
    fn pack(
        &self,
        package: &Package,
        plan: &Plan,
        library: Option<&Path>,
    ) -> Result<PathBuf, String> {
        let stage = self.out.join("stage").join(package.name());
        if stage.exists() {
            fs::remove_dir_all(&stage).map_err(|e| format!("{}: {e}", stage.display()))?;
        }
        let files = plan.files.iter().filter(|file| file.part == package.part);
        let mut programs = Vec::new();
        for file in files {
            install_file(file, &stage)?;
            if let Content::Copy(..) = file.content {
                programs.extend(strip(&stage.join(&file.path))?);
            }
            if let Content::Text(_) = file.content
                && file.path.ends_with(".1")
            {
                gzip(&stage.join(&file.path))?;
            }
        }
        for (path, text) in package.documents(self.root, self.time)? {
            let file = File { path, part: package.part, content: Content::Text(text) };
            install_file(&file, &stage)?;
            if file.path.ends_with(".Debian") || file.path.ends_with("/changelog") {
                gzip(&stage.join(&file.path))?;
            }
        }
        let depends = self.depends(&programs, library.unwrap_or(&stage))?;
        let sums = sums(&stage)?;
        let size = kibibytes(&stage)?;
        let metadata = package.metadata(self.architecture, &depends, size);
        for (name, text) in metadata.into_iter().chain([("md5sums", sums)]) {
            let path = format!("DEBIAN/{name}");
            let file = File { path, part: package.part, content: Content::Text(text) };
            install_file(&file, &stage)?;
        }
        let out = self.out.to_string_lossy();
        let mut pack = Command::new("dpkg-deb");
        pack.env("SOURCE_DATE_EPOCH", self.time);
        pack.args(["--root-owner-group", "-Zxz", "--build"]).arg(&stage).arg(&*out);
        print!("{}", tell(&mut pack)?);
        Ok(library.map_or(stage, Path::to_path_buf))
    }

    /// What programs need of the system, as dpkg-shlibdeps finds it.
    fn depends(&self, programs: &[PathBuf], library: &Path) -> Result<String, String> {
        if programs.is_empty() {
            return Ok(String::new());
        }
        // It wants a source package around it.
        let work = self.out.join("stage/shlibdeps");
        fs::create_dir_all(work.join("debian"))
            .and_then(|()| fs::write(work.join("debian/control"), "Source: tallyport\n"))
            .map_err(|e| format!("{}: {e}", work.display()))?;
        let mut find = Command::new("dpkg-shlibdeps");
        find.current_dir(&work).arg("-O").arg("--ignore-missing-info");
        let said = tell(find.arg(format!("-S{}", library.display())).args(programs))?;
        let depends = said.trim().strip_prefix("shlibs:Depends=").unwrap_or_default();
        Ok(depends.to_owned())
    }
}

/// Strips what was compiled, as Debian's packages are; the file, if it is a program or library.
fn strip(path: &Path) -> Result<Option<PathBuf>, String> {
    let archive = path.extension().is_some_and(|extension| extension == "a");
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    if !archive && !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let how = if archive { "--strip-debug" } else { "--strip-unneeded" };
    let sections = ["--remove-section=.comment", "--remove-section=.note"];
    tell(Command::new("strip").arg(how).args(sections).arg(path))?;
    Ok((!archive).then(|| path.to_path_buf()))
}

fn gzip(path: &Path) -> Result<(), String> {
    tell(Command::new("gzip").args(["-9", "-n", "-f"]).arg(path)).map(drop)
}

/// Files below a folder, sorted, without `DEBIAN`.
fn files(stage: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![stage.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn sums(stage: &Path) -> Result<String, String> {
    let regular = files(stage)?.into_iter().filter(|path| !path.is_symlink());
    let mut sum = Command::new("md5sum");
    sum.current_dir(stage);
    for path in regular {
        sum.arg(path.strip_prefix(stage).unwrap_or(&path));
    }
    // "sum  path", as dpkg has it.
    tell(&mut sum)
}

fn kibibytes(stage: &Path) -> Result<u64, String> {
    let mut bytes = 0;
    for path in files(stage)? {
        let about = path.symlink_metadata().map_err(|e| format!("{}: {e}", path.display()))?;
        bytes += about.len().div_ceil(1024);
        debug_assert!(about.permissions().mode() & 0o022 == 0 || path.is_symlink());
    }
    Ok(bytes)
}

/// When the commit that is packed was made; SOURCE_DATE_EPOCH comes before it.
fn commit_time(root: &Path) -> Result<String, String> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(time);
    }
    let mut log = Command::new("git");
    let time = tell(log.current_dir(root).args(["log", "-1", "--format=%ct"]))?;
    Ok(time.trim().to_owned())
}

/// What a tool writes.
pub(super) fn tell(command: &mut Command) -> Result<String, String> {
    let said = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    match said.status.success() {
        true => Ok(String::from_utf8_lossy(&said.stdout).into_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&said.stderr))),
    }
}
