//! Where an export goes: stdout, or a file that is replaced as a whole.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tallyport_core::{
    export::{AtomicFile, FileTrouble, Occupied},
    model::Error,
};

use crate::{
    exit::{Exit, Failure},
    report,
};

/// Plugins may write in small pieces.
const BUFFER_BYTES: usize = 64 * 1024;

/// What `--output` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    /// `-` is stdout, `./-` a file of that name.
    pub(crate) fn new(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdout } else { Self::File(path.to_owned()) }
    }

    /// Its name in messages and reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdout => "-".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Makes ready to write; the target itself is not touched.
    pub(crate) fn open(&self) -> Result<Writer, Failure> {
        let (out, what) = match self {
            Self::Stdout => {
                let out = report::stdout().map_err(|error| Failure::write("stdout", &error))?;
                let out = BufWriter::with_capacity(BUFFER_BYTES, out);
                (Out::Stdout(out), "stdout".to_owned())
            }
            Self::File(path) => {
                let what = format!("output `{}`", path.display());
                let file =
                    AtomicFile::begin(path, None).map_err(|trouble| failure(&what, trouble))?;
                (Out::File(file), what)
            }
        };
        Ok(Writer { out, what, failed: None })
    }
}

/// Why a file was not replaced, in the command's words.
fn failure(what: &str, trouble: FileTrouble) -> Failure {
    match trouble {
        FileTrouble::System(part, error) => {
            let part =
                part.split_once("`, ").map_or_else(String::new, |(_, part)| format!(", {part}"));
            Failure::write(format_args!("{what}{part}"), &error)
        }
        FileTrouble::Fence(error) => Failure::new(Exit::Retry, what, error),
        FileTrouble::NotRegular(occupied) => {
            let failure = Failure::new(Exit::Failed, what, occupied);
            match occupied {
                Occupied::Link => {
                    failure.hint("name the file itself, or use `--output -` for stdout")
                }
                Occupied::Folder => failure,
                Occupied::Special => failure.hint("use `--output -` and redirect stdout"),
            }
        }
    }
}

enum Out {
    Stdout(BufWriter<File>),
    File(AtomicFile),
}

/// Takes the pieces of one export.
pub(crate) struct Writer {
    out: Out,
    what: String,
    failed: Option<io::Error>,
}

impl Writer {
    /// The file that is written before it takes its place.
    pub(crate) fn temporary(&self) -> Option<PathBuf> {
        match &self.out {
            Out::Stdout(_) => None,
            Out::File(file) => Some(file.temporary().to_owned()),
        }
    }

    /// Takes a piece.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let done = match &mut self.out {
            Out::Stdout(out) => out.write_all(bytes),
            Out::File(file) => file.write(bytes),
        };
        done.map_err(|error| {
            let own = Error::io(&self.what, &error);
            self.failed = Some(error);
            own
        })
    }

    /// Ends an export that failed; the failure, if it was the target's and not the exporter's.
    ///
    /// What is buffered still goes to stdout: a reader may want to see how far it came.
    pub(crate) fn abandon(mut self) -> Option<Failure> {
        if let Out::Stdout(mut out) = self.out {
            if self.failed.is_none() {
                self.failed = out.flush().err();
            }
            // Without another attempt to write what is left.
            drop(out.into_parts());
        }
        self.failed.as_ref().map(|error| Failure::write(&self.what, error))
    }

    /// Ends an export that succeeded: only now the target is replaced.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { out, what, .. } = self;
        match out {
            Out::File(file) => file.commit(None).map_err(|trouble| failure(&what, trouble)),
            Out::Stdout(out) => match out.into_inner() {
                Ok(_) => Ok(()),
                Err(error) => {
                    let (error, unwritten) = error.into_parts();
                    drop(unwritten.into_parts());
                    Err(Failure::write(&what, &error))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_stdout_and_a_path_is_a_file() {
        assert_eq!(Target::new(Path::new("-")), Target::Stdout);
        assert_eq!(Target::new(Path::new("./-")), Target::File(PathBuf::from("./-")));
    }
}
