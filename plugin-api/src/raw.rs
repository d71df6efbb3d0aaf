//! Pointers of the ABI become references and slices here, and nowhere else in the SDK.
//!
//! Everything that a host lends is read up to the smaller of its `struct_size` and ours; what is
//! missing reads as zero, so a newer SDK works with the fields that an older host has.

use core::{ffi::c_char, marker::PhantomData, mem::MaybeUninit, ptr, slice, str};

use crate::{Error, Snapshot, abi::*, snapshot::Rows};

/// The ABI's view of static or borrowed text.
#[must_use]
pub const fn text(text: &str) -> tallyport_str {
    tallyport_str { ptr: text.as_ptr().cast::<c_char>(), len: text.len() }
}

/// Reads ABI text.
///
/// # Safety
/// `text` is what the ABI says: `len` readable bytes at `ptr` (or NULL and 0) for as long as `'a`.
///
/// # Errors
/// NULL_ARGUMENT or INVALID_UTF8, with the byte offset.
pub(crate) unsafe fn str_from<'a>(text: tallyport_str) -> Result<&'a str, Error> {
    // SAFETY: the caller vouches for the range. Test: null_and_invalid_text_is_an_error.
    let bytes = unsafe { slice_from(text.ptr.cast::<u8>(), text.len) }
        .ok_or_else(|| Error::new(TALLYPORT_NULL_ARGUMENT, "text is NULL with a length"))?;
    str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Error::new(TALLYPORT_INVALID_UTF8, format!("text is not UTF-8 at byte {at}"))
    })
}

/// `count` elements at `first`; empty for a count of 0, `None` for NULL or a misaligned pointer.
///
/// # Safety
/// Unless `first` is NULL or `count` 0: `count` initialised elements live there as long as `'a`.
pub(crate) unsafe fn slice_from<'a, T>(first: *const T, count: usize) -> Option<&'a [T]> {
    if count == 0 {
        return Some(&[]);
    }
    if first.is_null() || !first.is_aligned() || count > isize::MAX as usize / size_of::<T>() {
        return None;
    }
    // SAFETY: not NULL, aligned, in size; the caller vouches for the elements and their life.
    Some(unsafe { slice::from_raw_parts(first, count) })
}

/// A struct that begins with its `u32` size and whose all-zero bytes are valid.
///
/// # Safety
/// Only for `repr(C)` structs of integers, raw pointers and `Option<fn>`, with `struct_size` first.
pub(crate) unsafe trait Sized32: Copy {}
// SAFETY: repr(C), `struct_size: u32` first, integers, raw pointers and Option<fn> only.
unsafe impl Sized32 for tallyport_host {}
// SAFETY: as above.
unsafe impl Sized32 for tallyport_call {}
// SAFETY: as above.
unsafe impl Sized32 for tallyport_snapshot {}
// SAFETY: as above.
unsafe impl Sized32 for tallyport_export_result {}
// SAFETY: as above.
unsafe impl Sized32 for tallyport_sync_result {}

/// What the host lent: a copy up to the common size, and the pointer to hand back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lent<'a, T> {
    copy: T,
    original: *const T,
    life: PhantomData<&'a T>,
}

// SAFETY: the pointer is only ever handed back to the host, whose functions on it are
// [thread-safe] (host table) or [any thread] (is_cancelled).
unsafe impl<T> Send for Lent<'_, T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Lent<'_, T> {}

impl<'a, T: Sized32> Lent<'a, T> {
    /// Reads what `original` points to, up to its own size.
    ///
    /// # Safety
    /// `original` is NULL, or points to a struct of the ABI that lives as long as `'a`.
    pub(crate) unsafe fn read(original: *const T) -> Result<Self, Error> {
        if original.is_null() {
            return Err(Error::new(TALLYPORT_NULL_ARGUMENT, "a required struct is NULL"));
        }
        // SAFETY: every such struct starts with its size.
        let theirs = unsafe { original.cast::<u32>().read() } as usize;
        if theirs < 8 {
            let message = format!("struct_size {theirs} is too small");
            return Err(Error::new(TALLYPORT_PLUGIN_ABI_MISMATCH, message));
        }
        let mut copy = MaybeUninit::<T>::zeroed();
        let common = theirs.min(size_of::<T>());
        // SAFETY: `common` bytes are readable there (their size) and writable here (ours).
        unsafe {
            ptr::copy_nonoverlapping(original.cast::<u8>(), copy.as_mut_ptr().cast(), common)
        };
        // SAFETY: all-zero is valid for a Sized32, and so is every prefix that a host wrote.
        let copy = unsafe { copy.assume_init() };
        Ok(Self { copy, original, life: PhantomData })
    }

