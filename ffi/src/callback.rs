//! Functions of the host, with their data: the one place where they are called.
//!
//! What the host vouches for when it gives one stands in the header, at the call that takes it.

use std::ffi::c_void;

use tallyport_core::{
    metrics::{Ask, Asked},
    model::{Error, ErrorKind},
};
use tallyport_plugin_api::abi::tallyport_str;

use crate::{
    boundary::{Call, null},
    collector::tallyport_collector_options,
    log_ring::tallyport_log_line,
    options::{tallyport_engine_options, tallyport_event, tallyport_listener_options},
};

impl Call {
    /// A host's function as the destination of an export.
    pub(crate) fn writer(
        &self,
        function: Option<unsafe extern "C" fn(*mut c_void, *const u8, usize) -> i32>,
        data: *mut c_void,
    ) -> Result<impl FnMut(&[u8]) -> Result<(), Error>, Error> {
        let function = function.ok_or_else(|| null("write"))?;
        Ok(move |bytes: &[u8]| {
            // SAFETY: the caller vouches for its function and data; `bytes` outlives the call.
            match unsafe { function(data, bytes.as_ptr(), bytes.len()) } {
                0 => Ok(()),
                answer => {
                    let message = format!("the write function stopped the export with {answer}");
                    Err(Error::new(ErrorKind::Cancelled, message).with_field("write"))
                }
            }
        })
    }

    /// A host's function that is told of events during the call.
    pub(crate) fn event_function(
        &self,
        function: Option<unsafe extern "C" fn(*mut c_void, *const tallyport_event) -> i32>,
        data: *mut c_void,
    ) -> Result<EventFunction, Error> {
        let function = function.ok_or_else(|| null("function"))?;
        Ok(EventFunction { function, data, free_data: None })
    }

    /// A host's function that lines of a log ring are handed to during the call.
    pub(crate) fn line_function(
        &self,
        function: Option<unsafe extern "C" fn(*mut c_void, *const tallyport_log_line) -> i32>,
        data: *mut c_void,
    ) -> Result<impl FnMut(&tallyport_log_line) -> Result<(), Error>, Error> {
        let function = function.ok_or_else(|| null("function"))?;
        Ok(move |line: &tallyport_log_line| {
            // SAFETY: the caller vouches for its function and data; `line` outlives the call.
            match unsafe { function(data, line) } {
                0 => Ok(()),
                answer => {
                    let message = format!("the function stopped with {answer}");
                    Err(Error::new(ErrorKind::Cancelled, message).with_field("function"))
                }
            }
        })
    }
}

/// A host's log function and its data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogFunction {
    function: unsafe extern "C" fn(*mut c_void, i32, tallyport_str, tallyport_str),
    data: *mut c_void,
}

// SAFETY: the header says that the function is called, with its data, from any thread that calls
// into the engine; the host vouches for that when it gives them. Test: a_log_function_may_call_the_engine_that_logs.
unsafe impl Send for LogFunction {}
// SAFETY: as above.
unsafe impl Sync for LogFunction {}

impl LogFunction {
    /// The log function of the options.
    pub(crate) fn of(options: &tallyport_engine_options) -> Option<Self> {
        options.log_fn.map(|function| Self { function, data: options.log_data })
    }

    /// Hands one message to the host.
    pub(crate) fn call(&self, level: i32, target: tallyport_str, message: tallyport_str) {
        // SAFETY: the host vouched for function and data, which outlive the engine; the texts
        // outlive the call.
        unsafe { (self.function)(self.data, level, target, message) };
    }
}

/// A host's function that is told of events, and its data.
#[derive(Debug)]
pub(crate) struct EventFunction {
    function: unsafe extern "C" fn(*mut c_void, *const tallyport_event) -> i32,
    data: *mut c_void,
    free_data: Option<unsafe extern "C" fn(*mut c_void)>,
}

// SAFETY: the header says that the function is called, with its data, from any thread that
// publishes; the host vouches for that when it gives them. Test: events_in_a_c_host.
unsafe impl Send for EventFunction {}
// SAFETY: as above.
unsafe impl Sync for EventFunction {}

impl EventFunction {
    /// The function of a listener, which owns its data from now on.
    pub(crate) fn of(options: &tallyport_listener_options) -> Option<Self> {
        let (data, free_data) = (options.data, options.free_data);
        options.function.map(|function| Self { function, data, free_data })
    }

    /// Tells the host of one event, and returns what it answers.
    pub(crate) fn call(&self, event: &tallyport_event) -> i32 {
        // SAFETY: the host vouched for function and data; the event outlives the call.
        unsafe { (self.function)(self.data, event) }
    }
}

impl Drop for EventFunction {
    fn drop(&mut self) {
        if let Some(free) = self.free_data {
            // SAFETY: the host vouched for it; it is called once, after every call of the function.
            unsafe { free(self.data) };
        }
    }
}

/// What a collect function answers other than 0.
fn answered(answer: i32) -> Result<(), Error> {
    match answer {
        0 => Ok(()),
        answer => {
            let message = format!("the function answered {answer}");
            Err(Error::new(ErrorKind::PluginFailed, message))
        }
    }
}

/// The data of a collect function, which the library owns.
#[derive(Debug)]
struct Owned {
    data: *mut c_void,
    free_data: Option<unsafe extern "C" fn(*mut c_void)>,
}

// SAFETY: the header says that functions are called, with their data, from any thread that takes a
// snapshot; the host vouches for that when it gives them. Test: collect_functions_of_a_c_host.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(free) = self.free_data {
            // SAFETY: the host vouched for it; it is called once, after every call of the function.
            unsafe { free(self.data) };
        }
    }
}

/// A function that writes a value to where its second argument points.
type Valued<T> = unsafe extern "C" fn(data: *mut c_void, value: *mut T) -> i32;

/// A function of the host's that answers with a value.
fn valued<T: Default + 'static>(owned: Owned, function: Valued<T>) -> Asked<T> {
    Box::new(move || {
        let mut value = T::default();
        // The whole is captured, not its fields: they go together.
        let owned = &owned;
        // SAFETY: the host vouched for function and data; `value` outlives the call.
        answered(unsafe { function(owned.data, &raw mut value) })?;
        Ok(value)
    })
}

/// The one function of the options, which owns its data from now on.
pub(crate) fn collect(options: &tallyport_collector_options) -> Result<Ask, Error> {
    let owned = Owned { data: options.data, free_data: options.free_data };
    match (options.gauge, options.counter, options.counter_f64, options.collect) {
        (Some(function), None, None, None) => Ok(Ask::Gauge(valued(owned, function))),
        (None, Some(function), None, None) => Ok(Ask::Counter(valued(owned, function))),
        (None, None, Some(function), None) => Ok(Ask::CounterF64(valued(owned, function))),
        (None, None, None, Some(function)) => Ok(Ask::All(Box::new(move || {
            let owned = &owned;
            // SAFETY: the host vouched for function and data.
            answered(unsafe { function(owned.data) })
        }))),
        (None, None, None, None) => Err(null("options.gauge")),
        _ => {
            let message = "of `gauge`, `counter`, `counter_f64` and `collect` exactly one is set";
            Err(Error::invalid("options.gauge", message))
        }
    }
}
