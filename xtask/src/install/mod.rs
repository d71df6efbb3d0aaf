//! `cargo xtask install`: what was built, into a prefix, for hosts that compile against it.
//!
//! `plan` says what goes where, `texts` writes the files that are neither built nor checked in
//! (pkg-config, CMake), `place` puts it there or takes it away. `make install` is this verb; the
//! Debian packages (`cargo xtask deb`) are made of the same plan.

pub(crate) mod build;
pub(crate) mod place;
pub(crate) mod plan;
mod texts;

use std::path::{Path, PathBuf};

use crate::Outcome;
use plan::{Layout, Plan};

const USAGE: &str = "usage: cargo xtask install [--prefix DIR] [--libdir NAME] [--destdir DIR] \
                     [--from FOLDER] [--uninstall]";

/// What the command line says.
struct Request {
    layout: Layout,
    destdir: PathBuf,
    /// Where cargo put what was built; `None`: it is built now.
    from: Option<PathBuf>,
    uninstall: bool,
}

/// Installs, or takes away what an install of this version put there.
pub(crate) fn run(root: &Path, args: &[&str]) -> Outcome {
    let request = parse(args)?;
    let from = match (&request.from, request.uninstall) {
        (Some(folder), _) => root.join(folder),
        // Names are enough to take files away.
        (None, true) => root.join("target/release"),
        (None, false) => build::release(root)?,
    };
    let plan = Plan::new(root, &from, &request.layout)?;
    let count = plan.files.len();
    let below = request.destdir.join(request.layout.prefix.trim_start_matches('/'));
    if request.uninstall {
        place::remove(&plan, &request.destdir)?;
        println!("removed what {count} names were of below {}", below.display());
    } else {
        place::install(&plan, &request.destdir)?;
        println!("installed {count} files below {}", below.display());
    }
    Ok(())
}

fn parse(args: &[&str]) -> Result<Request, String> {
    let mut request = Request {
        layout: Layout { prefix: "/usr/local".into(), libdir: "lib".into() },
        destdir: PathBuf::from("/"),
        from: None,
        uninstall: false,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().ok_or(format!("{word} needs a value\n{USAGE}"));
        match *word {
            "--prefix" => request.layout.prefix = value()?.trim_end_matches('/').to_owned(),
            "--libdir" => request.layout.libdir = value()?.trim_matches('/').to_owned(),
            // Empty, as make hands it over, is none.
            "--destdir" => request.destdir = Path::new("/").join(absolute(value()?)?),
            "--from" => request.from = Some(PathBuf::from(value()?)),
            "--uninstall" => request.uninstall = true,
            _ => return Err(format!("no option {word}\n{USAGE}")),
        }
    }
    request.layout.check()?;
    Ok(request)
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    match path {
        "" => Ok(PathBuf::new()),
        path => std::path::absolute(path).map_err(|error| format!("{path}: {error}")),
    }
}