    /// The copy.
    pub(crate) fn get(&self) -> &T {
        &self.copy
    }
}

pub(crate) fn is_cancelled(call: &Lent<'_, tallyport_call>) -> bool {
    // SAFETY: the host's function, with the host's own pointer, while the call lasts.
    call.copy.is_cancelled.is_some_and(|ask| unsafe { ask(call.original) } != 0)
}

pub(crate) fn log(host: &Lent<'_, tallyport_host>, level: i32, message: &str) {
    if let Some(log) = host.copy.log {
        // SAFETY: the host's function, with its own table, which outlives every exporter.
        unsafe { log(host.original, level, text(message)) };
    }
}

pub(crate) fn mono_ns(host: &Lent<'_, tallyport_host>) -> u64 {
    // SAFETY: as in `log`.
    host.copy.mono_ns.map_or(0, |ask| unsafe { ask(host.original) })
}

/// Hands an error to the host's error object.
pub(crate) fn report(
    host: &Lent<'_, tallyport_host>,
    slot: *mut tallyport_error,
    error: &Error,
) -> tallyport_status {
    if let Some(set) = host.copy.error_set {
        // SAFETY: the host's function, its table, and the error that it lent for this call.
        unsafe { set(host.original, slot, error.status(), text(error.message())) };
    }
    if let Some(add) = host.copy.error_detail {
        for (key, value) in error.details() {
            // SAFETY: as above.
            unsafe { add(host.original, slot, text(key), text(value)) };
        }
    }
    error.status()
}

/// Hands bytes to the host's sink.
pub(crate) fn sink_write(
    host: &Lent<'_, tallyport_host>,
    sink: *mut tallyport_sink,
    bytes: &[u8],
) -> Result<(), Error> {
    let Some(write) = host.copy.sink_write else {
        return Err(Error::new(TALLYPORT_UNSUPPORTED, "the host lends no sink"));
    };
    // SAFETY: the host's function, its table, and the sink that it lent for this call.
    match unsafe { write(host.original, sink, bytes.as_ptr(), bytes.len()) } {
        TALLYPORT_OK => Ok(()),
        status => Err(Error::new(status, format!("the sink answered status {status}"))),
    }
}

