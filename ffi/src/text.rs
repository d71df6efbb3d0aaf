//! Text, labels and numbers that come in; buffers that go out.
//!
//! What is wrong is said with the argument's name: `labels[2].name` is not UTF-8 at byte 3.

use std::{
    ffi::{CStr, OsStr, c_char},
    fs::File,
    io::{self, Write},
    mem::ManuallyDrop,
    os::{fd::FromRawFd, unix::ffi::OsStrExt},
    path::Path,
    slice, str,
};

use serde_json::{Map, Value};
use tallyport_core::{
    model::{Error, ErrorKind},
    plugin::Table,
};
use tallyport_plugin_api::abi::{tallyport_plugin_v1, tallyport_str};

use crate::{
    boundary::{Call, null},
    buf::tallyport_buf,
    options::tallyport_label,
};

/// More labels than any series may have, and more bounds than any histogram.
const MAX_COUNT: usize = 4096;
/// A plugin's table is smaller than this.
const MAX_TABLE_BYTES: usize = 4096;

impl Call {
    /// Text with a length.
    pub(crate) fn text<'a>(&'a self, field: &str, from: tallyport_str) -> Result<&'a str, Error> {
        utf8(field, self.bytes(field, from)?)
    }

    /// Text with a length, or `None` for an empty one.
    pub(crate) fn text_or_none<'a>(
        &'a self,
        field: &str,
        from: tallyport_str,
    ) -> Result<Option<&'a str>, Error> {
        self.text(field, from).map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    /// Words with white space between them.
    pub(crate) fn words<'a>(
        &'a self,
        field: &str,
        from: tallyport_str,
    ) -> Result<Vec<&'a str>, Error> {
        Ok(self.text(field, from)?.split_whitespace().collect())
    }

    /// Texts as an array.
    pub(crate) fn texts(
        &self,
        field: &str,
        from: *const tallyport_str,
        count: usize,
    ) -> Result<Vec<&str>, Error> {
        let mut texts = Vec::new();
        self.texts_in(field, from, count, &mut [], &mut texts).map(drop)?;
        Ok(texts)
    }

    /// Texts as an array, in `few` if they fit there, else in `many`.
    pub(crate) fn texts_in<'a, 'b>(
        &'a self,
        field: &str,
        from: *const tallyport_str,
        count: usize,
        few: &'b mut [&'a str],
        many: &'b mut Vec<&'a str>,
    ) -> Result<&'b [&'a str], Error> {
        let from = self.array(field, from, count)?;
        let texts = match few.get_mut(..count) {
            Some(few) => few,
            None => {
                many.resize(count, "");
                many.as_mut_slice()
            }
        };
        for ((at, from), text) in from.iter().enumerate().zip(texts.iter_mut()) {
            *text = self.text_of(|| format!("{field}[{at}]"), *from)?;
        }
        Ok(texts)
    }

    /// A JSON object; an empty text is an empty one.
    pub(crate) fn object(
        &self,
        field: &str,
        from: tallyport_str,
    ) -> Result<Map<String, Value>, Error> {
        let Some(json) = self.text_or_none(field, from)? else { return Ok(Map::new()) };
        serde_json::from_str(json).map_err(|error| {
            Error::invalid(field, format!("`{field}` is not a JSON object: {error}"))
        })
    }

    /// A path: any bytes but NUL.
    pub(crate) fn path<'a>(&'a self, field: &str, from: tallyport_str) -> Result<&'a Path, Error> {
        let bytes = self.bytes(field, from)?;
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(Error::invalid(field, format!("`{field}` holds a NUL at byte {at}")));
        }
        Ok(Path::new(OsStr::from_bytes(bytes)))
    }

    /// A path that must not be empty.
    pub(crate) fn path_or_refuse<'a>(
        &'a self,
        field: &str,
        from: tallyport_str,
    ) -> Result<&'a Path, Error> {
        let path = self.path(field, from)?;
        if path.as_os_str().is_empty() {
            return Err(Error::invalid(field, format!("`{field}` is empty")));
        }
        Ok(path)
    }

    /// Text that a NUL ends.
    pub(crate) fn z<'a>(&'a self, field: &str, from: *const c_char) -> Result<&'a str, Error> {
        utf8(field, self.z_bytes(field, from)?)
    }

    /// A path that a NUL ends and that must not be empty.
    pub(crate) fn z_path<'a>(
        &'a self,
        field: &str,
        from: *const c_char,
    ) -> Result<&'a Path, Error> {
        let bytes = self.z_bytes(field, from)?;
        if bytes.is_empty() {
            return Err(Error::invalid(field, format!("`{field}` is empty")));
        }
        Ok(Path::new(OsStr::from_bytes(bytes)))
    }

    /// Labels as an array.
    pub(crate) fn labels(
        &self,
        from: *const tallyport_label,
        count: usize,
    ) -> Result<Vec<(&str, &str)>, Error> {
        let labels = self.array("labels", from, count)?;
        let read = |(index, label): (usize, &tallyport_label)| {
            let name = self.text_of(|| format!("labels[{index}].name"), label.name)?;
            let value = self.text_of(|| format!("labels[{index}].value"), label.value)?;
            Ok((name, value))
        };
        labels.iter().enumerate().map(read).collect()
    }

    /// Labels as name, value, name, value, …, NULL; NULL alone is no label.
    pub(crate) fn labels_z(&self, from: *const *const c_char) -> Result<Vec<(&str, &str)>, Error> {
        let mut labels = Vec::new();
        if from.is_null() {
            return Ok(labels);
        }
        let from = self.pointer("labels", from)?;
        for index in 0..MAX_COUNT {
            // SAFETY: the caller vouches for pairs that a NULL ends, and none was read yet.
            let name = unsafe { from.wrapping_add(2 * index).read() };
            if name.is_null() {
                return Ok(labels);
            }
            // SAFETY: a name is followed by its value, or by the NULL that ends the array early.
            let value = unsafe { from.wrapping_add(2 * index + 1).read() };
            let name = self.z(&format!("labels[{index}].name"), name)?;
            labels.push((name, self.z(&format!("labels[{index}].value"), value)?));
        }
        Err(too_many("labels", MAX_COUNT))
    }

    /// Numbers; NULL with 0 is none.
    pub(crate) fn numbers<'a>(
        &'a self,
        field: &str,
        from: *const f64,
        count: usize,
    ) -> Result<&'a [f64], Error> {
        self.array(field, from, count)
    }

    /// The table of an exporter in the host program.
    pub(crate) fn plugin_table(&self, from: *const tallyport_plugin_v1) -> Result<Table, Error> {
        let from = self.pointer("table", from)?;
        // SAFETY: the caller vouches for a table as the plugin ABI says, static for the process.
        unsafe { Table::read(from, MAX_TABLE_BYTES, "host program") }
    }

    /// A descriptor, which stays the caller's, as the destination of an export.
    ///
    /// One that would block is waited for.
    pub(crate) fn descriptor(
        &self,
        fd: i32,
    ) -> Result<impl FnMut(&[u8]) -> Result<(), Error>, Error> {
        if fd < 0 {
            return Err(Error::invalid("fd", format!("`fd` is {fd}, which no descriptor is")));
        }
        // SAFETY: it is only written to, and never closed (ManuallyDrop); one that is not open
        // answers EBADF. The caller vouches that it stays what it is during the call.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        Ok(move |mut bytes: &[u8]| {
            let fail = |error: &io::Error| {
                Error::io(format_args!("write to descriptor {fd}"), error).with_field("fd")
            };
            while !bytes.is_empty() {
                match (&*file).write(bytes) {
                    Ok(0) => return Err(fail(&io::ErrorKind::WriteZero.into())),
                    Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(fd),
                    Err(error) => return Err(fail(&error)),
                }
            }
            Ok(())
        })
    }

    /// Returns a buffer's memory; the buffer is empty then.
    pub(crate) fn free_buf(&self, buf: *mut tallyport_buf) {
        let Ok(place) = self.pointer("buf", buf) else { return };
        let place = place.cast_mut();
        // SAFETY: not NULL, aligned, and the caller vouches for a buffer.
        let held = unsafe { place.replace(tallyport_buf::EMPTY) };
        if !held.ptr.is_null() {
            // SAFETY: made by `tallyport_buf::from`, and emptied by whoever took it before.
            drop(unsafe { Vec::from_raw_parts(held.ptr, held.len.min(held.cap), held.cap) });
        }
    }

    /// Text whose argument's name is made when something is wrong.
    pub(crate) fn text_of(
        &self,
        field: impl Fn() -> String,
        from: tallyport_str,
    ) -> Result<&str, Error> {
        // The name of the field costs an allocation, so it is made for errors only.
        self.text("", from).or_else(|_| self.text(&field(), from))
    }

    pub(crate) fn bytes<'a>(&'a self, field: &str, from: tallyport_str) -> Result<&'a [u8], Error> {
        if from.len == 0 {
            return Ok(&[]);
        }
        if from.ptr.is_null() {
            let message = format!("`{field}` is NULL with a length of {}", from.len);
            return Err(Error::new(ErrorKind::NullArgument, message).with_field(field));
        }
        if from.len > isize::MAX as usize {
            return Err(Error::invalid(field, format!("`{field}` has {} bytes", from.len)));
        }
        // SAFETY: not NULL, of a possible length, and the caller vouches for it during the call.
        Ok(unsafe { slice::from_raw_parts(from.ptr.cast::<u8>(), from.len) })
    }

    fn z_bytes<'a>(&'a self, field: &str, from: *const c_char) -> Result<&'a [u8], Error> {
        if from.is_null() {
            return Err(null(field));
        }
        // SAFETY: not NULL, and the caller vouches for the NUL at its end.
        Ok(unsafe { CStr::from_ptr(from) }.to_bytes())
    }

    /// An array; NULL with 0 is none.
    pub(crate) fn array<'a, T>(
        &'a self,
        field: &str,
        from: *const T,
        count: usize,
    ) -> Result<&'a [T], Error> {
        if count == 0 {
            return Ok(&[]);
        }
        if count > MAX_COUNT {
            return Err(too_many(field, count));
        }
        let from = self.pointer(field, from)?;
        // SAFETY: not NULL, aligned, and the caller vouches for `count` elements.
        Ok(unsafe { slice::from_raw_parts(from, count) })
    }
}

impl tallyport_buf {
    /// Hands bytes to the host.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Self {
        if bytes.capacity() == 0 {
            return Self::EMPTY;
        }
        let mut bytes = ManuallyDrop::new(bytes);
        Self { ptr: bytes.as_mut_ptr(), len: bytes.len(), cap: bytes.capacity() }
    }
}

/// Waits until a descriptor takes bytes, fails or was closed by the peer; the next write says.
fn wait_for(fd: i32) {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one element, which is ours; an interrupted wait is repeated by the caller's loop.
    unsafe { libc::poll(&raw mut poll, 1, -1) };
}

fn utf8<'a>(field: &str, bytes: &'a [u8]) -> Result<&'a str, Error> {
    str::from_utf8(bytes).map_err(|error| {
        let message = format!("`{field}` is not UTF-8 at byte {}", error.valid_up_to());
        Error::new(ErrorKind::InvalidUtf8, message).with_field(field)
    })
}

fn too_many(field: &str, count: usize) -> Error {
    Error::invalid(field, format!("`{field}` has {count} elements"))
}