impl<'a> Snapshot<'a> {
    /// A view of the snapshot that a host lent.
    ///
    /// # Safety
    /// `snapshot` is NULL or points to a snapshot as the ABI says, unchanged during `'a`.
    ///
    /// # Errors
    /// DAMAGED when a column is misplaced or not what its id says, or text is not UTF-8.
    pub unsafe fn from_abi(snapshot: *const tallyport_snapshot) -> Result<Self, Error> {
        // SAFETY: the caller vouches for the struct.
        let lent = unsafe { Lent::read(snapshot) }?;
        let table = lent.get();
        // SAFETY: the host says that as many regions lie there.
        let regions = unsafe { slice_from(table.regions, table.region_count as usize) };
        // SAFETY: the host says that as many columns lie there.
        let columns = unsafe { slice_from(table.columns, table.column_count as usize) };
        let (Some(regions), Some(columns)) = (regions, columns) else {
            return Err(Error::damaged("the snapshot's tables are NULL"));
        };
        let columns = Columns { regions, columns, life: PhantomData };
        // SAFETY: the caller vouches that the regions are readable, `find` keeps the column inside,
        // and u8, u32, u64, f64 and structs of u32 are valid for any bytes. So for every column.
        // Test: a_snapshot_with_a_misplaced_column_is_damaged.
        let bytes = unsafe { columns.get::<u8>(TALLYPORT_COLUMN_STR_BYTES) }?;
        // SAFETY: as above.
        let str_off = unsafe { columns.get(TALLYPORT_COLUMN_STR_OFF) }?;
        // SAFETY: as above.
        let label_ranges = unsafe { columns.get(TALLYPORT_COLUMN_LABEL_RANGES) }?;
        // SAFETY: as above.
        let label_pairs = unsafe { columns.get(TALLYPORT_COLUMN_LABEL_PAIRS) }?;
        // SAFETY: as above.
        let bounds = unsafe { columns.get(TALLYPORT_COLUMN_HIST_BOUNDS) }?;
        // SAFETY: as above.
        let created_ns = unsafe { columns.get(TALLYPORT_COLUMN_CREATED_NS) }?;
        // SAFETY: as above.
        let values = unsafe { columns.get(TALLYPORT_COLUMN_VALUE_BITS) }?;
        // SAFETY: as above.
        let hist_count = unsafe { columns.get(TALLYPORT_COLUMN_HIST_COUNT) }?;
        // SAFETY: as above.
        let hist_buckets = unsafe { columns.get(TALLYPORT_COLUMN_HIST_BUCKETS) }?;
        // SAFETY: as above.
        let families = unsafe { columns.families() }?;
        let texts = Texts::new(str_off, bytes)?;
        let view = Self {
            schema_id: table.schema_id,
            time_unix_ns: table.time_unix_ns,
            series_count: table.series_count,
            texts,
            families,
            label_ranges,
            label_pairs,
            bounds,
            created_ns,
            values,
            hist_count,
            hist_buckets,
        };
        view.check_families()?;
        Ok(view)
    }
}

/// The texts of a snapshot by their numbers. What leads to them is checked once, here, and not with
/// each of the millions that a walk reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts<'a> {
    /// Where each begins, then where the last ends: increasing, inside `all`, between two letters.
    offsets: &'a [u32],
    all: &'a str,
}

impl<'a> Texts<'a> {
    fn new(offsets: &'a [u32], bytes: &'a [u8]) -> Result<Self, Error> {
        let all = str::from_utf8(bytes)
            .map_err(|e| Error::damaged(format!("strings are not UTF-8 at {}", e.valid_up_to())))?;
        let last = offsets.last().map_or(0, |last| *last as usize);
        let whole = |offset: &u32| all.is_char_boundary(*offset as usize);
        if !offsets.is_sorted()
            || last > all.len()
            || !bytes.is_ascii() && !offsets.iter().all(whole)
        {
            return Err(Error::damaged("string offsets are not increasing text boundaries"));
        }
        Ok(Self { offsets, all })
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The text of a number; "" for one that there is not.
    // Inlined into plugins: a walk of a million series reads eight million texts.
    #[inline(always)]
    pub(crate) fn get(self, id: u32) -> &'a str {
        let id = id as usize;
        if id >= self.len() {
            return "";
        }
        // SAFETY: there is one offset more than texts. Test: ids_past_the_last_text_lead_to_none.
        let start = unsafe { *self.offsets.get_unchecked(id) } as usize;
        // SAFETY: as above.
        let end = unsafe { *self.offsets.get_unchecked(id + 1) } as usize;
        // SAFETY: `new` checked that offsets increase, lie inside and between letters.
        // Test: offsets_that_cut_a_text_are_damaged.
        unsafe { self.all.get_unchecked(start..end) }
    }
}

struct Columns<'a> {
    regions: &'a [tallyport_region],
    columns: &'a [tallyport_column],
    life: PhantomData<&'a u8>,
}

impl<'a> Columns<'a> {
    /// Base, element size and count of a column that lies inside its region; `None` = absent.
    fn find(&self, id: u32) -> Result<Option<(*const u8, usize, usize)>, Error> {
        let Some(column) = self.columns.iter().find(|column| column.id == id) else {
            return Ok(None);
        };
        let bad = || Error::damaged(format!("column {id} is out of range"));
        let region = self.regions.get(column.region as usize).ok_or_else(bad)?;
        let size = u64::from(column.elem_size);
        let len = column.count.checked_mul(size).ok_or_else(bad)?;
        let end = column.offset.checked_add(len).ok_or_else(bad)?;
        if end > region.len || size == 0 || end > isize::MAX as u64 {
            return Err(bad());
        }
        let base = region.base.wrapping_add(column.offset as usize);
        Ok(Some((base, size as usize, column.count as usize)))
    }

    /// # Safety
    /// The regions are readable during `'a`, and `T` is valid for any bytes.
    unsafe fn get<T>(&self, id: u32) -> Result<&'a [T], Error> {
        let Some((base, size, count)) = self.find(id)? else { return Ok(&[]) };
        if size != size_of::<T>() {
            return Err(Error::damaged(format!("column {id} has elements of {size} bytes")));
        }
        // SAFETY: inside its region (find), of this size; alignment is checked by slice_from.
        unsafe { slice_from(base.cast::<T>(), count) }
            .ok_or_else(|| Error::damaged(format!("column {id} is NULL or misaligned")))
    }

    /// # Safety
    /// The regions are readable during `'a`.
    unsafe fn families(&self) -> Result<Rows<'a>, Error> {
        let least = size_of::<tallyport_family>();
        let Some((base, stride, count)) = self.find(TALLYPORT_COLUMN_FAMILIES)? else {
            return Ok(Rows { bytes: &[], stride: least });
        };
        if stride < least {
            return Err(Error::damaged(format!("family rows of {stride} bytes are too short")));
        }
        // SAFETY: inside its region (find).
        let bytes = unsafe { slice_from(base, count * stride) };
        let bytes = bytes.ok_or_else(|| Error::damaged("the family column is NULL"))?;
        Ok(Rows { bytes, stride })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Kind, Number, Value,
        testing::{Fixture, Frozen},
    };

    #[test]
    fn null_and_invalid_text_is_an_error() {
        let status = |ptr: *const u8, len| {
            // SAFETY: NULL, or bytes of a static.
            unsafe { str_from(tallyport_str { ptr: ptr.cast(), len }) }.map_err(|e| e.status())
        };
        assert_eq!(status(ptr::null(), 0), Ok(""));
        assert_eq!(status(b"ab".as_ptr(), 2), Ok("ab"));
        assert_eq!(status(ptr::null(), 1), Err(TALLYPORT_NULL_ARGUMENT));
        assert_eq!(status(b"a".as_ptr(), usize::MAX), Err(TALLYPORT_NULL_ARGUMENT));
        assert_eq!(status(b"ab\xff".as_ptr(), 3), Err(TALLYPORT_INVALID_UTF8));
        // SAFETY: bytes of a static.
        let error = unsafe { str_from(tallyport_str { ptr: b"ab\xff".as_ptr().cast(), len: 3 }) };
        assert_eq!(error.unwrap_err().message(), "text is not UTF-8 at byte 2");
    }

    #[test]
    fn a_struct_is_read_up_to_the_smaller_size() {
        let whole = Fixture::at(9).freeze();
        whole.lend(|table| {
            // SAFETY: `lend` hands out a whole table.
            let mut short = unsafe { table.read() };
            let size = |short: &mut tallyport_snapshot, size| {
                short.struct_size = size;
                // SAFETY: a whole table that says it is shorter.
                unsafe { Lent::read(short) }.map(|lent| *lent.get()).map_err(|e| e.status())
            };
            assert_eq!(size(&mut short, 0).unwrap_err(), TALLYPORT_PLUGIN_ABI_MISMATCH);
            assert_eq!(size(&mut short, 7).unwrap_err(), TALLYPORT_PLUGIN_ABI_MISMATCH);
            let read = size(&mut short, 24).unwrap();
            assert_eq!((read.time_unix_ns, read.column_count), (9, 0));
            assert!(read.columns.is_null());
            assert_eq!(size(&mut short, u32::MAX).unwrap().time_unix_ns, 9, "a newer host");
        });
    }

    fn filled() -> Frozen {
        let mut fixture = Fixture::at(1);
        fixture.family("c", Kind::Counter, Number::U64).series(&[("a", "é")], Value::U64(1));
        fixture.histogram("h", &[1.0]).observed(&[], &[1, 2], 3.0);
        fixture.freeze()
    }

    #[test]
    fn a_snapshot_with_a_misplaced_column_is_damaged() {
        type Damage = fn(&mut tallyport_column);
        let damages: [Damage; 7] = [
            |column| column.region = 2,
            |column| column.offset = u64::MAX,
            |column| column.offset = 1 << 40,
            |column| column.count = u64::MAX,
            |column| column.count += 1 << 20,
            |column| column.elem_size = 0,
            |column| column.elem_size = u32::MAX,
        ];
        let known = filled().columns_mut().iter().position(|column| column.id > 34).unwrap();
        for at in 0..known {
            for (number, damage) in damages.iter().enumerate() {
                let mut frozen = filled();
                damage(&mut frozen.columns_mut()[at]);
                let status = frozen.view().map(drop).map_err(|error| error.status());
                assert_eq!(status, Err(TALLYPORT_DAMAGED), "column {at}, damage {number}");
            }
        }
    }

    #[test]
    fn a_misaligned_column_and_a_family_out_of_range_are_damaged() {
        for (id, shift, count) in [
            (TALLYPORT_COLUMN_VALUE_BITS, 4, 1),
            (TALLYPORT_COLUMN_VALUE_BITS, 0, 1),
            (TALLYPORT_COLUMN_LABEL_RANGES, 0, 1),
            (TALLYPORT_COLUMN_HIST_BOUNDS, 0, 0),
            (TALLYPORT_COLUMN_HIST_COUNT, 0, 0),
            (TALLYPORT_COLUMN_HIST_BUCKETS, 0, 1),
        ] {
            let mut frozen = filled();
            let column = frozen.columns_mut().iter_mut().find(|column| column.id == id).unwrap();
            column.offset += shift;
            column.count = count;
            let status = frozen.view().map(drop).map_err(|error| error.status());
            assert_eq!(status, Err(TALLYPORT_DAMAGED), "column {id}");
        }
    }

    #[test]
    fn ids_past_the_last_text_lead_to_none() {
        let texts = Texts::new(&[0, 2, 2, 3], "abc".as_bytes()).unwrap();
        let read = [0, 1, 2, 3, u32::MAX].map(|id| texts.get(id));
        assert_eq!(read, ["ab", "", "c", "", ""]);
        for offsets in [&[][..], &[0]] {
            let texts = Texts::new(offsets, b"abc").unwrap();
            assert_eq!((texts.len(), texts.get(0), texts.get(u32::MAX)), (0, "", ""));
        }
    }

    #[test]
    fn offsets_that_cut_a_text_are_damaged() {
        let status = |offsets: &[u32], text: &str| {
            Texts::new(offsets, text.as_bytes()).map(drop).map_err(|error| error.status())
        };
        assert_eq!(status(&[0, 1, 3], "aé"), Ok(()));
        assert_eq!(status(&[0, 2, 3], "aé"), Err(TALLYPORT_DAMAGED), "inside a letter");
        assert_eq!(status(&[0, 1, 4], "aé"), Err(TALLYPORT_DAMAGED), "past the end");
        assert_eq!(status(&[0, 2, 1], "abc"), Err(TALLYPORT_DAMAGED), "backwards");
        assert_eq!(status(&[4], "abc"), Err(TALLYPORT_DAMAGED), "past the end, without a text");
    }

    #[test]
    fn a_cut_inside_a_letter_is_damaged() {
        let mut frozen = filled();
        let text = &mut frozen.columns_mut()[1];
        // "c", "a", then the first byte of "é".
        text.count = 3;
        assert_eq!(frozen.view().unwrap_err().status(), TALLYPORT_DAMAGED);
    }
}
